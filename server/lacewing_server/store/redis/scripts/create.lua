-- Creates an execution: answers from the cache, waits for who computes the same, is leased at once, or is queued.
-- from: nothing. to: QUEUED RUNNING WAITING SUCCEEDED
-- each: id, head, inputs, nonce
-- alike: domain_index, max_queued, deadline, lookup, record_hit, expected_latest, worker, unary_lease, patch, parent,
--   parent_nonce, kept_graph
--   head: header and meta. deadline: ms from now, or 0. lookup: '' no, 'u' use, 'o' only. record_hit: '1' unless the entry refers to
--   blobs, '2' always, or ''. expected_latest: a version, or ''.
--   nonce and worker: for a lease at once, or ''. unary_lease: ms, or 0. patch: of a serialized cache, or ''
--   parent: whose graph it is a node of, or ''; parent_nonce: the lease of that. kept_graph: of which execution the graph is
--   taken over, or ''
-- returns: exists, record | task | orphan | hit, entry, now | absent | full, 'task' or 'project', bound | leased, now, cache status
--   | queued, now, cache status | waiting, now, cache status, patch
local existing = stored(id)
if existing then return {'exists', existing} end
if parent ~= '' and not leased_by(parent, parent_nonce) then return {'orphan'} end
local h = unpacked(head)
h.meta, h.inputs = head:sub(HEADER_BYTES + 1), inputs
local task, project = known('t:', h[TASK_REF]), known('p:', h[PROJECT_REF])
if is_outdated(task, expected_latest) then return {'task'} end
local now = now_ms()
h[CREATE_MS], h[QUEUED_MS] = now, now
if deadline ~= '0' then h[DEADLINE_MS] = now + deadline end
local function store()
  if #inputs > INLINE_INPUTS then
    h[FLAGS], h.inputs = bit.bor(h[FLAGS], BIG_INPUTS), ''
    redis.call('SET', P .. 'b:' .. id, inputs)
  end
  score(P .. 'ix:' .. h[TASK_REF], id, now)
  score(P .. 'ix:' .. (parent ~= '' and parent or domain_index), id, now)
  if kept_graph ~= '' then
    redis.call('COPY', P .. 'g:' .. kept_graph, P .. 'g:' .. id)
    redis.call('PERSIST', P .. 'g:' .. id)
    for _, field in ipairs(redis.call('HKEYS', P .. 'g:' .. id)) do
      local refused = field:match('^refused:(.*)')
      if refused then redis.call('HDEL', P .. 'g:' .. id, field, 'signal:' .. refused) end
      if field:find('failed:', 1, true) == 1 then redis.call('HDEL', P .. 'g:' .. id, field) end
    end
  end
  write(id, h)
  count_waiting(h, nil, h[STATE])
  if h[STATE] < SUCCEEDED then arm(id, h, true) end
end
local function is_full()
  if not project.max_queued then return false end
  local waiting = tonumber(redis.call('GET', P .. 'n:' .. h[PROJECT_REF]) or 0) + (MORE_WAIT[h[PROJECT_REF]] or 0)
  return waiting >= project.max_queued
end
if lookup ~= '' then
  local entry, broken = entry_of(h[CACHE_KEY])
  if broken then h[CACHE_STATUS] = CACHE_LOOKUP_FAILURE end
  if entry and entry:byte(2) == DONE then
    touch(domain_index:match('^[^/]*'), h[CACHE_KEY], now)
    if record_hit == '2' or (record_hit == '1' and not entry:find('lacewing://sha256/', 1, true)) then
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
    if is_full() then return {'full', 'project', project.max_queued} end
    h[STATE], h.meta = WAITING, h.meta .. entry:sub(15)
    redis.call('RPUSH', P .. 'mw:' .. h[CACHE_KEY], id .. patch)
    store()
    return {'waiting', now, h[CACHE_STATUS], entry:sub(15)}
  end
end
local ahead = length(P .. 'q:' .. h[QUEUE_REF])
if ahead >= tonumber(max_queued) then return {'full', 'task', max_queued} end
local at_once = nonce ~= '' and ahead == 0 and not task.limited and not project.limited
if not at_once and is_full() then return {'full', 'project', project.max_queued} end
if patch ~= '' then redis.call('SET', P .. 'm:' .. h[CACHE_KEY], string.char(FORMAT, PENDING) .. id .. patch) end
if at_once then
  h[STATE] = RUNNING
  lease(id, h, nonce, worker, tonumber(unary_lease), now)
  store()
  return {'leased', now, h[CACHE_STATUS]}
end
h[STATE] = QUEUED
store()
make_ready(id, h, now)
return {'queued', now, h[CACHE_STATUS]}
