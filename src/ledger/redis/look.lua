-- All documents and their revision, unless it is the one that is known. KEYS: documents. ARGV: known or ''.

local revision = redis.call('HGET', KEYS[1], 'revision') or '0'
if revision == ARGV[1] then return false end
return {revision, redis.call('HGETALL', KEYS[1])}
