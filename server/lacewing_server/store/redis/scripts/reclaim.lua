#!lua flags=allow-oom
-- Takes out of the books of the cache what has expired.
-- args: how many at most
-- returns: whether there may be more (1 or 0), then the projects that are over the bound of their cache
local due = redis.call('ZRANGEBYSCORE', P .. 'me', '-inf', now_ms(), 'LIMIT', 0, ARGV[2])
for _, key in ipairs(due) do
  drop(key)
  redis.call('ZREM', P .. 'me', key)
end
return {#due == tonumber(ARGV[2]) and 1 or 0, unpack(redis.call('SRANDMEMBER', P .. 'mo', 100))}
