#!lua flags=allow-oom
-- Sends an execution back to its queue after an attempt that failed, was lost, or was given back.
-- from: RUNNING. to: QUEUED
-- args: id, guard, failures to add, losses to add, delay in ms, error or '' to keep the last, attempt to record or '',
--   keep the nonce ('1'), reason for revoking
-- returns: gone | refused, record | done, now
local id = ARGV[2]
local h = read(id)
if not h then return {'gone'} end
if not admitted(h, ARGV[3]) then return {'refused', h.value} end
local now, delay = now_ms(), tonumber(ARGV[6])
enter(h, QUEUED)
unlease(id, h, ARGV[9] == '1', ARGV[10])
h[FAILURES], h[LOSSES] = h[FAILURES] + ARGV[4], h[LOSSES] + ARGV[5]
-- A lease that reached no worker was no attempt.
if ARGV[4] + ARGV[5] == 0 then h[ATTEMPT] = h[ATTEMPT] - 1 end
if ARGV[7] ~= '' then h.outcome = ARGV[7] end
if ARGV[8] ~= '' then redis.call('RPUSH', P .. 'a:' .. id, ARGV[8]) end
if delay > 0 then
  h[NOT_BEFORE_MS] = now + delay
else
  h[QUEUED_MS] = now
  make_ready(id, h, true)
end
write(id, h)
arm(id, h)
announce(id, h)
return {'done', now}
