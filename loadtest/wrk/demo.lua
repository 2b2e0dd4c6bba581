-- demo: load for `make demo`, by hand. The cached route unless TARGET and TOKEN say otherwise.
--
--   wrk -t1 -c16 -d10s --latency -s loadtest/wrk/demo.lua http://127.0.0.1:8080
--   TARGET=/v1/orders TOKEN=$READER wrk -t1 -c16 -d10s --latency -s loadtest/wrk/demo.lua http://127.0.0.1:8080
--
-- The demo's limits are meant to be met: /v1/search refuses from the sixth request on, and a
-- user has 1000 requests of /v1/orders an hour. wrk counts a 429 under "Non-2xx".

local target = os.getenv("TARGET") or "/v1/catalog/lamps?colour=green&cc=max-age%3D60"
local token = os.getenv("TOKEN")
local prepared

function init()
  local headers = { Host = "127.0.0.1:8080" }
  if token then
    headers.Authorization = "Bearer " .. token
  end
  prepared = wrk.format("GET", target, headers)
end

function request()
  return prepared
end
