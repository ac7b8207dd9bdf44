#!lua flags=allow-oom
-- Adds to what is known of a cache entry, if it is still as it was read.
-- args: key, when it was filled in ms, length of its meta, what to add to that: a serialized `CacheEntry`
-- returns: whether it was added (1 or 0)
local key, addition = ARGV[2], ARGV[5]
local entry = entry_of(key)
if not entry or entry:byte(2) ~= DONE then return 0 end
local format, kind, created, computed, producer, meta = struct.unpack(ENTRY, entry)
if created ~= tonumber(ARGV[3]) or meta ~= tonumber(ARGV[4]) or meta + #addition > 65535 then return 0 end
local outputs = ENTRY_BYTES + producer + meta
redis.call('SET', P .. 'm:' .. key, struct.pack(ENTRY, format, kind, created, computed, producer, meta + #addition)
  .. entry:sub(ENTRY_BYTES + 1, outputs) .. addition .. entry:sub(outputs + 1), 'KEEPTTL')
local book = redis.call('HGET', P .. 'mz', key)
if book then
  local size, task_ref = struct.unpack('>I8c12', book)
  redis.call('HSET', P .. 'mz', key, struct.pack('>I8c12', size + #addition, task_ref) .. book:sub(21))
  count(book:sub(21), task_ref, 'bytes', #addition)
  redis.call('SADD', P .. 'mo', book:sub(21))
end
return 1
