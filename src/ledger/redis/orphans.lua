-- Some holds of a node whose lease is over; a node that has none is forgotten.
-- KEYS: nodes, holds of the node. ARGV: node, how many.

if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0) * 1000 > clock() then return {} end
local holds = redis.call('HRANDFIELD', KEYS[2], ARGV[2], 'WITHVALUES')
if #holds == 0 then redis.call('ZREM', KEYS[1], ARGV[1]) end
return holds
