#!lua flags=allow-oom
-- Sends an execution back to its queue after an attempt that failed, was lost, or was given back; or to the queue of
-- graphs, with the graph that its body has given.
-- from: RUNNING. to: QUEUED
-- each: id, guard, outcome
-- alike: failures, losses, delay, attempt, keep_nonce, revoke_reason, graph, graph_queue
--   failures, losses: to add. delay: ms. outcome: the error, or '' to keep the last. attempt: to record, or ''.
--   keep_nonce: '1' or ''. graph: what runs from now on, or ''; graph_queue: where it waits for a server
-- returns: gone | refused, record | done, now
local h = read(id)
if not h then return {'gone'} end
if not admitted(h, guard) then return {'refused', h.value} end
local now = now_ms()
delay = tonumber(delay)
enter(h, QUEUED)
unlease(id, h, keep_nonce == '1', revoke_reason)
h[FAILURES], h[LOSSES] = h[FAILURES] + failures, h[LOSSES] + losses
if graph ~= '' then
  h[FLAGS], h[QUEUE_REF] = bit.bor(h[FLAGS], GRAPH), graph_queue
  redis.call('HSET', P .. 'g:' .. id, 'spec', graph)
elseif failures + losses == 0 and bit.band(h[FLAGS], GRAPH) == 0 then
  -- A lease that reached no worker was no attempt.
  h[ATTEMPT] = h[ATTEMPT] - 1
end
if outcome ~= '' then h.outcome = outcome end
if attempt ~= '' then redis.call('RPUSH', P .. 'a:' .. id, attempt) end
if delay > 0 then
  h[NOT_BEFORE_MS] = now + delay
else
  h[QUEUED_MS] = now
  make_ready(id, h, h[CREATE_MS])
end
write(id, h)
arm(id, h)
announce(id, h)
return {'done', now}
