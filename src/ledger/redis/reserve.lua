-- Holds on all accounts or on none.
-- KEYS: nodes, holds of the node, mark of the id, an account for each scope.
-- ARGV: now or '', node, number, lease in ms, record; then kind, setting, amount, limit or '', shadow
-- for each scope.

local real = clock()
local now = tonumber(ARGV[1]) or real
if redis.call('EXISTS', KEYS[3]) == 1 then return {'gone'} end
-- Asked again because the answer was lost: it is the same hold.
local known = redis.call('HGET', KEYS[2], ARGV[3])
local windows = known and windows_of(known) or {}
local accounts, reply = {}, {'granted', text(now)}

for i = 4, #KEYS do
    local kind, setting, amount, limit, shadow = unpack(ARGV, 6 + (i - 4) * 5, 10 + (i - 4) * 5)
    amount, limit, shadow = tonumber(amount), tonumber(limit), shadow == '1'
    local a = accounts[KEYS[i]] or account(KEYS[i], kind, setting, now)
    accounts[KEYS[i]] = a
    if not known then
        if limit and kind == 'bucket' and a.limit ~= limit then
            a.limit = limit
            -- Also if this is refused: what is given back from now on is given back at the new rate.
            if a.known then store.bucket(a) end
        end
        -- Who has overspent gets nothing more, not even what is free.
        if limit and not shadow and (left(a, limit) < amount or a.used > limit) then
            return {'refused', text(now), text(i - 4), text(left(a, limit)), text(again(a, limit, amount))}
        end
        hold(a, amount)
    end
    local at = -1
    if limit then at = shadow and again(a, limit, amount) or resets(a, limit) end
    windows[i - 3] = windows[i - 3] or text(a.window)
    reply[#reply + 1] = windows[i - 3]
    reply[#reply + 1] = text(limit and left(a, limit) or 0)
    reply[#reply + 1] = limit and a.used + a.held > limit and '1' or '0'
    reply[#reply + 1] = text(at)
end

if not known then
    save(accounts)
    redis.call('HSET', KEYS[2], ARGV[3], table.concat(windows, ',') .. '|' .. ARGV[5])
end
redis.call('ZADD', KEYS[1], text(real / 1000 + ARGV[4]), ARGV[2])
return reply
