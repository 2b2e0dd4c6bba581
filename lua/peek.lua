-- peek: how counters stand, without changing anything.
--
-- KEYS   one or more counters; in a cluster all must share one {hash tag}
-- ARGV   1 now in microseconds since the epoch, or "" for the server's clock (tests give a number)
--        then per key 6: the counter (see counters.lua)
-- REPLY  per key 4 integers: used, remaining, reset_ms, epoch_ms
--        used: what counts against the limit; more than the limit where more was charged
--        reset_ms: until more is left; 0 where nothing is used
--        epoch_ms: when the window began; 0 where there are none
-- TTL    nothing is written
-- COST   O(keys): one GET each; see the algorithms
-- NEEDS  Redis 6.2 or later
assert(#KEYS > 0 and #ARGV == 1 + 6 * #KEYS, 'peek: arity')

local now_us, reply = clock(ARGV[1]), {}
for i, key in ipairs(KEYS) do
  local counter = open(key, now_us, 2 + 6 * (i - 1))
  local remaining = left(counter)
  reply[#reply + 1] = counter.algorithm.used(counter)
  reply[#reply + 1] = remaining
  reply[#reply + 1] = wait(counter, math.min(remaining + 1, counter.limit))
  reply[#reply + 1] = counter.start or 0
end
return reply
