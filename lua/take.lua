-- take: take every rule's cost from its counter, or nothing from any.
--
-- KEYS   one counter a rule, each a string; in a cluster all must share one {hash tag}
-- ARGV   1 now in microseconds since the epoch, or "" for the server's clock (tests give a number)
--        then per rule 5: algorithm, limit, cost, and two numbers of the algorithm
--        token_bucket: units per microsecond, units per token
--        sliding_window: window in milliseconds, 0
-- REPLY  per rule 3 integers: allowed 0|1, remaining, reset_ms
--        allowed: whether this rule had enough; the request passes if all had
--        remaining: what is left after the request; 0 where this rule had not enough
--        reset_ms: where it had not enough, until this request would pass; else until more is left
-- TTL    every key written lives until it says no more than a missing key does
-- COST   O(rules): one GET a rule and, if the request passes, one SET a rule
-- NEEDS  Redis 6.2 or later (scripts replicate their effects, so TIME before SET is fine)
-- The two algorithms stand above: the gateway loads the three files as one script.
local RULE_ARGS = 5
assert(#KEYS > 0 and #ARGV == 1 + RULE_ARGS * #KEYS, 'take: arity')

local algorithms = { token_bucket = token_bucket, sliding_window = sliding_window }

local now_us = tonumber(ARGV[1])
if not now_us then
  local time = redis.call('TIME')
  now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local rules, passes = {}, true
for i, key in ipairs(KEYS) do
  local first = 2 + RULE_ARGS * (i - 1)
  local algorithm = assert(algorithms[ARGV[first]], 'take: algorithm')
  local counter = algorithm.open(
    redis.call('GET', key), now_us,
    tonumber(ARGV[first + 1]), tonumber(ARGV[first + 2]),
    tonumber(ARGV[first + 3]), tonumber(ARGV[first + 4])
  )
  local left = algorithm.left(counter)
  rules[i] = { algorithm = algorithm, counter = counter, left = left }
  passes = passes and left >= counter.cost
end

local reply = {}
for i, key in ipairs(KEYS) do
  local rule = rules[i]
  local algorithm, counter, left = rule.algorithm, rule.counter, rule.left
  local allowed = left >= counter.cost
  if passes then
    algorithm.spend(counter)
    left = left - counter.cost
    local state, ttl_ms = algorithm.pack(counter)
    redis.call('SET', key, state, 'PX', string.format('%.0f', ttl_ms))
  end
  local amount = allowed and math.min(left + 1, counter.limit) or counter.cost
  reply[#reply + 1] = allowed and 1 or 0
  reply[#reply + 1] = allowed and left or 0
  reply[#reply + 1] = algorithm.wait(counter, amount)
end
return reply
