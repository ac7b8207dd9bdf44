#!lua flags=allow-oom
-- Looks into the cache, for a request that is likely to be answered from there.
-- each: id, key
-- alike: project, task_ref, expected_latest
--   id: of the execution that the request may have created before, or ''. expected_latest: a version, or ''
-- returns: hit, entry, now | task | miss
if is_outdated(known('t:', task_ref), expected_latest) then return {'task'} end
if id ~= '' and redis.call('EXISTS', P .. 'x:' .. id) == 1 then return {'miss'} end
local entry = entry_of(key)
if not entry or entry:byte(2) ~= DONE then return {'miss'} end
local now = now_ms()
touch(project, key, now)
return {'hit', entry, now}
