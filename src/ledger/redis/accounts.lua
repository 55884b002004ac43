-- What all scripts share: accounts as hashes. Times are microseconds since 1970, windows seconds.
-- Sums are kept as 64-bit integers; they are compared as doubles, which is exact up to 2^53.

local SECOND = 1000000
local DAY = 86400000
local MOST = 9.2e18

local function text(number)
    return string.format('%.0f', number)
end

local function clock()
    local time = redis.call('TIME')
    return time[1] * SECOND + time[2]
end

-- The window that now lies in, and the next one: the client knows the calendar, the server the time.
local function window(boundaries, now)
    local at = {}
    for boundary in string.gmatch(boundaries, '-?%d+') do at[#at + 1] = tonumber(boundary) end
    if #at == 0 then return 0, nil end
    local i = 1
    while i < #at - 1 and now >= at[i + 1] * SECOND do i = i + 1 end
    return at[i], at[i + 1]
end

local open = {}

-- One sum until the next window. A clock that is set back brings no window back.
function open.calendar(a, boundaries)
    local v = redis.call('HMGET', a.key, 'window', 'next', 'used', 'held')
    a.window, a.next = tonumber(v[1]), tonumber(v[2])
    a.exact, a.used, a.held = v[3], tonumber(v[3]) or 0, tonumber(v[4]) or 0
    a.known = a.window ~= nil
    if a.known and not (a.next and a.now >= a.next * SECOND) then return end
    local start, next = window(boundaries, a.now)
    if not a.known or start > a.window then
        a.window, a.next, a.used, a.held, a.exact, a.fresh = start, next, 0, 0, nil, true
    end
end

-- Given back evenly: used is `level` less `part / of`.
function open.bucket(a, of)
    local v = redis.call('HMGET', a.key, 'level', 'part', 'at', 'limit', 'held')
    a.window, a.of, a.known = 0, tonumber(of), v[1] ~= false
    a.used, a.part, a.held = tonumber(v[1]) or 0, tonumber(v[2]) or 0, tonumber(v[5]) or 0
    a.at, a.limit = tonumber(v[3]) or a.now, tonumber(v[4]) or 0
    local back = math.max(a.now - a.at, 0) * a.limit + a.part
    a.used, a.part, a.at = a.used - math.floor(back / a.of), math.fmod(back, a.of), math.max(a.now, a.at)
    if a.used <= 0 then a.used, a.part = 0, 0 end
end

-- A sum for each step that still counts.
function open.rolling(a, setting)
    local step, steps = string.match(setting, '(%d+):(%d+)')
    a.step, a.steps, a.window, a.used, a.held = tonumber(step), tonumber(steps), 0, 0, 0
    a.current, a.sums, a.old = math.floor(a.now / SECOND / a.step), {}, {}
    local fields = redis.call('HGETALL', a.key)
    a.known = #fields > 0
    for i = 1, #fields, 2 do
        local at, sum = tonumber(fields[i]), tonumber(fields[i + 1])
        if not at then
            a.held = sum
        elseif at < a.current - a.steps then
            a.old[#a.old + 1] = fields[i]
        else
            a.sums[at], a.used = sum, a.used + sum
        end
    end
end

local function account(key, kind, setting, now)
    local a = {key = key, kind = kind, now = now, more_used = 0, more_held = 0}
    open[kind](a, setting)
    return a
end

local function left(a, limit)
    return math.max(limit - a.used - a.held, 0)
end

-- When `amount` is granted if nothing else is asked for; -1 if that can't be told.
local function again(a, limit, amount)
    if amount > limit then return -1 end
    if a.kind == 'calendar' then return a.next and a.next * SECOND or -1 end
    if a.kind == 'bucket' then
        local lacking = (a.held + amount + a.used - limit) * a.of - a.part
        return a.at + math.ceil(math.max(lacking, 0) / math.max(limit, 1))
    end
    local lacking = a.used + a.held + amount - limit
    for at = a.current - a.steps, a.current do
        lacking = lacking - (a.sums[at] or 0)
        if a.sums[at] and lacking <= 0 then return (at + a.steps + 1) * a.step * SECOND end
    end
    return -1
end

-- When all of it is there again.
local function resets(a, limit)
    if a.kind ~= 'rolling' then return again(a, limit, limit) end
    for at = a.current, a.current - a.steps, -1 do
        if a.sums[at] then return (at + a.steps + 1) * a.step * SECOND end
    end
    return -1
end

local function hold(a, amount)
    amount = math.max(amount, -a.held)
    a.held, a.more_held, a.touched = a.held + amount, a.more_held + amount, true
end

-- Counts `amount`, which may be a correction, and says in which window.
local function use(a, amount, at)
    a.touched = true
    if a.kind == 'rolling' then
        local step = at and at / a.step or a.current
        if step >= a.current - a.steps then
            a.sums[step] = (a.sums[step] or 0) + amount
            a.posted_in, a.used, a.more_used = step, a.used + amount, a.more_used + amount
        end
        return step * a.step
    end
    amount = math.max(amount, -a.used)
    a.used, a.more_used = a.used + amount, a.more_used + amount
    return a.window
end

local function add(key, field, more, sum)
    if sum > MOST then
        redis.call('HSET', key, field, text(MOST))
    elseif more ~= 0 then
        redis.call('HINCRBY', key, field, text(more))
    end
end

local store = {}

function store.calendar(a)
    if a.fresh then
        redis.call('HSET', a.key, 'window', text(a.window), 'used', '0', 'held', '0')
        if a.next then
            redis.call('HSET', a.key, 'next', text(a.next))
            redis.call('PEXPIRE', a.key, text(math.ceil((a.next * SECOND - a.now) / 1000) + DAY))
        end
    end
    add(a.key, 'used', a.more_used, a.used)
    add(a.key, 'held', a.more_held, a.held)
    if not a.next and a.used == 0 and a.held == 0 then redis.call('DEL', a.key) end
end

function store.bucket(a)
    redis.call('HSET', a.key, 'level', text(a.used), 'part', text(a.part), 'at', text(a.at),
        'limit', text(a.limit), 'held', text(a.held))
    if a.held > 0 then
        redis.call('PERSIST', a.key)
    else
        local back = math.ceil(a.used * a.of / math.max(a.limit, 1) / 1000)
        redis.call('PEXPIRE', a.key, text(math.min(back, 400 * DAY) + 60000))
    end
end

function store.rolling(a)
    for _, field in ipairs(a.old) do redis.call('HDEL', a.key, field) end
    if a.posted_in then add(a.key, text(a.posted_in), a.more_used, a.sums[a.posted_in]) end
    add(a.key, 'held', a.more_held, a.held)
    if a.held > 0 then
        redis.call('PERSIST', a.key)
    else
        redis.call('PEXPIRE', a.key, text((a.steps + 1) * a.step * 1000 + 60000))
    end
end

local function save(accounts)
    for _, a in pairs(accounts) do
        if a.touched then store[a.kind](a) end
    end
end

-- The windows before the holds of a record.
local function windows_of(record)
    local windows = {}
    for window in string.gmatch(string.match(record, '^[^|]*'), '-?%d+') do windows[#windows + 1] = window end
    return windows
end

local REMEMBERED = 400

-- The midnight with which the day of a moment began.
local function day_of(now)
    local seconds = math.floor(now / SECOND)
    return seconds - seconds % 86400
end

-- Counts on a day of an account; those that are too old go when a new one begins.
local function add_to_day(key, day, now, amounts)
    for i, field in ipairs({'requests', 'cost', 'input', 'output'}) do
        local amount = tonumber(amounts[i])
        if amount ~= 0 then redis.call('HINCRBY', key, text(day) .. ':' .. field, text(amount)) end
    end
    local is_first = redis.call('HGET', key, text(day) .. ':requests') == '1'
    if not is_first then return end
    local oldest = day_of(now) - (REMEMBERED - 1) * 86400
    for _, field in ipairs(redis.call('HKEYS', key)) do
        if tonumber(string.match(field, '^%d+')) < oldest then redis.call('HDEL', key, field) end
    end
    redis.call('PEXPIRE', key, text(REMEMBERED * DAY))
end
