-- sliding_log: at most `limit` in any window, exactly: every request is remembered.
--
-- STATE  a sorted set: a member for each unit taken, named by its call; its score is the
--        microsecond at which it leaves the window. No state means nothing taken.
-- RULE   limit: requests; the gateway refuses more than 10,000
--        window_ms: length of the window
-- COST   O(log limit + cost), memory O(limit)
-- Pure: no redis.call: the entries come as functions, from counters.lua.
-- `src/limit/math/log.rs` does the same sums; tests hold both together.
local function sliding_log()
  local algorithm = { has_entries = true }

  function algorithm.open(entries, now_us, limit, window_ms)
    return { held = entries.count(now_us), window_us = window_ms * 1000,
      start = math.floor(now_us / 1000) }
  end

  -- Requests that count against the limit.
  function algorithm.used(c)
    return c.held
  end

  -- Milliseconds until `amount` requests are there; only where they are not.
  function algorithm.wait(c, amount)
    local ends_us = c.entries.ends(c.now_us, c.held + amount - c.limit)
    return math.ceil((ends_us - c.now_us) / 1000)
  end

  -- The same call once more, after a lost connection, writes the same members once more.
  function algorithm.spend(c, amount, call)
    for n = 1, amount do
      c.entries.add(n == 1 and call or call .. ':' .. n, c.now_us + c.window_us)
    end
    c.held = c.held + amount
  end

  -- What was taken in the millisecond `epoch_ms`.
  function algorithm.give_back(c, amount, epoch_ms)
    local first_us = epoch_ms * 1000 + c.window_us
    c.entries.remove_between(math.max(first_us, c.now_us + 1), first_us + 999, amount)
    c.held = c.entries.count(c.now_us)
  end

  return algorithm
end
