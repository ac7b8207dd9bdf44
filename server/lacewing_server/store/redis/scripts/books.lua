-- Common to the scripts that touch the cache; follows prelude.lua.

-- A cache entry, or nil; and whether there is something that cannot be read as one.
local function entry_of(key)
  local value = redis.pcall('GET', P .. 'm:' .. key)
  if not value then return nil, false end
  if type(value) ~= 'string' or value:byte(1) ~= FORMAT then return nil, true end
  return value, false
end

-- Marks an entry as used. A hot one is marked once a minute, so that a hit writes nothing.
local function touch(project, key, now)
  local used = P .. 'ml:' .. project
  local last = redis.pcall('ZSCORE', used, key)
  if type(last) == 'string' and now - last >= TOUCH_MS then redis.pcall('ZADD', used, 'XX', now, key) end
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
