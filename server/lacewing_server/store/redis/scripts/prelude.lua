-- Common to all scripts; the constants of the layout are generated from codec.py and precede this file.
--
-- KEYS[1] is the prefix of the partition: every key of it lives in one slot. ARGV[1] is the server that acts.
local P, ACTOR = KEYS[1], ARGV[1]
local NO_SERVER, NO_NONCE = ('\0'):rep(8), ('\0'):rep(8)

-- Time stands still in a script.
local NOW
local function now_ms()
  if not NOW then
    local time = redis.call('TIME')
    NOW = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  return NOW
end

-- What is known of a task or of a project beyond its versions: read once in a script. Its bounds are numbers, or nil.
local KNOWN = {}
local function known(key)
  if not KNOWN[key] then
    local values = redis.call('HMGET', P .. key, 'max_concurrency', 'rate_count', 'rate_ms', 'max_queued', 'latest', 'state')
    local found = {}
    found.max_concurrency, found.rate_count = tonumber(values[1] or nil), tonumber(values[2] or nil)
    found.rate_ms, found.max_queued = tonumber(values[3] or nil), tonumber(values[4] or nil)
    found.latest = values[6] == 'active' and values[5]
    found.limited = found.max_concurrency or found.rate_count
    KNOWN[key] = found
  end
  return KNOWN[key]
end

-- A record as a table: the header's fields by index, the variable parts by name; nil if there is none. It is an error
-- that there is something else: a newer server's record, or none of ours.
local function read(id)
  local value = redis.call('GET', P .. 'x:' .. id)
  if not value then return nil end
  if value:byte(1) ~= FORMAT or #value < HEADER_BYTES then error('cannot read a record') end
  local h = {struct.unpack(HEADER, value)}
  local meta = HEADER_BYTES + h[META_LENGTH]
  local worker = meta + h[WORKER_LENGTH]
  local inputs = worker + h[INPUTS_LENGTH]
  h.meta = value:sub(HEADER_BYTES + 1, meta)
  h.worker = value:sub(meta + 1, worker)
  h.inputs = value:sub(worker + 1, inputs)
  h.outcome = value:sub(inputs + 1)
  h.value = value
  return h
end

-- Notes the bounds of a task or a project: numbers, or '' for no bound.
local function bounds(key, max_concurrency, rate_count, rate_ms, max_queued)
  local given = {max_concurrency = max_concurrency, rate_count = rate_count, rate_ms = rate_ms, max_queued = max_queued}
  for field, value in pairs(given) do
    if value == '' then redis.call('HDEL', key, field) else redis.call('HSET', key, field, value) end
  end
end

-- Keeps count of the executions of a project that wait.
local function count_waiting(h, was, is)
  local before, after = was == QUEUED or was == WAITING, is == QUEUED or is == WAITING
  if before ~= after then redis.call('INCRBY', P .. 'n:' .. h[PROJECT_REF], after and 1 or -1) end
end

-- Moves an execution to a state that the table of domain/lifecycle.py lets follow, as its next revision. Comes before
-- all writes of a script: what the table does not know changes nothing.
local function enter(h, state)
  if bit.band(LEADS[h[STATE]], bit.lshift(1, state)) == 0 then
    error('no execution goes from state ' .. h[STATE] .. ' to ' .. state)
  end
  count_waiting(h, h[STATE], state)
  h[STATE], h[REVISION] = state, h[REVISION] + 1
end

-- Stores a record and returns it packed; a terminal one expires after its retention, with all that belongs to it.
local function write(id, h)
  h[META_LENGTH], h[WORKER_LENGTH], h[INPUTS_LENGTH], h[OUTCOME_LENGTH] = #h.meta, #h.worker, #h.inputs, #h.outcome
  local value = struct.pack(HEADER, unpack(h, 1, OUTCOME_LENGTH)) .. h.meta .. h.worker .. h.inputs .. h.outcome
  if h[STATE] >= SUCCEEDED then
    redis.call('SET', P .. 'x:' .. id, value, 'PX', h[RETENTION])
    if bit.band(h[FLAGS], BIG_INPUTS) ~= 0 then redis.call('PEXPIRE', P .. 'b:' .. id, h[RETENTION]) end
    local is_graph = bit.band(h[FLAGS], GRAPH) ~= 0
    if is_graph or h[FAILURES] + h[LOSSES] > 0 then redis.call('PEXPIRE', P .. 'a:' .. id, h[RETENTION]) end
    if is_graph then
      redis.call('PEXPIRE', P .. 'g:' .. id, h[RETENTION])
      redis.call('PEXPIRE', P .. 'ix:' .. id, h[RETENTION])
    end
  else
    redis.call('SET', P .. 'x:' .. id, value)
  end
  return value
