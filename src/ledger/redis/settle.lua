-- Turns a hold into what was used, once.
-- KEYS: nodes, holds of the node, mark of the id, an account for each hold, the days of each account.
-- ARGV: now or '', node, number, what, how many holds; cost, input and output of the day; then kind, setting,
-- held, used for each hold.
-- What: 'settle'; 'cancel', which also turns away a reservation that comes later; 'abandon', which
-- leaves a mark by which a settlement that comes later corrects it, and only if the lease is over; 'charge',
-- of which nothing was held, and which leaves a mark by which it is known if it comes twice.

local real = clock()
local now = tonumber(ARGV[1]) or real
local what = ARGV[4]
if what == 'abandon' and tonumber(redis.call('ZSCORE', KEYS[1], ARGV[2]) or 0) * 1000 > real then
    return 'alive'
end

local accounts, charged, holds = {}, {}, tonumber(ARGV[5])
local function each(change)
    for i = 4, 3 + holds do
        local kind, setting, held, used = unpack(ARGV, 9 + (i - 4) * 4, 12 + (i - 4) * 4)
        local a = accounts[KEYS[i]] or account(KEYS[i], kind, setting, now)
        accounts[KEYS[i]] = a
        change(a, i - 3, tonumber(held), tonumber(used))
    end
    save(accounts)
end

-- What is counted on the day of all accounts: requests, cost, input, output.
local day = day_of(now)
local function remember(day, amounts)
    for i = 4 + holds, #KEYS do add_to_day(KEYS[i], day, now, amounts) end
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
    if what ~= 'cancel' then remember(day, {1, ARGV[6], ARGV[7], ARGV[8]}) end
    if what == 'abandon' then
        local told = table.concat({text(day), ARGV[6], ARGV[7], ARGV[8]}, ':')
        redis.call('SET', KEYS[3], table.concat(charged, ',') .. '|' .. told, 'PX', DAY)
    end
    return 'settled'
end

local mark = redis.call('GET', KEYS[3])
if what == 'charge' then
    if mark then return 'unknown' end
    each(function(a, _, _, used) use(a, used) end)
    remember(day, {1, ARGV[6], ARGV[7], ARGV[8]})
    redis.call('SET', KEYS[3], 'charged', 'PX', DAY)
    return 'charged'
end
if what == 'cancel' and not mark then
    redis.call('SET', KEYS[3], 'cancelled', 'PX', 60000)
elseif what == 'settle' and mark and mark ~= 'cancelled' then
    local before = {}
    local of_holds, on, cost, input, output = string.match(mark, '^([^|]*)|(%d+):(%d+):(%d+):(%d+)$')
    for at, used in string.gmatch(of_holds, '(-?%d+):(%d+)') do
        before[#before + 1] = {tonumber(at), tonumber(used)}
    end
    each(function(a, i, _, used)
        local at, was = unpack(before[i])
        if used ~= was and (a.kind ~= 'calendar' or a.window == at) then use(a, used - was, at) end
    end)
    remember(tonumber(on), {0, ARGV[6] - cost, ARGV[7] - input, ARGV[8] - output})
    redis.call('DEL', KEYS[3])
    return 'corrected'
end
return 'unknown'
