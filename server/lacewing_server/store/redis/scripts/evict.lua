#!lua flags=allow-oom
-- Evicts cache entries that are filled; reservations stay.
-- args: task ref, then the key of each entry
-- returns: how many there were
local evicted = 0
for i = 3, #ARGV do
  evicted = evicted + drop(ARGV[i])
  -- The index may name what is not in the books.
  redis.call('ZREM', P .. 'mx:' .. ARGV[2], ARGV[i])
end
return evicted
