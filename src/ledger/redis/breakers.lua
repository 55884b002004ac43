-- Notes which targets are passed over or answer again, and says what is noted. KEYS: the notes. ARGV: the name of a
-- target, for how many ms it is passed over (0: it answers again, which is noted for some seconds) and why, for each that
-- is new.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, #ARGV, 3 do
    local is_open = ARGV[i + 1] ~= '0'
    local ends = now + (is_open and ARGV[i + 1] or 5000)
    local note = string.format('%.0f %s %s', ends, is_open and 'open' or 'closed', ARGV[i + 2])
    redis.call('HSET', KEYS[1], ARGV[i], note)
end
if #ARGV > 0 then redis.call('PEXPIRE', KEYS[1], 86400000) end
local all, noted = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
    local ends, state, why = string.match(all[i + 1], '^(%d+) (%a+) (.*)$')
    if ends and tonumber(ends) > now then
        local left = state == 'open' and tonumber(ends) - now or 0
        noted[#noted + 1] = {all[i], string.format('%.0f', left), why}
    else
        redis.call('HDEL', KEYS[1], all[i])
    end
end
return noted
