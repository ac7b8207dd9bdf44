#!lua flags=allow-oom
-- Looks into the cache, for a request that is likely to be answered from there.
-- each: key
-- alike: project, task_ref, expected_latest
--   expected_latest: a version, or ''
-- returns: hit, entry, now | task | miss
if is_outdated(known('t:', task_ref), expected_latest) then return {'task'} end
local entry = entry_of(key)
if not entry or entry:byte(2) ~= DONE then return {'miss'} end
local now = now_ms()
touch(project, key, now)
return {'hit', entry, now}
