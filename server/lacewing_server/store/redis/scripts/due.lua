#!lua flags=allow-oom
-- Looks at the clocks that have run out: makes ready what has waited out its back-off, and returns the rest to be judged.
-- from: QUEUED. to: QUEUED
-- args: how many at most
-- returns: now, time of the next clock (0: none), then the ids of what was made ready as one string, then the id and the
--   record of each execution to judge
local now, ready, reply = now_ms(), {}, {}
local ids = redis.call('ZRANGEBYSCORE', TIMER, '-inf', now, 'LIMIT', 0, ARGV[2])
for i, id in ipairs(ids) do AHEAD[i] = id end
for _, id in ipairs(ids) do
  local readable, h = pcall(read, id)
  if not readable then
    -- Left to a server that can read it; the clocks of the others go on.
    score(TIMER, id, now + 10000)
  elseif not h or h[STATE] >= SUCCEEDED then
    score(TIMER, id, false)
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
    score(TIMER, id, now + 1000)
    reply[#reply + 1] = id
    reply[#reply + 1] = h.value
  end
end
commit()
local following = redis.call('ZRANGE', TIMER, 0, 0, 'WITHSCORES')
return {now, tonumber(following[2] or 0), table.concat(ready), unpack(reply)}