end

-- Keeps the one timer entry of an execution at the earliest of its clocks.
local function arm(id, h, is_new)
  local due = h[DEADLINE_MS] > 0 and h[DEADLINE_MS] or math.huge
  local is_graph = bit.band(h[FLAGS], GRAPH) ~= 0
  if h[STATE] == QUEUED then
    if h[NOT_BEFORE_MS] > 0 then due = math.min(due, h[NOT_BEFORE_MS])
    elseif h[QUEUE_TIMEOUT] > 0 and not (is_graph and h[ATTEMPT] > 0) then
      due = math.min(due, h[QUEUED_MS] + h[QUEUE_TIMEOUT])
    end
  elseif h[STATE] == RUNNING and not is_graph then
    due = math.min(due, h[START_MS] + h[ATTEMPT_TIMEOUT])
    if h[LEASE_EXPIRE_MS] > 0 then due = math.min(due, h[LEASE_EXPIRE_MS]) end
  end
  if due < math.huge and h[STATE] < SUCCEEDED then redis.call('ZADD', P .. 'timer', due, id)
  elseif not is_new then redis.call('ZREM', P .. 'timer', id) end
end

-- Tells the other servers that may wait for an execution that it has changed.
local function announce(id, h)
  if h[ORIGIN] ~= ACTOR then redis.call('PUBLISH', P .. 'ch:' .. h[ORIGIN], 'x' .. id) end
  if bit.band(h[FLAGS], WATCHED) ~= 0 then
    for _, server in ipairs(redis.call('SMEMBERS', P .. 'w:' .. id)) do
      if server ~= ACTOR and server ~= h[ORIGIN] then redis.call('PUBLISH', P .. 'ch:' .. server, 'x' .. id) end
    end
    if h[STATE] >= SUCCEEDED then redis.call('DEL', P .. 'w:' .. id) end
  end
end

-- Puts an execution in its ready queue, as queued since a time; the first one of an empty queue wakes every server. The
-- score is that time in microseconds, earlier or later by the head start of the priority; what one script makes ready in
-- the same millisecond keeps its order.
local SEQUENCE = 0
local function make_ready(id, h, since)
  local queue, start = P .. 'q:' .. h[QUEUE_REF], since * 1000 + SEQUENCE
  SEQUENCE = SEQUENCE + 1
  if bit.band(h[FLAGS], HIGH_PRIORITY) ~= 0 then start = start - HEAD_START
  elseif bit.band(h[FLAGS], LOW_PRIORITY) ~= 0 then start = start + HEAD_START end
  redis.call('ZADD', queue, ('%.0f'):format(start), id)
  if redis.call('ZCARD', queue) == 1 then redis.call('PUBLISH', P .. 'ch:all', 'q' .. h[QUEUE_REF]) end
end

-- Leases an attempt: to a stream of the acting server, or for lease_ms to a unary worker. A graph that goes on is the same
-- attempt as before.
local function lease(id, h, nonce, worker, lease_ms, now)
  h[NONCE], h.worker = nonce, worker
  if bit.band(h[FLAGS], GRAPH) == 0 or h[ATTEMPT] == 0 then h[ATTEMPT], h[START_MS] = h[ATTEMPT] + 1, now end
  if lease_ms > 0 then
    h[LEASE_EXPIRE_MS] = now + lease_ms
  else
    h[OWNER] = ACTOR
    redis.call('SADD', P .. 'run:' .. ACTOR, id)
  end
end

