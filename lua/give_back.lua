-- give_back: puts back what was taken and is not needed.
--
-- KEYS   1 the counter
-- ARGV   1 now in microseconds since the epoch, or "" for the server's clock (tests give a number)
--        2 to 7 the counter (see counters.lua)
--        8 amount
--        9 epoch_ms as the reply of take told it: what was taken in a window that no longer
--          counts is gone with it
-- REPLY  integer: by how much less is used now
-- TTL    as in take; a key that does not exist stays so
-- COST   as in take
-- NEEDS  Redis 6.2 or later
assert(#KEYS == 1 and #ARGV == 9, 'give_back: arity')

if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
local counter = open(KEYS[1], clock(ARGV[1]), 2)
local algorithm = counter.algorithm
local before = algorithm.used(counter)
local amount = assert(tonumber(ARGV[8]), 'give_back: amount')
algorithm.give_back(counter, amount, assert(tonumber(ARGV[9]), 'give_back: epoch'))
save(counter)
return before - algorithm.used(counter)
