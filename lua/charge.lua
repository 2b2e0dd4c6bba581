-- charge: takes from a counter without asking whether there is enough.
--
-- KEYS   1 the counter
-- ARGV   1 now in microseconds since the epoch, or "" for the server's clock (tests give a number)
--        2 what no other call has: names the call (sliding_log)
--        3 to 8 the counter (see counters.lua)
--        9 amount
-- REPLY  integer: what was charged. Less than `amount` where the counter would owe more than
--        its limit once more: a debt is bounded, so that it is paid off in time
-- TTL    as in take
-- COST   as in take
-- NEEDS  Redis 6.2 or later
assert(#KEYS == 1 and #ARGV == 9, 'charge: arity')

local counter = open(KEYS[1], clock(ARGV[1]), 3)
local algorithm = counter.algorithm
-- A place is held by a request; there is nothing to charge afterwards.
if algorithm.holds_places then
  return 0
end
assert(ARGV[2] ~= '' or not algorithm.has_entries, 'charge: the call has no name')
local most = 2 * counter.limit - algorithm.used(counter)
local amount = math.min(assert(tonumber(ARGV[9]), 'charge: amount'), most)
if amount <= 0 or algorithm.has_entries and counter.entries.holds(ARGV[2]) then
  return 0
end
algorithm.spend(counter, amount, ARGV[2])
save(counter)
return amount
