-- Common to all scripts. What is written in capitals and defined nowhere here is a constant: of codec.py, of the states, of limits.
--
-- KEYS[1] is the prefix of the partition: every key of it lives in one slot. ARGV[1] is the server that acts.
local P, ACTOR = KEYS[1], ARGV[1]
local NO_SERVER, NO_NONCE = ('\0'):rep(8), ('\0'):rep(8)
local TIMER, RUN = P .. 'timer', P .. 'run:'

-- A command costs more than what it does. So what a call changes of records, indexes, queues, clocks and counts is
-- collected, seen by what comes after it in the call, and written by `commit` at its end with few commands.
--
-- The records of a call by id: packed, or false if there is none.
local RECORDS = {}

-- Ids whose records are going to be asked for.
local AHEAD = {}

-- The records to write, in order, and how long each lives in ms, or false.
local WRITTEN, LIVES = {}, {}

-- What changes in sorted sets and in sets: by key, by member its score, or whether it is in; false takes it out.
local SCORES, MEMBERS = {}, {}

-- Time stands still in a script: milliseconds, and the microseconds of these.
local NOW, SEQUENCE
local function now_ms()
  if not NOW then
    local time = redis.call('TIME')
    NOW, SEQUENCE = time[1] * 1000 + math.floor(time[2] / 1000), time[2] % 1000
  end
  return NOW
end

-- What is known of a task or of a project beyond its versions: read once in a script. Its bounds are numbers, or nil.
local KNOWN = {}
local function known(kind, ref)
  if not KNOWN[ref] then
    local values = redis.call('HMGET', P .. kind .. ref, 'max_concurrency', 'rate_count', 'rate_ms', 'max_queued', 'latest', 'state')
    local found = {}
    found.max_concurrency, found.rate_count = tonumber(values[1] or nil), tonumber(values[2] or nil)
    found.rate_ms, found.max_queued = tonumber(values[3] or nil), tonumber(values[4] or nil)
    found.latest = values[6] == 'active' and values[5]
    found.limited = found.max_concurrency or found.rate_count
    KNOWN[ref] = found
  end
  return KNOWN[ref]
end

-- Whether a task was archived, or has another latest version than a caller took for it ('' if it named one).
local function is_outdated(task, expected_latest)
  return not task.latest or (expected_latest ~= '' and task.latest ~= expected_latest)
end

