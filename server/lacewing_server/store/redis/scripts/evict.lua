#!lua flags=allow-oom
-- Evicts cache entries that are filled; reservations stay.
-- args: task ref, then the key of each entry
-- returns: how many there were
local count = 0
for i = 3, #ARGV do
  local entry = redis.call('GETRANGE', P .. 'm:' .. ARGV[i], 0, 1)
  if entry:byte(2) == DONE then count = count + redis.call('DEL', P .. 'm:' .. ARGV[i]) end
  redis.call('ZREM', P .. 'mx:' .. ARGV[2], ARGV[i])
end
return count
