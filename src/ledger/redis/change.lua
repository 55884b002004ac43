-- Makes a change if nothing else has changed since. KEYS: documents.
-- ARGV: known revision, name of the change, field, content or '' to take it away.

local revision = redis.call('HGET', KEYS[1], 'revision') or '0'
-- Asked again because the answer was lost: it is the same change.
if redis.call('HGET', KEYS[1], 'change') == ARGV[2] then return revision end
if revision ~= ARGV[1] then return false end

local now = math.floor(clock() / 1000)
-- By the time, so that what is lost and written anew never comes to a revision that a node already knows.
local next = text(math.max(revision + 1, now))
if ARGV[4] == '' then
    redis.call('HDEL', KEYS[1], ARGV[3])
else
    redis.call('HSET', KEYS[1], ARGV[3], next .. ' ' .. text(now) .. ' ' .. ARGV[4])
end
redis.call('HSET', KEYS[1], 'revision', next, 'change', ARGV[2])
return next
