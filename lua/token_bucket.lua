-- token_bucket: bursts of up to `limit` tokens, then a steady refill.
--
-- STATE  "DEBT AT": units missing from a full bucket, and the microsecond for which that holds.
--        No state means a full bucket. A debt above `limit` tokens was charged.
-- RULE   limit: tokens
--        per_us: units that come back each microsecond
--        per_token: units that make one token
-- UNITS  The gateway picks them so that the refill rate is a quotient of whole numbers and
--        limit * per_token <= 2^51. Every number here is then a whole number below 2^53, which
--        Lua's doubles hold exactly. Quotients are only ever rounded to whole numbers, and
--        math.floor and math.ceil of such a quotient are exact in that range.
-- COST   O(1)
-- Pure: no redis.call. `src/limit/math/bucket.rs` does the same sums; tests hold both together.
local function token_bucket()
  local algorithm = {}

  -- The counter as it stands at `now_us`. A clock that went back changes nothing until it has
  -- caught up with the state; the key's time to live bounds that.
  function algorithm.open(stored, now_us, limit, per_us, per_token)
    local debt, at = string.match(stored, '^(%d+) (%d+)$')
    debt, at = tonumber(debt) or 0, tonumber(at) or now_us
    if at < now_us then
      debt, at = math.max(0, debt - (now_us - at) * per_us), now_us
    end
    return { debt = debt, at = at, per_us = per_us, per_token = per_token }
  end

  -- Tokens that are missing.
  function algorithm.used(c)
    return math.ceil(c.debt / c.per_token)
  end

  -- Microseconds until the debt has come down to `debt`.
  local function until_debt(c, debt)
    return c.at - c.now_us + math.ceil((c.debt - debt) / c.per_us)
  end

  -- Milliseconds until `amount` tokens are there; only where they are not.
  function algorithm.wait(c, amount)
    return math.ceil(until_debt(c, (c.limit - amount) * c.per_token) / 1000)
  end

  function algorithm.spend(c, amount)
    c.debt = c.debt + amount * c.per_token
  end

  function algorithm.give_back(c, amount)
    c.debt = math.max(0, c.debt - math.min(amount, 2 * c.limit) * c.per_token)
  end

  -- The state to store, and the milliseconds after which it says no more than no state does.
  function algorithm.pack(c)
    return string.format('%.0f %.0f', c.debt, c.at), math.max(1, math.ceil(until_debt(c, 0) / 1000))
  end

  return algorithm
end
