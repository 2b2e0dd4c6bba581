-- release: gives places of a concurrency limit free.
--
-- KEYS   1 the counter
-- ARGV   one or more members: NAME of the call that took, and NAME:2, NAME:3 … where it took more
-- REPLY  integer: how many were held until now
-- TTL    nothing is written; Redis drops an empty set
-- COST   O(members * log limit)
-- NEEDS  Redis 6.2 or later
assert(#KEYS == 1 and #ARGV > 0, 'release: arity')

local entries, released = entries_of(KEYS[1]), 0
for _, member in ipairs(ARGV) do
  released = released + entries.remove(member)
end
return released
