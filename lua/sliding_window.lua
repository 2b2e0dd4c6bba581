-- sliding_window: at most `limit` in any window, counted by sixtieths of it.
--
-- STATE  packed doubles, little-endian: how much was taken in all cells; then for each cell in
--        which something was taken, oldest first, its index and how much. A cell is a sixtieth of
--        the window, in whole milliseconds rounded up; the cell of index i begins i cells after
--        the epoch. No state means nothing taken.
-- RULE   limit: requests
--        window_ms: length of the window
-- EXACT  What was taken in the cell in which the window begins counts by the share of the cell
--        that still lies in the window, rounded up: as if it had been taken evenly in that cell.
--        Everything newer counts in full.
-- UNITS  The gateway sees to limit * window_ms <= 2^51, and counts never pass 2 * limit. Every
--        number here is then a whole number below 2^53, which Lua's doubles hold exactly.
--        Quotients are only ever rounded to whole numbers, and math.floor and math.ceil of such
--        a quotient are exact in that range.
-- COST   O(1), beside cells that have left the window; 62 cells at most, and no more than what was
--        taken. The cells stay packed, because taking them apart costs more than all the rest.
-- Pure: no redis.call. `src/limit/math/window.rs` does the same sums; tests hold both together.
local function sliding_window()
  local algorithm = {}
  local CELLS = 60
  local TOTAL, CELL = 8, 16

  -- Index and count of the nth cell.
  local function cell(cells, n)
    local index, count = struct.unpack('<dd', cells, (n - 1) * CELL + 1)
    return index, count
  end

  -- Counts what lies in the window: of the cell in which it begins, what has not left it.
  local function tally(c)
    c.used = c.total
    if #c.cells > 0 then
      local index, count = cell(c.cells, 1)
      local stays_ms = (index + 1) * c.cell_ms - c.begin_ms
      if stays_ms < c.cell_ms then
        c.used = c.total - count + math.ceil(count * stays_ms / c.cell_ms)
      end
    end
  end

  -- The counter as it stands at `now_us`. A clock that went back stands still at the begin of the
  -- newest cell until it has caught up; the key's time to live bounds that.
  function algorithm.open(stored, now_us, limit, window_ms)
    local now_ms, cell_ms = math.floor(now_us / 1000), math.ceil(window_ms / CELLS)
    local total, cells, at_ms = 0, '', now_ms
    if #stored > TOTAL and (#stored - TOTAL) % CELL == 0 then
      total, cells = struct.unpack('<d', stored), string.sub(stored, TOTAL + 1)
      at_ms = math.max(now_ms, cell(cells, #cells / CELL) * cell_ms)
    end
    local begin_ms, gone = at_ms - window_ms, 0
    while gone < #cells / CELL do
      local index, count = cell(cells, gone + 1)
      if (index + 1) * cell_ms > begin_ms then
        break
      end
      gone, total = gone + 1, total - count
    end
    local c = {
      total = total, cells = string.sub(cells, gone * CELL + 1), now_ms = now_ms,
      begin_ms = begin_ms, window_ms = window_ms, cell_ms = cell_ms,
      start = at_ms - at_ms % cell_ms,
    }
    tally(c)
    return c
  end

  -- Requests that count against the limit.
  function algorithm.used(c)
    return c.used
  end

  -- Milliseconds until `amount` requests are there; only where they are not: until so much of a
  -- cell has left the window that what is left of it and everything newer make room.
  function algorithm.wait(c, amount)
    local newer = c.total
    for n = 1, #c.cells / CELL do
      local index, count = cell(c.cells, n)
      newer = newer - count
      local room = c.limit - amount - newer
      if room >= 0 then
        local stays_ms = math.floor(room * c.cell_ms / count)
        return (index + 1) * c.cell_ms - stays_ms + c.window_ms - c.now_ms
      end
    end
    return 0
  end

  function algorithm.spend(c, amount)
    local index, last = c.start / c.cell_ms, #c.cells / CELL
    local taken = amount
    if last > 0 then
      local newest, count = cell(c.cells, last)
      if newest == index then
        taken, c.cells = amount + count, string.sub(c.cells, 1, -CELL - 1)
      end
    end
    c.cells = c.cells .. struct.pack('<dd', index, taken)
    c.total, c.used = c.total + amount, c.used + amount
  end

  -- What was taken in the cell that began at `epoch_ms`; nothing once it has left the window.
  function algorithm.give_back(c, amount, epoch_ms)
    local kept = {}
    for n = 1, #c.cells / CELL do
      local index, count = cell(c.cells, n)
      local back = index * c.cell_ms == epoch_ms and math.min(count, amount) or 0
      c.total = c.total - back
      if count > back then
        kept[#kept + 1] = struct.pack('<dd', index, count - back)
      end
    end
    c.cells = table.concat(kept)
    tally(c)
  end

  -- The state to store, and the milliseconds after which it says no more than no state does.
  function algorithm.pack(c)
    local ends_ms = 0
    if #c.cells > 0 then
      ends_ms = (cell(c.cells, #c.cells / CELL) + 1) * c.cell_ms + c.window_ms
    end
    return struct.pack('<d', c.total) .. c.cells, math.max(1, ends_ms - c.now_ms)
  end

  return algorithm
end
