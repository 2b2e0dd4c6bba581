-- keep_answer: keeps an answer of the database, unless it was purged while it was on its way.
-- KEYS  1: the place of the answer
-- ARGV  2: the answer, a text; how long it is kept, milliseconds
-- Reply 1 integer: 1 where it was kept, 0 where a purge stands there
if #KEYS ~= 1 or #ARGV ~= 2 then
  return redis.error_reply('ERR keep_answer: 1 key, 2 arguments')
end
local held = redis.call('TYPE', KEYS[1])['ok']
if held == 'string' and redis.call('GET', KEYS[1]) == 'purged' then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
