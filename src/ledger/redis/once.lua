-- Notes that something was done, and says whether it was not noted before. The same node may ask again when the
-- answer to it was lost.
-- KEYS: what was done. ARGV: a text that only this call has, how long it is remembered in ms.

if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end
return 0
