-- Turns a hold into what was used, once.
-- KEYS: nodes, holds of the node, mark of the id, an account for each hold.
-- ARGV: now or '', node, number, what; then kind, setting, held, used for each hold.
-- What: 'settle'; 'cancel', which also turns away a reservation that comes later; 'abandon', which
-- leaves a mark by which a settlement that comes later corrects it, and only if the lease is over.

local real = clock()
local now = tonumber(ARGV[1]) or real
local what = ARGV[4]
if what == 'abandon' and tonumber(redis.call('ZSCORE', KEYS[1], ARGV[2]) or 0) * 1000 > real then
    return 'alive'
end

local accounts, charged = {}, {}
local function each(change)
    for i = 4, #KEYS do
        local kind, setting, held, used = unpack(ARGV, 5 + (i - 4) * 4, 8 + (i - 4) * 4)
        local a = accounts[KEYS[i]] or account(KEYS[i], kind, setting, now)
        accounts[KEYS[i]] = a
        change(a, i - 3, tonumber(held), tonumber(used))
    end
    save(accounts)
end

local record = redis.call('HGET', KEYS[2], ARGV[3])
if record then
    -- Whoever cancels has not been told in which windows it was held.
    local windows = windows_of(record)
    each(function(a, i, held, used)
        local window = tonumber(windows[i])
        -- What was held in a window that has passed is not charged to the current one.
        if a.kind ~= 'calendar' or a.window == window then
            hold(a, -held)
            window = use(a, used)
        end
        charged[i] = text(window) .. ':' .. text(used)
    end)
    redis.call('HDEL', KEYS[2], ARGV[3])
    if what == 'abandon' then
        redis.call('SET', KEYS[3], table.concat(charged, ','), 'PX', DAY)
    end
    return 'settled'
end

local mark = redis.call('GET', KEYS[3])
if what == 'cancel' and not mark then
    redis.call('SET', KEYS[3], 'cancelled', 'PX', 60000)
elseif what == 'settle' and mark and mark ~= 'cancelled' then
    local before = {}
    for at, used in string.gmatch(mark, '(-?%d+):(%d+)') do
        before[#before + 1] = {tonumber(at), tonumber(used)}
    end
    each(function(a, i, _, used)
        local at, was = unpack(before[i])
        if used ~= was and (a.kind ~= 'calendar' or a.window == at) then use(a, used - was, at) end
    end)
    redis.call('DEL', KEYS[3])
    return 'corrected'
end
return 'unknown'
