-- Notes in the journal of a graph the answer to a gate, unless it has one, and tells the server that drives the graph.
-- changes no state
-- each: id, field, answer
-- returns: gone | ended, record | done, the answer it has
local h = read(id)
if not h then return {'gone'} end
if h[STATE] >= SUCCEEDED then return {'ended', h.value} end
redis.call('HSETNX', P .. 'g:' .. id, field, answer)
if h[OWNER] ~= NO_SERVER then redis.call('PUBLISH', P .. 'ch:' .. h[OWNER], 's' .. id) end
return {'done', redis.call('HGET', P .. 'g:' .. id, field)}
