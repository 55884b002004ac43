-- Moves a hold to those that belong to no node.
-- KEYS: holds of the node, mark of the id, kept holds. ARGV: number, name, the most that are kept.

local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then
    -- Should it still be taken up under this id, it is not.
    redis.call('SET', KEYS[2], 'cancelled', 'PX', 60000, 'NX')
    return 'unknown'
end
local is_full = redis.call('HLEN', KEYS[3]) >= tonumber(ARGV[3])
-- Whoever has lost the answer to a resumption doesn't know what is held.
if is_full or redis.call('HSETNX', KEYS[3], ARGV[2], record) == 0 then return 'full ' .. record end
redis.call('HDEL', KEYS[1], ARGV[1])
return 'kept'
