-- Creates an execution: answers from the cache, waits for who computes the same, is leased at once, or is queued.
-- from: nothing. to: QUEUED RUNNING WAITING SUCCEEDED
-- args: id, header, meta, inputs, domain index, queue bound, deadline from now, look-up ('' no, 'u' use, 'o' only),
--   record the hit ('1'), expected latest version or '', nonce and worker for a lease at once or '', unary lease, patch
-- returns: exists, record | task | hit, entry, now | absent | full, length | leased, now | queued, now | waiting, now, patch
local id, inputs, lookup, nonce, patch = ARGV[2], ARGV[5], ARGV[9], ARGV[12], ARGV[15]
local existing = redis.call('GET', P .. 'x:' .. id)
if existing then return {'exists', existing} end
local h = {struct.unpack(HEADER, ARGV[3])}
h.meta, h.worker, h.inputs, h.outcome = ARGV[4], '', inputs, ''
local task = redis.call('HMGET', P .. 't:' .. h[TASK_REF], 'latest', 'state')
if task[2] ~= 'active' or (ARGV[11] ~= '' and task[1] ~= ARGV[11]) then return {'task'} end
local now = now_ms()
h[CREATE_MS], h[QUEUED_MS] = now, now
if ARGV[8] ~= '0' then h[DEADLINE_MS] = now + ARGV[8] end
local function store()
  if #inputs > INLINE_INPUTS then
    h[FLAGS], h.inputs = bit.bor(h[FLAGS], BIG_INPUTS), ''
    redis.call('SET', P .. 'b:' .. id, inputs)
  end
  redis.call('ZADD', P .. 'ix:' .. h[TASK_REF], now, id)
  redis.call('ZADD', P .. 'ix:' .. ARGV[6], now, id)
  write(id, h)
  if h[STATE] < SUCCEEDED then arm(id, h) end
end
if lookup ~= '' then
  local entry, broken = entry_of(h[CACHE_KEY])
  if broken then h[CACHE_STATUS] = CACHE_LOOKUP_FAILURE end
  if entry and entry:byte(2) == DONE then
    if ARGV[10] == '1' then
      local _, _, _, _, producer, meta = struct.unpack(ENTRY, entry)
      h.meta = h.meta .. entry:sub(ENTRY_BYTES + 1, ENTRY_BYTES + producer)
      h.outcome = entry:sub(ENTRY_BYTES + producer + meta + 1)
      h[STATE], h[CACHE_STATUS], h[END_MS] = SUCCEEDED, CACHE_HIT, now
      store()
    end
    return {'hit', entry, now}
  elseif lookup == 'o' then
    return {'absent'}
  elseif entry and patch ~= '' then
    h[STATE], h.meta = WAITING, h.meta .. entry:sub(15)
    redis.call('RPUSH', P .. 'mw:' .. h[CACHE_KEY], id .. patch)
    store()
    return {'waiting', now, entry:sub(15)}
  end
end
local length = redis.call('LLEN', P .. 'q:' .. h[QUEUE_REF])
if length >= tonumber(ARGV[7]) then return {'full', length} end
if patch ~= '' then redis.call('SET', P .. 'm:' .. h[CACHE_KEY], string.char(FORMAT, PENDING) .. id .. patch) end
if nonce ~= '' and length == 0 then
  h[STATE] = RUNNING
  lease(id, h, nonce, ARGV[13], tonumber(ARGV[14]), now)
  store()
  return {'leased', now}
end
h[STATE] = QUEUED
store()
make_ready(id, h, false)
return {'queued', now}
