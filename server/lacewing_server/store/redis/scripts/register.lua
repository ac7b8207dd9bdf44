-- Registers a version of a task, unless the version exists.
-- args: task ref, version, value, domain, name, queue ref, catalog entry, type, description, then the bounds as `bounds`
--   takes them
-- returns: exists, value | done, now
local task = P .. 't:' .. ARGV[2]
local existing = redis.call('HGET', task, 'v:' .. ARGV[3])
if existing then return {'exists', existing} end
local now = now_ms()
redis.call('HSETNX', task, 'state', 'active')
redis.call('HSETNX', task, 'create_ms', now)
redis.call('HSET', task, 'v:' .. ARGV[3], ARGV[4], 'latest', ARGV[3], 'type', ARGV[9], 'description', ARGV[10],
  'update_ms', now)
bounds(task, ARGV[11], ARGV[12], ARGV[13], '')
local count = redis.call('HINCRBY', task, 'versions', 1)
redis.call('ZADD', P .. 'tv:' .. ARGV[2], count, ARGV[3])
redis.call('ZADD', P .. 'tn:' .. ARGV[5], 0, ARGV[6])
redis.call('HSET', P .. 'catalog', ARGV[7], ARGV[8])
redis.call('PUBLISH', P .. 'ch:all', 't' .. ARGV[7] .. ARGV[8])
return {'done', now}
