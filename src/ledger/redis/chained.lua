-- How long the chain is, and some entries of it. KEYS: the chain. ARGV: number of the first one, how many.

local most, entries = tonumber(ARGV[2]), {}
if most > 0 then entries = redis.call('LRANGE', KEYS[1], ARGV[1] - 1, ARGV[1] + most - 2) end
return {redis.call('LLEN', KEYS[1]), entries}
