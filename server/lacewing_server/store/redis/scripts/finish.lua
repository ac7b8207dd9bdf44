#!lua flags=allow-oom
-- Ends an execution, fills its cache entry, and lets go of those who wait for the entry.
-- from: QUEUED WAITING. to: TIMED_OUT CANCELLED
-- from: RUNNING. to: SUCCEEDED FAILED TIMED_OUT CANCELLED
-- from: WAITING. to: SUCCEEDED QUEUED (those who wait for the entry)
-- each: id, guard, outcome
-- alike: state, attempt, cache_status, entry, entry_ttl, project, cache_max, keep_nonce, revoke_reason, failures, losses
--   attempt: to record, or ''. entry: to store, or ''. entry_ttl: ms, 0 for no end. project, cache_max: whose cache that is, and
--   how many bytes it may have. keep_nonce: '1' or ''. failures, losses: to add
-- returns: gone | refused, record | done, now, cache status
state = tonumber(state)
local h = read(id)
if not h then return {'gone'} end
if not admitted(h, guard) then return {'refused', h.value} end
local now = now_ms()
local before = h[STATE]
enter(h, state)
if before == RUNNING then
  unlease(id, h, keep_nonce == '1', revoke_reason)
elseif before == QUEUED and h[NOT_BEFORE_MS] == 0 then
  make_unready(id, h)
end
h[END_MS], h[NOT_BEFORE_MS], h.outcome = now, 0, outcome
h[CACHE_STATUS], h[FAILURES], h[LOSSES] = tonumber(cache_status), h[FAILURES] + failures, h[LOSSES] + losses
if attempt ~= '' then
  redis.call('RPUSH', P .. 'a:' .. id, attempt)
  redis.call('PEXPIRE', P .. 'a:' .. id, h[RETENTION])
end
local m = P .. 'm:' .. h[CACHE_KEY]
if entry ~= '' then
  entry = entry:sub(1, 2) .. struct.pack('>I8I8', now, now - h[START_MS]) .. entry:sub(19)
  local key, ttl, max, size = h[CACHE_KEY], tonumber(entry_ttl), tonumber(cache_max), #entry + ENTRY_OVERHEAD
  -- What the cache suffers is not the task's fault.
  local filled = pcall(function()
    unbook(key)
    if size > max then error('larger than the cache') end
    redis.call('SET', m, entry, unpack(ttl > 0 and {'PX', ttl} or {}))
    redis.call('ZADD', P .. 'mx:' .. h[TASK_REF], now, key)
    redis.call('ZADD', P .. 'ml:' .. project, now, key)
    if ttl > 0 then redis.call('ZADD', P .. 'me', now + ttl, key) end
    count(project, h[TASK_REF], 'bytes', size)
    count(project, h[TASK_REF], 'entries', 1)
    redis.call('HSET', P .. 'mz', key, struct.pack('>I8c12', size, h[TASK_REF]) .. project)
    make_room(project, max, key, 8)
  end)
  if not filled then
    redis.pcall('DEL', m)
    h[CACHE_STATUS] = CACHE_PUT_FAILURE
  end
end
write(id, h)
arm(id, h)
announce(id, h)
-- What still runs of its graph is ended by the acting server, or by another one if that dies.
if bit.band(h[FLAGS], GRAPH) ~= 0 and state ~= SUCCEEDED then redis.call('ZADD', P .. 'gx', now, id) end
local answer = {'done', now, h[CACHE_STATUS]}
if bit.band(h[FLAGS], SERIALIZED) == 0 then return answer end
-- All who wait get the entry if there is one. Else the next one takes over, unless another execution computes it.
local held = entry_of(h[CACHE_KEY])
local done = held and held:byte(2) == DONE
if held and not done then
  if held:sub(3, 14) ~= id then return answer end
  redis.call('DEL', m)
end
local waiters = P .. 'mw:' .. h[CACHE_KEY]
local waiter, unreadable = redis.call('LPOP', waiters), {}
while waiter do
  local other = waiter:sub(1, 12)
  local readable, w = pcall(read, other)
  if not readable then
    unreadable[#unreadable + 1] = waiter
  elseif w and w[STATE] == WAITING then
    enter(w, done and SUCCEEDED or QUEUED)
    if done then
      local _, _, _, _, producer, meta = struct.unpack(ENTRY, held)
      w.meta = w.meta .. held:sub(ENTRY_BYTES + 1, ENTRY_BYTES + producer)
      w.outcome = held:sub(ENTRY_BYTES + producer + meta + 1)
      w[CACHE_STATUS], w[END_MS] = CACHE_HIT, now
    else
      w[QUEUED_MS] = now
      redis.call('SET', m, string.char(FORMAT, PENDING) .. waiter)
      make_ready(other, w, w[CREATE_MS])
    end
    write(other, w)
    arm(other, w)
    announce(other, w)
    -- The acting server may itself have callers of the other execution.
    redis.call('PUBLISH', P .. 'ch:' .. ACTOR, 'x' .. other)
    if not done then break end
  end
  waiter = redis.call('LPOP', waiters)
end
-- Left to a server that can read them.
for _, each in ipairs(unreadable) do redis.call('RPUSH', waiters, each) end
return answer
