-- Stores a project, and tells every server.
-- args: id, project ref, value, whether it must be new ('1' or ''), then the bounds as `bounds` takes them
-- returns: 0 if it must be new and is not, else 1
if ARGV[5] == '1' and redis.call('HEXISTS', P .. 'p', ARGV[2]) == 1 then return 0 end
redis.call('HSET', P .. 'p', ARGV[2], ARGV[4])
bounds(P .. 'p:' .. ARGV[3], ARGV[6], ARGV[7], ARGV[8], ARGV[9])
redis.call('PUBLISH', P .. 'ch:all', 'p')
redis.call('PUBLISH', P .. 'ch:all', 'u' .. ARGV[3])
return 1
