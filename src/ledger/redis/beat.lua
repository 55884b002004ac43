-- Renews the lease of a node; says whether it had one, and which other nodes have none any more.
-- KEYS: nodes. ARGV: node, lease in ms.

local now = clock() / 1000
local had = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0) > now
redis.call('ZADD', KEYS[1], text(now + ARGV[2]), ARGV[1])
return {had and 1 or 0, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. text(now), 'LIMIT', 0, 8)}
