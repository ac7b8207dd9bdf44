#!lua flags=allow-oom
-- Evicts cache entries of a project until it keeps its bound.
-- args: project, how many bytes its cache may have, how many entries to evict at most
-- returns: whether it keeps it (1 or 0)
redis.call('SREM', P .. 'mo', ARGV[2])
return make_room(ARGV[2], tonumber(ARGV[3]), nil, tonumber(ARGV[4])) and 1 or 0