-- Reads records that the call has not seen yet, with one command.
local function fetch(ids)
  local keys, absent = {}, {}
  for i, id in ipairs(ids) do keys[i] = P .. 'x:' .. id end
  local values = redis.call('MGET', unpack(keys))
  for i, id in ipairs(ids) do
    if values[i] then RECORDS[id] = values[i] else absent[#absent + 1] = keys[i] end
  end
  -- To MGET what is no string is nothing; it is left to `stored`.
  if #absent > 0 and redis.call('EXISTS', unpack(absent)) == 0 then
    for _, id in ipairs(ids) do RECORDS[id] = RECORDS[id] or false end
  end
end

-- A record as it is now, packed, or false. It is an error that there is something else than a string.
local function stored(id)
  if RECORDS[id] == nil and #AHEAD > 0 then
    local ids = AHEAD
    AHEAD = {}
    fetch(ids)
  end
  if RECORDS[id] == nil then RECORDS[id] = redis.call('GET', P .. 'x:' .. id) end
  return RECORDS[id]
end

-- Gives a member of a sorted set its score, or takes it out.
local function score(key, member, value)
  if not SCORES[key] then SCORES[key] = {} end
  SCORES[key][member] = value
end

-- Puts a member into a set, or takes it out.
local function include(key, member, is_in)
  if not MEMBERS[key] then MEMBERS[key] = {} end
  MEMBERS[key][member] = is_in
end

-- A header as a table that has room for the variable parts: making room later costs more than all else.
local function unpacked(header)
  return {meta = '', worker = '', inputs = '', outcome = '', value = header, struct.unpack(HEADER, header)}
end

-- A record as a table: the header's fields by index, the variable parts by name; nil if there is none. It is an error
-- that there is something else: a newer server's record, or none of ours.
local function read(id)
  local value = stored(id)
  if not value then return nil end
  if value:byte(1) ~= FORMAT or #value < HEADER_BYTES then error('cannot read a record') end
  local h = unpacked(value)
  local meta = HEADER_BYTES + h[META_LENGTH]
  local worker = meta + h[WORKER_LENGTH]
  local inputs = worker + h[INPUTS_LENGTH]
  h.meta = value:sub(HEADER_BYTES + 1, meta)
  h.worker = value:sub(meta + 1, worker)
  h.inputs = value:sub(worker + 1, inputs)
  h.outcome = value:sub(inputs + 1)
  return h
end

-- Notes the bounds of a task or a project: numbers, or '' for no bound.
local function bounds(key, max_concurrency, rate_count, rate_ms, max_queued)
  local given = {max_concurrency = max_concurrency, rate_count = rate_count, rate_ms = rate_ms, max_queued = max_queued}
  for field, value in pairs(given) do
    if value == '' then redis.call('HDEL', key, field) else redis.call('HSET', key, field, value) end
  end
end

-- Keeps count of the executions of a project that wait: how many more there are than at the beginning of the call.
local MORE_WAIT = {}
local function count_waiting(h, was, is)
  local before, after = was == QUEUED or was == WAITING, is == QUEUED or is == WAITING
  if before ~= after then MORE_WAIT[h[PROJECT_REF]] = (MORE_WAIT[h[PROJECT_REF]] or 0) + (after and 1 or -1) end
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

-- Has a record written and returns it packed; a terminal one expires after its retention, with all that belongs to it.
local function write(id, h)
  h[META_LENGTH], h[WORKER_LENGTH], h[INPUTS_LENGTH], h[OUTCOME_LENGTH] = #h.meta, #h.worker, #h.inputs, #h.outcome
  local value = struct.pack(HEADER, unpack(h, 1, OUTCOME_LENGTH)) .. h.meta .. h.worker .. h.inputs .. h.outcome
  local is_last = h[STATE] >= SUCCEEDED
  if LIVES[id] == nil then WRITTEN[#WRITTEN + 1] = id end
  RECORDS[id], LIVES[id] = value, is_last and h[RETENTION]
  if is_last then
    if bit.band(h[FLAGS], BIG_INPUTS) ~= 0 then redis.call('PEXPIRE', P .. 'b:' .. id, h[RETENTION]) end
    local is_graph = bit.band(h[FLAGS], GRAPH) ~= 0
    if is_graph or h[FAILURES] + h[LOSSES] > 0 then redis.call('PEXPIRE', P .. 'a:' .. id, h[RETENTION]) end
    if is_graph then
      redis.call('PEXPIRE', P .. 'g:' .. id, h[RETENTION])
      redis.call('PEXPIRE', P .. 'ix:' .. id, h[RETENTION])
    end
  end
  return value
end

-- Keeps the one timer entry of an execution at the earliest of its clocks.
local function arm(id, h, is_new)
  if h[STATE] >= SUCCEEDED then return score(TIMER, id, false) end
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
  if due < math.huge then score(TIMER, id, due) elseif not is_new then score(TIMER, id, false) end
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

-- How long a queue is.
local LENGTHS = {}
local function length(queue)
  if not LENGTHS[queue] then LENGTHS[queue] = redis.call('ZCARD', queue) end
  return LENGTHS[queue]
end

-- Puts an execution in its ready queue, as queued since a time; the first one of an empty queue wakes every server. The
-- score is that time in microseconds, earlier or later by the head start of the priority; what is made ready in the same
-- millisecond keeps its order.
local function make_ready(id, h, since)
  local queue, start = P .. 'q:' .. h[QUEUE_REF], since * 1000 + SEQUENCE
  SEQUENCE = SEQUENCE + 1
  if bit.band(h[FLAGS], HIGH_PRIORITY) ~= 0 then start = start - HEAD_START
  elseif bit.band(h[FLAGS], LOW_PRIORITY) ~= 0 then start = start + HEAD_START end
  if length(queue) == 0 then redis.call('PUBLISH', P .. 'ch:all', 'q' .. h[QUEUE_REF]) end
  LENGTHS[queue] = LENGTHS[queue] + 1
  score(queue, id, start)
end

-- Takes an execution out of its ready queue.
local function make_unready(id, h)
  local queue = P .. 'q:' .. h[QUEUE_REF]
  LENGTHS[queue] = length(queue) - 1
  score(queue, id, false)
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
    include(RUN .. ACTOR, id, true)
  end
end

-- Ends the lease of a running attempt; another server that holds it is told to revoke it.
local function unlease(id, h, keep_nonce, reason)
  if h[OWNER] ~= NO_SERVER then
    include(RUN .. h[OWNER], id, false)
    if h[OWNER] ~= ACTOR then redis.call('PUBLISH', P .. 'ch:' .. h[OWNER], 'r' .. id .. h[NONCE] .. reason) end
  end
  h[OWNER], h[LEASE_EXPIRE_MS] = NO_SERVER, 0
  -- Another one may run in its place.
  if bit.band(h[FLAGS], TASK_LIMITED) ~= 0 then
    include(P .. 'c:' .. h[TASK_REF], id, false)
    if length(P .. 'q:' .. h[QUEUE_REF]) > 0 then redis.call('PUBLISH', P .. 'ch:all', 'q' .. h[QUEUE_REF]) end
  end
  if bit.band(h[FLAGS], PROJECT_LIMITED) ~= 0 then
    include(P .. 'c:' .. h[PROJECT_REF], id, false)
    redis.call('PUBLISH', P .. 'ch:all', 'u' .. h[PROJECT_REF])
  end
  h[FLAGS] = bit.band(h[FLAGS], bit.bnot(bit.bor(TASK_LIMITED, PROJECT_LIMITED)))
  if not keep_nonce then h[NONCE] = NO_NONCE end
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

-- Whether an execution that the call does not change runs under a lease; its header alone is read, however large it is.
local LEASED = {}
local function leased_by(id, nonce)
  local lease = id .. nonce
  if LEASED[lease] == nil then
    local value = redis.call('GETRANGE', P .. 'x:' .. id, 0, HEADER_BYTES - 1)
    LEASED[lease] = value:byte(1) == FORMAT and #value == HEADER_BYTES
      and admitted({struct.unpack(HEADER, value)}, 'n' .. nonce)
  end
  return LEASED[lease]
end

-- Makes changes of sets or sorted sets.
local function change(all, add, remove)
  for key, members in pairs(all) do
    local added, removed = {}, {}
    for member, value in pairs(members) do
      if not value then
        removed[#removed + 1] = member
      else
        if value ~= true then added[#added + 1] = value end
        added[#added + 1] = member
      end
    end
    if #added > 0 then redis.call(add, key, unpack(added)) end
    if #removed > 0 then redis.call(remove, key, unpack(removed)) end
  end
end

-- Writes what the call has collected. If a key is not of its type, only what may be repeated has been written.
local function commit()
  change(SCORES, 'ZADD', 'ZREM')
  change(MEMBERS, 'SADD', 'SREM')
  local values = {}
  for _, id in ipairs(WRITTEN) do
    if LIVES[id] then
      redis.call('SET', P .. 'x:' .. id, RECORDS[id], 'PX', LIVES[id])
    else
      values[#values + 1] = P .. 'x:' .. id
      values[#values + 1] = RECORDS[id]
    end
  end
  if #values > 0 then redis.call('MSET', unpack(values)) end
  for ref, more in pairs(MORE_WAIT) do
    if more ~= 0 then redis.call('INCRBY', P .. 'n:' .. ref, more) end
  end
end
