-- concurrency: at most `limit` requests at once.
--
-- STATE  a sorted set: a member for each place taken, named by its call; its score is the
--        microsecond until which it is held unless it is renewed. No state means no place taken.
-- RULE   limit: places
--        hold_ms: for how long a place is held. The node that holds it renews it in time, so a
--        node that died holds its places no longer than that.
-- COST   O(log limit + cost), memory O(limit)
-- Pure: no redis.call: the entries come as functions, from counters.lua.
-- `src/limit/math/places.rs` does the same sums; tests hold both together.
local function concurrency()
  local algorithm = { has_entries = true, holds_places = true }

  -- Nobody knows when a request ends; what a client is told to wait for, milliseconds.
  local PLACE_WAIT_MS = 1000

  function algorithm.open(entries, now_us, limit, hold_ms)
    return { held = entries.count(now_us), hold_us = hold_ms * 1000 }
  end

  -- Places taken.
  function algorithm.used(c)
    return c.held
  end

  function algorithm.wait()
    return PLACE_WAIT_MS
  end

  function algorithm.spend(c, amount, call)
    for n = 1, amount do
      c.entries.add(n == 1 and call or call .. ':' .. n, c.now_us + c.hold_us)
    end
    c.held = c.held + amount
  end

  -- Places are released by name (release.lua), since any two are not the same.
  function algorithm.give_back()
  end

  return algorithm
end
