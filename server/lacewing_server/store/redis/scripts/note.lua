#!lua flags=allow-oom
-- Notes in the journal of a graph what the server that drives it has decided, unless that is noted already.
-- changes no state
-- each: id, nonce, field, noted, again
--   again: '1' if what is noted already is replaced, or ''
-- returns: lost | done, what is noted
if not leased_by(id, nonce) then return {'lost'} end
redis.call(again == '1' and 'HSET' or 'HSETNX', P .. 'g:' .. id, field, noted)
return {'done', redis.call('HGET', P .. 'g:' .. id, field)}
