#!lua flags=allow-oom
-- Keeps a server alive, whose lease the running attempts of its streams hang on.
-- changes no state
-- args: lease in ms, workers of its streams
-- returns: all servers that have not been reaped
redis.call('SET', P .. 'server:' .. ACTOR, ARGV[3], 'PX', ARGV[2])
redis.call('SADD', P .. 'servers', ACTOR)
return redis.call('SMEMBERS', P .. 'servers')
