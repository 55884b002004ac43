-- What stands on an account. KEYS: account. ARGV: now or '', kind, setting.

local a = account(KEYS[1], ARGV[2], ARGV[3], tonumber(ARGV[1]) or clock())
if not a.known then return false end
return {a.exact or text(a.used), text(a.held), text(a.window)}
