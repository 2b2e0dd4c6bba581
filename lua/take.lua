-- take: take every rule's cost from its counter, or nothing from any.
--
-- KEYS   one counter a rule; in a cluster all must share one {hash tag}
-- ARGV   1 now in microseconds since the epoch, or "" for the server's clock (tests give a number)
--        2 what no other call has: names the call, where an algorithm remembers each request
--          (sliding_log, concurrency); else it may be ""
--        then per rule 10: the counter (6, see counters.lua), cost, want, share, shadow
--        want: what is taken if there is plenty; more than cost where a node takes in advance
--        share: more than cost is given only as far as it is no more than left / share
--        shadow: 1 where this rule may not refuse the request, else 0
-- REPLY  a string, numbers and spaces: reading it costs less than an array does.
--        per rule 5 integers: allowed 0|1, taken, remaining, reset_ms, epoch_ms
--        allowed: whether this rule had enough; the request passes if all had that are no shadow
--        taken: what was taken; 0 where the request does not pass, or this rule had not enough
--        remaining: what is left afterwards; 0 where this rule had not enough
--        reset_ms: where it had not enough, until this request would pass; else until more is left
--        epoch_ms: when the window began that it was taken in (sliding_log: when it was taken), for
--          give_back; 0 where there are none
-- TTL    every key written lives until it says no more than a missing key does
-- AGAIN  the same call once more takes nothing more from sliding_log and concurrency
-- COST   O(rules): one GET a rule and, if the request passes, one SET a rule; see the algorithms
-- NEEDS  Redis 6.2 or later (scripts replicate their effects, so TIME before SET is fine)
local RULE_ARGS = 10
assert(#KEYS > 0 and #ARGV == 2 + RULE_ARGS * #KEYS, 'take: arity')

local now_us, call = clock(ARGV[1]), ARGV[2]
local rules, passes = {}, true
for i, key in ipairs(KEYS) do
  local first = 3 + RULE_ARGS * (i - 1)
  local counter = open(key, now_us, first)
  assert(call ~= '' or not counter.algorithm.has_entries, 'take: the call has no name')
  local rule = {
    counter = counter,
    again = counter.algorithm.has_entries and counter.entries.holds(call),
    cost = tonumber(ARGV[first + 6]), want = tonumber(ARGV[first + 7]),
    share = tonumber(ARGV[first + 8]), shadow = ARGV[first + 9] == '1',
  }
  rule.allowed = rule.again or left(counter) >= rule.cost
  passes = passes and (rule.allowed or rule.shadow)
  rules[i] = rule
end

local reply = {}
for _, rule in ipairs(rules) do
  local counter, taken = rule.counter, 0
  if passes and rule.allowed then
    taken = rule.cost
    if not rule.again then
      taken = math.max(taken, math.min(rule.want, math.floor(left(counter) / rule.share)))
      counter.algorithm.spend(counter, taken, call)
      save(counter)
    end
  end
  local remaining, next_amount = 0, rule.cost
  if rule.allowed then
    remaining = left(counter)
    next_amount = math.min(remaining + 1, counter.limit)
  end
  reply[#reply + 1] = string.format('%d %d %d %d %d', rule.allowed and 1 or 0, taken, remaining,
    wait(counter, next_amount), counter.start or 0)
end
return table.concat(reply, ' ')
