-- requests: sends prepared requests in turn and reports in one line that programs can read.
--
-- ARGS   1 a file with one request per line: target, a token or `-` for none, and
--        what tells the client apart (in `X-Client`) or `-` for nothing, with spaces between
--        2 optional: how many of them to skip at first (default: 0)
--        3... optional: headers of every request, `Name: value`
-- OUT    a last line `tidegate-loadtest key=value ...`, times in microseconds
--
--   wrk -t1 -c64 -d5s -s loadtest/wrk/requests.lua http://127.0.0.1:8080 -- requests.txt
--
-- Requests are formatted once: what wrk does for each of them should cost as little as possible,
-- because it shares a processor with the origin.

local requests = {}
local at = 0

function init(args)
  local file = assert(args[1], "requests: name the file of requests after --")
  local common = {}
  for n = 3, #args do
    local name, value = args[n]:match("^([^:]+): *(.*)$")
    common[assert(name, "requests: not a header: " .. args[n])] = value
  end
  for line in io.lines(file) do
    local target, token, client = line:match("^(%S+) (%S+) (%S+)$")
    assert(target, "requests: not a target, a token and a client: " .. line)
    local headers = { Host = "api.example.com", Accept = "application/json" }
    for name, value in pairs(common) do
      headers[name] = value
    end
    if token ~= "-" then
      headers.Authorization = "Bearer " .. token
    end
    if client ~= "-" then
      headers["X-Client"] = client
    end
    requests[#requests + 1] = wrk.format("GET", target, headers)
  end
  assert(#requests > 0, "requests: the file is empty")
  at = tonumber(args[2] or 0) % #requests
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    "tidegate-loadtest requests=%d duration=%d p50=%d p99=%d "
      .. "connect=%d read=%d write=%d status=%d timeout=%d bytes=%d\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout,
    summary.bytes))
end
