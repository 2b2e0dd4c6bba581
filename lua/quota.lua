-- quota: at most `limit` in a period of the calendar.
--
-- STATE  "START CURRENT": the millisecond at which the period began, and what has been taken in
--        it. No state means nothing taken.
-- RULE   limit: requests
--        b1 to b4: begins of four periods in a row, milliseconds since the epoch: the last, this
--        one, the next and the one after. The gateway reckons them, because they depend on time
--        zones; which one it is says Redis's clock. Beyond them, so with a gateway whose clock is
--        more than a period wrong, periods are taken to be as long as their neighbours.
-- COST   O(1)
-- Pure: no redis.call. `src/limit/math/period.rs` does the same sums; tests hold both together.
local function quota()
  local algorithm = fixed_window()

  function algorithm.open(stored, now_us, limit, b1, b2, b3, b4)
    return algorithm.open_in(stored, now_us, function(at_ms)
      if at_ms < b1 then
        local length = b2 - b1
        local start = b1 - math.ceil((b1 - at_ms) / length) * length
        return start, start + length
      elseif at_ms < b2 then
        return b1, b2
      elseif at_ms < b3 then
        return b2, b3
      elseif at_ms < b4 then
        return b3, b4
      end
      local length = b4 - b3
      local start = b4 + math.floor((at_ms - b4) / length) * length
      return start, start + length
    end)
  end

  return algorithm
end
