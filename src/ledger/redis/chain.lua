-- Adds an entry if it continues the chain; says with which one it ends if not. KEYS: the chain, a list.
-- ARGV: number of the entry, hash of the one before, the entry behind its hash.

local length = redis.call('LLEN', KEYS[1])
local last = length > 0 and redis.call('LINDEX', KEYS[1], -1) or string.rep('0', 64)
if tonumber(ARGV[1]) == length + 1 and string.sub(last, 1, 64) == ARGV[2] then
    redis.call('RPUSH', KEYS[1], ARGV[3])
    return false
end
return {length, last}
