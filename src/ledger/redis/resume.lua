-- Gives a kept hold to a node, under a new id.
-- KEYS: nodes, holds of the node, mark of the id, kept holds. ARGV: node, number, lease in ms, name.

if redis.call('EXISTS', KEYS[3]) == 1 then return false end
local record = redis.call('HGET', KEYS[2], ARGV[2])
if record then return record end
record = redis.call('HGET', KEYS[4], ARGV[4])
if not record then return false end
redis.call('HDEL', KEYS[4], ARGV[4])
redis.call('HSET', KEYS[2], ARGV[2], record)
redis.call('ZADD', KEYS[1], text(clock() / 1000 + ARGV[3]), ARGV[1])
return record
