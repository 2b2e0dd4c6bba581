-- heartbeat: this node is alive; how many are, and was it known without a gap?
--
-- KEYS   1 the nodes: a sorted set; member: what names a node, score: when it was last heard of
-- ARGV   1 what names this node
--        2 milliseconds after which a node that says nothing is gone
-- REPLY  3 integers: live nodes, this one included; now; when this node was last heard of, or -1
--        times: milliseconds since the epoch by the server's clock
-- TTL    the set lives as long as a node that says nothing does
-- COST   O(log nodes)
-- NEEDS  Redis 6.2 or later (scripts replicate their effects, so TIME before ZADD is fine)
-- Whoever is gone is removed before this node is looked up, itself included: a node learns that
-- others may have stopped to count it. `src/limit/fleet.rs` says what rests on that.
assert(#KEYS == 1 and #ARGV == 2, 'heartbeat: arity')

local nodes, node, gone_ms = KEYS[1], ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', nodes, '-inf', string.format('(%.0f', now_ms - gone_ms))
local last_ms = tonumber(redis.call('ZSCORE', nodes, node) or '-1')
redis.call('ZADD', nodes, string.format('%.0f', now_ms), node)
redis.call('PEXPIRE', nodes, string.format('%.0f', gone_ms))
return { redis.call('ZCARD', nodes), now_ms, last_ms }
