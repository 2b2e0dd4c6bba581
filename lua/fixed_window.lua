-- fixed_window: at most `limit` from one multiple of the window to the next, so up to twice as
-- many around that.
--
-- STATE  "START CURRENT": the millisecond at which the window began, and what has been taken in
--        it. No state means nothing taken.
-- RULE   limit: requests
--        window_ms: length of the window
-- COST   O(1)
-- Pure: no redis.call. `src/limit/math/period.rs` does the same sums; tests hold both together.
local function fixed_window()
  local algorithm = {}

  -- The counter in the window that `period` finds for a time: its begin and its end. A clock that
  -- went back stands still in the stored window until it has caught up.
  function algorithm.open_in(stored, now_us, period)
    local now_ms = math.floor(now_us / 1000)
    local began, current = string.match(stored, '^(%d+) (%d+)$')
    began, current = tonumber(began) or 0, tonumber(current) or 0
    local start, ends = period(math.max(now_ms, began))
    if began < start then
      current = 0
    end
    return { start = start, ends = ends, current = current, now_ms = now_ms }
  end

  function algorithm.open(stored, now_us, limit, window_ms)
    return algorithm.open_in(stored, now_us, function(at_ms)
      local start = at_ms - at_ms % window_ms
      return start, start + window_ms
    end)
  end

  -- Requests that count against the limit.
  function algorithm.used(c)
    return c.current
  end

  -- Milliseconds until `amount` requests are there; only where they are not.
  function algorithm.wait(c)
    return c.ends - c.now_ms
  end

  function algorithm.spend(c, amount)
    c.current = c.current + amount
  end

  -- What was taken in an older window counts no more.
  function algorithm.give_back(c, amount, epoch_ms)
    if epoch_ms == c.start then
      c.current = math.max(0, c.current - amount)
    end
  end

  -- The state to store, and the milliseconds after which it says no more than no state does.
  function algorithm.pack(c)
    return string.format('%.0f %.0f', c.start, c.current), math.max(1, c.ends - c.now_ms)
  end

  return algorithm
end
