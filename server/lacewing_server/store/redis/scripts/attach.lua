#!lua flags=allow-oom
-- Moves the lease of a running attempt to the acting server, whose stream its worker has come back on.
-- from: RUNNING. to: RUNNING
-- each: id, nonce
-- returns: gone | refused, record | done, record
local h = read(id)
if not h then return {'gone'} end
if not admitted(h, 'n' .. nonce) then return {'refused', h.value} end
if h[OWNER] ~= NO_SERVER then include(RUN .. h[OWNER], id, false) end
include(RUN .. ACTOR, id, true)
h[OWNER], h[LEASE_EXPIRE_MS] = ACTOR, 0
local value = write(id, h)
arm(id, h)
return {'done', value}