-- Ends the lease of a running attempt; another server that holds it is told to revoke it.
local function unlease(id, h, keep_nonce, reason)
  if h[OWNER] ~= NO_SERVER then
    redis.call('SREM', P .. 'run:' .. h[OWNER], id)
    if h[OWNER] ~= ACTOR then redis.call('PUBLISH', P .. 'ch:' .. h[OWNER], 'r' .. id .. h[NONCE] .. reason) end
  end
  h[OWNER], h[LEASE_EXPIRE_MS] = NO_SERVER, 0
  -- Another one may run in its place.
  if bit.band(h[FLAGS], TASK_LIMITED) ~= 0 then
    redis.call('SREM', P .. 'c:' .. h[TASK_REF], id)
    if redis.call('EXISTS', P .. 'q:' .. h[QUEUE_REF]) == 1 then redis.call('PUBLISH', P .. 'ch:all', 'q' .. h[QUEUE_REF]) end
  end
  if bit.band(h[FLAGS], PROJECT_LIMITED) ~= 0 then
    redis.call('SREM', P .. 'c:' .. h[PROJECT_REF], id)
    redis.call('PUBLISH', P .. 'ch:all', 'u' .. h[PROJECT_REF])
  end
  h[FLAGS] = bit.band(h[FLAGS], bit.bnot(bit.bor(TASK_LIMITED, PROJECT_LIMITED)))
  if not keep_nonce then h[NONCE] = NO_NONCE end
end

-- A cache entry, or nil; and whether there is something that cannot be read as one.
local function entry_of(key)
  local value = redis.pcall('GET', P .. 'm:' .. key)
  if not value then return nil, false end
  if type(value) ~= 'string' or value:byte(1) ~= FORMAT then return nil, true end
  return value, false
end

-- The books of the cache. What is filled is in them until it is evicted, or `reclaim` finds that it has expired: its size,
-- task and project (mz), the time of its last use (ml) and of its end (me), and the sums of task and project (ms, mp).
local function count(project, task_ref, field, by)
  redis.call('HINCRBY', P .. 'mp:' .. project, field, by)
  redis.call('HINCRBY', P .. 'ms:' .. task_ref, field, by)
end

-- Takes an entry out of the books; says of which project and task it was, or nothing.
local function unbook(key)
  local book = redis.call('HGET', P .. 'mz', key)
  if not book then return nil end
  local size, task_ref = struct.unpack('>I8c12', book)
  local project = book:sub(21)
  redis.call('HDEL', P .. 'mz', key)
  redis.call('ZREM', P .. 'me', key)
  redis.call('ZREM', P .. 'ml:' .. project, key)
  redis.call('ZREM', P .. 'mx:' .. task_ref, key)
  count(project, task_ref, 'bytes', -size)
  count(project, task_ref, 'entries', -1)
  return project, task_ref
end

-- Evicts an entry that is filled, and takes it out of the books; says whether there was one. Reservations stay.
local function drop(key)
  local gone = 0
  if redis.call('GETRANGE', P .. 'm:' .. key, 0, 1):byte(2) == DONE then gone = redis.call('DEL', P .. 'm:' .. key) end
  return gone, unbook(key)
end

-- Evicts what was not used for longest until a project keeps its bound, but not the entry `own`, and at most so many.
-- A project that does not keep it yet is noted for `shrink`.
local function make_room(project, max, own, most)
  for _ = 1, most do
    if tonumber(redis.call('HGET', P .. 'mp:' .. project, 'bytes') or 0) <= max then return true end
    local oldest = redis.call('ZRANGE', P .. 'ml:' .. project, 0, 1)
    local key = oldest[1] == own and oldest[2] or oldest[1]
    if not key then return true end
    local gone, _, task_ref = drop(key)
    if task_ref then count(project, task_ref, 'evictions', gone) else redis.call('ZREM', P .. 'ml:' .. project, key) end
  end
  redis.call('SADD', P .. 'mo', project)
  return false
end

-- Whether a transition may happen: 'n' nonce, the lease is current; 'o' nonce owner, and its owner too; 'e' nonce, and it
-- was not extended in time; 'r' revision, nothing has changed since it was read.
local function admitted(h, guard)
  if h[STATE] >= SUCCEEDED then return false end
  local kind = guard:sub(1, 1)
  if kind == 'r' then return h[REVISION] == struct.unpack('>I4', guard, 2) end
  if h[STATE] ~= RUNNING or h[NONCE] ~= guard:sub(2, 9) then return false end
  if kind == 'e' then return h[LEASE_EXPIRE_MS] > 0 and h[LEASE_EXPIRE_MS] <= now_ms() end
  return kind == 'n' or h[OWNER] == guard:sub(10, 17)
end

-- Whether an execution runs under a lease; its header alone is read, however large it is.
local function leased_by(id, nonce)
  local value = redis.call('GETRANGE', P .. 'x:' .. id, 0, HEADER_BYTES - 1)
  return value:byte(1) == FORMAT and #value == HEADER_BYTES and admitted({struct.unpack(HEADER, value)}, 'n' .. nonce)
end
