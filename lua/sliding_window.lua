-- sliding_window: at most `limit` in any window, estimated from this window's count and the
-- share of the last one's that still overlaps.
--
-- STATE  "START CURRENT PREVIOUS": the millisecond at which the window began, what has been
--        taken in it, and what had been taken in the one before. No state means nothing taken.
-- RULE   limit, cost: requests
--        window_ms: length of the window; windows begin at its multiples
-- UNITS  The gateway sees to limit * window_ms <= 2^51. Every number here is then a whole number
--        below 2^53, which Lua's doubles hold exactly. Quotients are only ever rounded to whole
--        numbers, and math.floor and math.ceil of such a quotient are exact in that range.
-- COST   O(1)
-- Pure: no redis.call here. `src/limit/math.rs` does the same sums; the tests hold both together.
local sliding_window = {}

-- The counter as it stands at `now_us`. A clock that went back stands still at the start of the
-- stored window until it has caught up; the key's time to live bounds that.
function sliding_window.open(stored, now_us, limit, cost, window_ms)
  local now_ms = math.floor(now_us / 1000)
  local start = now_ms - now_ms % window_ms
  local began, current, previous = string.match(stored or '', '^(%d+) (%d+) (%d+)$')
  began, current, previous = tonumber(began), tonumber(current) or 0, tonumber(previous) or 0
  if began and began >= start then
    start = began
  elseif began and began + window_ms == start then
    current, previous = 0, current
  else
    current, previous = 0, 0
  end
  return {
    start = start, current = current, previous = previous, now_ms = now_ms,
    limit = limit, cost = cost, window_ms = window_ms,
    overlap_ms = window_ms - math.max(0, now_ms - start),
  }
end

-- Requests left.
function sliding_window.left(c)
  local overlap = math.ceil(c.previous * c.overlap_ms / c.window_ms)
  return math.max(0, c.limit - c.current - overlap)
end

-- Milliseconds into a window at which `room` and no less is left beside the overlapping share
-- of `count`.
local function until_room(c, count, room)
  return c.window_ms - math.floor(room * c.window_ms / count)
end

-- Milliseconds until `amount` requests are there.
function sliding_window.wait(c, amount)
  if sliding_window.left(c) >= amount then
    return 0
  end
  local room = c.limit - c.current - amount
  if room >= 0 then
    return c.start + until_room(c, c.previous, room) - c.now_ms
  end
  return c.start + c.window_ms + until_room(c, c.current, c.limit - amount) - c.now_ms
end

function sliding_window.spend(c)
  c.current = c.current + c.cost
end

-- The state to store, and the milliseconds after which it says no more than no state does.
function sliding_window.pack(c)
  return string.format('%.0f %.0f %.0f', c.start, c.current, c.previous),
    math.max(1, c.start + 2 * c.window_ms - c.now_ms)
end
