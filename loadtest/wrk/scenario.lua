-- scenario: sends requests in turn, counts answers by whether their status is expected, and
-- reports every second. Stands in for the k6 scripts where there is no k6.
--
-- ARGS   1 a file with one request per line, with spaces between: method, target, a token or `-`
--          for none, a body (JSON, without spaces) or `-` for none
--        2 statuses that are no failure, with commas between (default 200)
--        3 pause of a connection after each answer, in milliseconds (default 0)
-- OUT    lines `tidegate-second NUMBER REQUESTS FAILED` and a last line
--        `tidegate-loadtest key=value ...`, times in microseconds
--
--   wrk -t1 -c4 -d10s -s loadtest/wrk/scenario.lua http://127.0.0.1:8080 -- requests.txt 200,429 20
--
-- One thread: each would send the same requests and count by itself; the report adds them up.

local requests, at = {}, 0
local expected = {}
local pause = 0
local threads = {}

-- Globals, because wrk hands them from a thread to `done`.
second_requests, second_failed = {}, {}
first_second, failed_total = 0, 0

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  local file = assert(args[1], "scenario: name the file of requests after --")
  for line in io.lines(file) do
    local method, target, token, body = line:match("^(%S+) (%S+) (%S+) (%S+)$")
    assert(target, "scenario: not a method, a target, a token and a body: " .. line)
    local headers = { Accept = "application/json" }
    if token ~= "-" then
      headers.Authorization = "Bearer " .. token
    end
    if body ~= "-" then
      headers["Content-Type"] = "application/json"
    end
    requests[#requests + 1] = wrk.format(method, target, headers, body ~= "-" and body or nil)
  end
  assert(#requests > 0, "scenario: the file is empty")
  for status in (args[2] or "200"):gmatch("%d+") do
    expected[tonumber(status)] = true
  end
  pause = tonumber(args[3] or "0")
  first_second = os.time()
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function delay()
  return pause
end

function response(status)
  local second = os.time() - first_second + 1
  second_requests[second] = (second_requests[second] or 0) + 1
  if not expected[status] then
    second_failed[second] = (second_failed[second] or 0) + 1
    failed_total = failed_total + 1
  end
end

function done(summary, latency)
  local seconds = math.ceil(summary.duration / 1e6) + 1
  local failed = 0
  for _, thread in ipairs(threads) do
    failed = failed + thread:get("failed_total")
  end
  for second = 1, seconds do
    local answered, bad = 0, 0
    for _, thread in ipairs(threads) do
      answered = answered + (thread:get("second_requests")[second] or 0)
      bad = bad + (thread:get("second_failed")[second] or 0)
    end
    if answered > 0 or second < seconds then
      io.write(string.format("tidegate-second %d %d %d\n", second - 1, answered, bad))
    end
  end
  local errors = summary.errors
  local socket = errors.connect + errors.read + errors.write + errors.timeout
  local at_percent = function(percent)
    return latency:percentile(percent)
  end
  io.write(string.format(
    "tidegate-loadtest requests=%d failed=%d socket=%d "
      .. "p50=%d p90=%d p95=%d p99=%d p99.9=%d max=%d\n",
    summary.requests, failed, socket, at_percent(50), at_percent(90), at_percent(95),
    at_percent(99), at_percent(99.9), latency.max))
end
