-- What was settled on an account, day by day. KEYS: days of the account.

return redis.call('HGETALL', KEYS[1])
