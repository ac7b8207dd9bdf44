#!lua flags=allow-oom
-- Takes out of an index what names a record or a cache entry that is gone, unless another server is at it.
-- args: how long the right to do so lives, in ms; index; prefix of the keys that it names; position; how many to look at
-- returns: busy | done, how many were looked at, the position after them (0: the end)
local holder = redis.call('GET', P .. 'janitor')
if holder and holder ~= ACTOR then return {'busy'} end
redis.call('SET', P .. 'janitor', ACTOR, 'PX', ARGV[2])
local index, position, count = P .. ARGV[3], tonumber(ARGV[5]), tonumber(ARGV[6])
local members, gone = redis.call('ZRANGE', index, position, position + count - 1), {}
for _, member in ipairs(members) do
  if redis.call('EXISTS', P .. ARGV[4] .. member) == 0 then gone[#gone + 1] = member end
end
if #gone > 0 then redis.call('ZREM', index, unpack(gone)) end
return {'done', #members, #members < count and 0 or position + #members - #gone}
