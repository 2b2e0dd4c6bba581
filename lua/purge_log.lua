-- purge_log: numbers purges, keeps them where all gateways read them, and reads what is new.
--
-- KEYS   1 the state: "EPOCH LAST FLOOR"; EPOCH names this log, and changes when purges may have
--          been lost; LAST is the last number given out; up to FLOOR they are forgotten
--        2 the log, a sorted set: member: a purge, score: its number
--        both with the same {hash tag}
-- ARGV   1 the epoch of a log that begins now: hexadecimal digits, random
--        2 the epoch that the caller knows, "" for none
--        3 the number up to which the caller knows that log
--        4 the largest number that the caller has ever used
--        5 how many purges are read at most
--        6 for how long a purge is kept, in microseconds
--        7 how many are kept at most
--        8 time to live of the keys, in milliseconds
--        9... purges to append; one that stands in the log already keeps its number
-- REPLY  epoch, now, last, floor as texts; then purge and number in turn, in order of numbers
-- TTL    both keys; renewed in time by every caller
-- COST   O(purges appended and read) * O(log purges kept)
-- NEEDS  Redis 6.2 or later (scripts replicate their effects, so TIME before writes is fine)
-- Numbers are microseconds of this server's clock, but each is larger than the one before and
-- than any that the caller knows: they grow even if the clock is set back or Redis lost its data.
assert(#KEYS == 2 and #ARGV >= 8, 'purge_log: arity')

local state, log = KEYS[1], KEYS[2]
local function text(number)
  return string.format('%.0f', number)
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local after, known = tonumber(ARGV[3]), tonumber(ARGV[4])
local kind = redis.call('TYPE', log)['ok']
if kind ~= 'zset' and kind ~= 'none' then
  redis.call('DEL', log)
end
local held = ''
if redis.call('TYPE', state)['ok'] == 'string' then
  held = redis.call('GET', state)
end
local epoch, last, floor = string.match(held, '^(%x+) (%d+) (%d+)$')
last, floor = tonumber(last or '0'), tonumber(floor or '0')
-- An older copy of the log, or a state without the log that it speaks of.
if epoch and ((epoch == ARGV[2] and after > last) or
    (last > floor and redis.call('ZCOUNT', log, text(last), text(last)) == 0)) then
  epoch = nil
end
if not epoch then
  epoch = ARGV[1]
  last = math.max(last, after, known, now)
  floor = last
end

for i = 9, #ARGV do
  if not redis.call('ZSCORE', log, ARGV[i]) then
    last = math.max(last + 1, known + 1, now)
    redis.call('ZADD', log, text(last), ARGV[i])
  end
end

-- So many at once: a caller is not to wait for a log that was never trimmed.
local oldest = text(now - tonumber(ARGV[6]))
local old = redis.call('ZRANGEBYSCORE', log, '-inf', oldest, 'LIMIT', 0, 1000)
local beyond = math.min(redis.call('ZCARD', log) - tonumber(ARGV[7]), 1000)
if beyond > #old then
  old = redis.call('ZRANGE', log, 0, text(beyond - 1))
end
if #old > 0 then
  floor = tonumber(redis.call('ZSCORE', log, old[#old]))
  redis.call('ZREMRANGEBYSCORE', log, '-inf', text(floor))
end

local renewed = epoch .. ' ' .. text(last) .. ' ' .. text(floor)
if renewed ~= held or redis.call('PTTL', state) < tonumber(ARGV[8]) / 2 then
  redis.call('SET', state, renewed, 'PX', ARGV[8])
  redis.call('PEXPIRE', log, ARGV[8])
end

local reply = { epoch, text(now), text(last), text(floor) }
local from, most = '(' .. text(after), ARGV[5]
local found = redis.call('ZRANGEBYSCORE', log, from, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
for i, value in ipairs(found) do
  reply[#reply + 1] = i % 2 == 1 and value or text(tonumber(value))
end
return reply
