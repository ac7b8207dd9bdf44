#!lua flags=allow-oom
-- Looks at the clocks that have run out: makes ready what has waited out its back-off, and returns the rest to be judged.
-- from: QUEUED. to: QUEUED
-- args: how many at most
-- returns: now, time of the next clock (0: none), then the ids of what was made ready as one string, then the id and the
--   record of each execution to judge
local now, ready, reply = now_ms(), {}, {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'timer', '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local readable, h = pcall(read, id)
  if not readable then
    -- Left to a server that can read it; the clocks of the others go on.
    redis.call('ZADD', P .. 'timer', now + 10000, id)
  elseif not h or h[STATE] >= SUCCEEDED then
    redis.call('ZREM', P .. 'timer', id)
  elseif h[STATE] == QUEUED and h[NOT_BEFORE_MS] > 0 and h[NOT_BEFORE_MS] <= now
      and (h[DEADLINE_MS] == 0 or h[DEADLINE_MS] > now) then
    enter(h, QUEUED)
    h[NOT_BEFORE_MS], h[QUEUED_MS] = 0, now
    make_ready(id, h, now)
    write(id, h)
    arm(id, h)
    announce(id, h)
    ready[#ready + 1] = id
  else
    -- If the server that judges it dies, another one sees it again in a second.
    redis.call('ZADD', P .. 'timer', now + 1000, id)
    reply[#reply + 1] = id
    reply[#reply + 1] = h.value
  end
end
local following = redis.call('ZRANGE', P .. 'timer', 0, 0, 'WITHSCORES')
return {now, tonumber(following[2] or 0), table.concat(ready), unpack(reply)}
