#!lua flags=allow-oom
-- Makes changes of an execution known to the acting server, and returns the record as it is.
-- changes no state
-- each: id
-- returns: the record, or nil
local h = read(id)
if not h then return nil end
if h[STATE] >= SUCCEEDED or h[ORIGIN] == ACTOR then return h.value end
redis.call('SADD', P .. 'w:' .. id, ACTOR)
redis.call('EXPIRE', P .. 'w:' .. id, 86400)
if bit.band(h[FLAGS], WATCHED) ~= 0 then return h.value end
h[FLAGS] = bit.bor(h[FLAGS], WATCHED)
return write(id, h)
