-- counters: what all scripts of the limiter share: the clock, and how a counter is read and
-- written. The algorithms stand above and never talk to Redis; the script that uses both, below.
--
-- A counter in ARGV takes 6: algorithm, limit, and four numbers of the algorithm
--   token_bucket: units per microsecond, units per token, 0, 0
--   sliding_window, fixed_window, sliding_log: window in milliseconds, 0, 0, 0
--   quota: begin of the last period, of this one, of the next and of the one after that, in
--     milliseconds since the epoch, as the gateway's clock sees it; Redis's clock chooses
--   concurrency: for how long a place is held, in milliseconds, 0, 0, 0
-- A value of another type, or not in the algorithm's own form, counts as none and is replaced.
--
-- Each algorithm is a function that makes it: a call makes only those that it needs.
local algorithms = {
  token_bucket = token_bucket,
  sliding_window = sliding_window,
  sliding_log = sliding_log,
  fixed_window = fixed_window,
  quota = quota,
  concurrency = concurrency,
}

-- Lua's own conversion keeps 14 digits.
local function whole(number)
  return string.format('%.0f', number)
end

-- Microseconds since the epoch: `given`, or "" for the server's clock.
local function clock(given)
  if given ~= '' then
    return assert(tonumber(given), 'counters: now')
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- The entries of a sorted set. Each counts until the time that is its score, in microseconds.
local function entries_of(key)
  local entries = {}
  local foreign = false

  local function read(...)
    local got = redis.pcall(...)
    if type(got) == 'table' and got.err then
      foreign = true
      return nil
    end
    return got
  end

  -- How many count after `now_us`.
  function entries.count(now_us)
    return read('ZCOUNT', key, '(' .. whole(now_us), '+inf') or 0
  end

  -- Until when the entry counts that ends as the `nth` of those.
  function entries.ends(now_us, nth)
    local found = read('ZRANGEBYSCORE', key, '(' .. whole(now_us), '+inf', 'WITHSCORES',
      'LIMIT', whole(nth - 1), '1') or {}
    return tonumber(found[2]) or now_us
  end

  function entries.holds(member)
    return not foreign and read('ZSCORE', key, member) and true or false
  end

  function entries.add(member, ends_us)
    if foreign then
      redis.call('DEL', key)
      foreign = false
    end
    redis.call('ZADD', key, whole(ends_us), member)
  end

  function entries.remove(member)
    return read('ZREM', key, member) or 0
  end

  -- Removes up to `amount` of those that end from `first_us` to `last_us`.
  function entries.remove_between(first_us, last_us, amount)
    local found = read('ZRANGEBYSCORE', key, whole(first_us), whole(last_us),
      'LIMIT', '0', whole(amount)) or {}
    for _, member in ipairs(found) do
      entries.remove(member)
    end
  end

  -- Drops what no longer counts, and lets the key live as long as its last entry.
  function entries.tidy(now_us)
    if not read('ZREMRANGEBYSCORE', key, '-inf', whole(now_us)) then
      return
    end
    local last = redis.call('ZRANGE', key, '-1', '-1', 'WITHSCORES')
    if last[2] then
      local ttl_ms = math.max(1, math.ceil((tonumber(last[2]) - now_us) / 1000))
      redis.call('PEXPIRE', key, whole(ttl_ms))
    end
  end

  return entries
end

local made = {}

-- The algorithm of that name.
local function algorithm_of(name)
  made[name] = made[name] or assert(algorithms[name], 'counters: algorithm')()
  return made[name]
end

-- The counter under `key` at `now_us`, of the algorithm that stands in ARGV from `first` on.
local function open(key, now_us, first)
  local algorithm = algorithm_of(ARGV[first])
  local limit = assert(tonumber(ARGV[first + 1]), 'counters: limit')
  local held
  if algorithm.has_entries then
    held = entries_of(key)
  else
    held = redis.pcall('GET', key)
    held = type(held) == 'string' and held or ''
  end
  local counter = algorithm.open(held, now_us, limit, tonumber(ARGV[first + 2]),
    tonumber(ARGV[first + 3]), tonumber(ARGV[first + 4]), tonumber(ARGV[first + 5]))
  counter.algorithm, counter.key, counter.entries = algorithm, key, held
  counter.now_us, counter.limit = now_us, limit
  return counter
end

-- What is left of the limit.
local function left(counter)
  return math.max(0, counter.limit - counter.algorithm.used(counter))
end

-- Milliseconds until `amount` is left.
local function wait(counter, amount)
  if left(counter) >= amount then
    return 0
  end
  return counter.algorithm.wait(counter, amount)
end

-- Writes what was changed; every key is given a time to live.
local function save(counter)
  if counter.algorithm.has_entries then
    counter.entries.tidy(counter.now_us)
    return
  end
  local state, ttl_ms = counter.algorithm.pack(counter)
  redis.call('SET', counter.key, state, 'PX', whole(ttl_ms))
end
