#!lua flags=allow-oom
-- Leases the next ready executions of a queue.
-- from: QUEUED. to: RUNNING
-- args: queue ref, unary lease in ms (0: a stream's), then a nonce and a worker for each lease wanted
-- returns: whether the queue may hold more (1 or 0), then the id and the record of each lease
local queue, lease_ms = P .. 'q:' .. ARGV[2], tonumber(ARGV[3])
local now, slot, reply, unreadable = now_ms(), 4, {1}, {}
for _ = 1, 1000 do
  if slot > #ARGV then break end
  local id = redis.call('LPOP', queue)
  if not id then
    reply[1] = 0
    break
  end
  local readable, h = pcall(read, id)
  -- The record decides, whatever the list says.
  if not readable then
    unreadable[#unreadable + 1] = id
  elseif h and h[STATE] == QUEUED and h[NOT_BEFORE_MS] == 0 then
    enter(h, RUNNING)
    lease(id, h, ARGV[slot], ARGV[slot + 1], lease_ms, now)
    reply[#reply + 1] = id
    reply[#reply + 1] = write(id, h)
    arm(id, h)
    announce(id, h)
    slot = slot + 2
  end
end
-- Left to a server that can read them, behind what we can.
for _, id in ipairs(unreadable) do redis.call('RPUSH', queue, id) end
return reply
