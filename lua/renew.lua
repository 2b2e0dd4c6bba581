-- renew: holds places of a concurrency limit for longer.
--
-- KEYS   1 the counter
-- ARGV   1 now in microseconds since the epoch, or "" for the server's clock (tests give a number)
--        2 for how long from now on, milliseconds
--        then one or more members, as in release
-- REPLY  integer: how many are still held. A place that was given free, or lost with the memory
--        of Redis, does not come back
-- TTL    that of the place that is held the longest
-- COST   O(members * log limit)
-- NEEDS  Redis 6.2 or later
assert(#KEYS == 1 and #ARGV > 2, 'renew: arity')

local now_us = clock(ARGV[1])
local entries, held = entries_of(KEYS[1]), 0
entries.tidy(now_us)
local ends_us = now_us + assert(tonumber(ARGV[2]), 'renew: hold') * 1000
for n = 3, #ARGV do
  if entries.holds(ARGV[n]) then
    entries.add(ARGV[n], ends_us)
    held = held + 1
  end
end
if held > 0 then
  entries.tidy(now_us)
end
return held
