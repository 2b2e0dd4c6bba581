-- token_bucket: bursts of up to `limit` tokens, then a steady refill.
--
-- STATE  "DEBT AT": units missing from a full bucket, and the microsecond for which that holds.
--        No state means a full bucket.
-- RULE   limit, cost: tokens
--        per_us: units that come back each microsecond
--        per_token: units that make one token
-- UNITS  The gateway picks them so that the refill rate is a quotient of whole numbers and
--        limit * per_token <= 2^51. Every number here is then a whole number below 2^53, which
--        Lua's doubles hold exactly. Quotients are only ever rounded to whole numbers, and
--        math.floor and math.ceil of such a quotient are exact in that range.
-- COST   O(1)
-- Pure: no redis.call here. `src/limit/math.rs` does the same sums; the tests hold both together.
local token_bucket = {}

-- The counter as it stands at `now_us`. A clock that went back changes nothing until it has
-- caught up with the state; the key's time to live bounds that.
function token_bucket.open(stored, now_us, limit, cost, per_us, per_token)
  local debt, at = string.match(stored or '', '^(%d+) (%d+)$')
  debt, at = tonumber(debt) or 0, tonumber(at) or now_us
  if at < now_us then
    debt, at = math.max(0, debt - (now_us - at) * per_us), now_us
  end
  return {
    debt = debt, at = at, now_us = now_us,
    limit = limit, cost = cost, per_us = per_us, per_token = per_token,
  }
end

-- Tokens left.
function token_bucket.left(c)
  return math.floor((c.limit * c.per_token - c.debt) / c.per_token)
end

-- Microseconds until the debt has come down to `debt`.
local function until_debt(c, debt)
  return c.at - c.now_us + math.ceil((c.debt - debt) / c.per_us)
end

-- Milliseconds until `amount` tokens are there.
function token_bucket.wait(c, amount)
  local debt = (c.limit - amount) * c.per_token
  if c.debt <= debt then
    return 0
  end
  return math.ceil(until_debt(c, debt) / 1000)
end

function token_bucket.spend(c)
  c.debt = c.debt + c.cost * c.per_token
end

-- The state to store, and the milliseconds after which it says no more than no state does.
function token_bucket.pack(c)
  return string.format('%.0f %.0f', c.debt, c.at), math.max(1, math.ceil(until_debt(c, 0) / 1000))
end
