//! One table of metrics.

use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Latency buckets in seconds: dense around the gateway's own budget (R007: 1 to 5 ms), then
/// doubling up to the longest timeout a route may have (R177: 30 s).
const LATENCY_BUCKETS: [f64; 16] = [
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
    30.0,
];

/// The same for what the gateway takes itself, which is mostly less than the least of them.
const OWN_BUCKETS: [f64; 10] =
    [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.025, 0.1, 1.0];

macro_rules! metrics {
    ($($field:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        /// All metrics of a process, in a registry of its own so that tests can run side by side.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub $field: $kind,)+
        }

        impl Metrics {
            /// Name, labels and help of every metric, for the documentation and its test.
            pub const TABLE: &'static [(&'static str, &'static [&'static str], &'static str)] =
                &[$(($name, &[$($label),*], $help),)+];

            /// Registers every metric.
            ///
            /// # Errors
            /// Never for the table as it stands; a duplicate or malformed name would be one.
            pub fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(
                    let $field = <$kind as Create>::create($name, $help, &[$($label),*])?;
                    registry.register(Box::new($field.clone()))?;
                )+
                Ok(Self { registry, $($field,)+ })
            }
        }
    };
}

metrics! {
    requests: IntCounterVec "tidegate_requests_total" ["route", "method", "status"]
        "Requests answered, by route, method and status.";
    request_duration: HistogramVec "tidegate_request_duration_seconds" ["route"]
        "Time from the request's header to the last byte of the response.";
    upstream_duration: HistogramVec "tidegate_upstream_duration_seconds" ["route", "service"]
        "Time from sending a request to a service to the header of its answer.";
    gateway_duration: Histogram "tidegate_gateway_duration_seconds" []
        "Time of a request that the gateway itself took: its phases admit, limits, queue, cache.";
    phase_duration: HistogramVec "tidegate_phase_duration_seconds" ["phase"]
        "Time of a request by what it was spent on: admit, limits, queue, cache, connect, \
         service, body.";
    in_flight: IntGauge "tidegate_requests_in_flight" []
        "Requests being served.";
    tunnels: IntGauge "tidegate_upgraded_connections_open" []
        "Connections that carry another protocol, such as WebSocket; each is a request in flight.";
    upgrades: IntCounterVec "tidegate_upgrades_total" ["outcome"]
        "Attempts to replace this process, by outcome: done, refused, not_started, ended, gave_up, \
         timed_out, unclear.";
    rejects: IntCounterVec "tidegate_rejects_total" ["route", "code"]
        "Requests that the gateway refused or failed, by route and code.";
    connections_open: IntGaugeVec "tidegate_connections_open" ["listener"]
        "Client connections that are open, by listener.";
    connections_ceiling: IntGauge "tidegate_connections_ceiling" []
        "Client connections that all listeners together may have.";
    connections_accepted: IntCounterVec "tidegate_connections_accepted_total" ["listener"]
        "Client connections accepted, by listener; those refused afterwards are among them.";
    connections_refused: IntCounterVec "tidegate_connections_refused_total" ["listener", "reason"]
        "Client connections refused or cut short, by listener and reason.";
    panics: IntCounter "tidegate_panics_total" []
        "Requests dropped by a defect of the gateway; any is a reason to alert.";
    token_cache: IntCounterVec "tidegate_token_cache_total" ["outcome"]
        "Look-ups in the cache of verified tokens: hit, miss, refused.";
    token_cache_entries: IntGauge "tidegate_token_cache_entries" []
        "Verified tokens that are remembered; at most 65536.";
    token_cache_bytes: IntGauge "tidegate_token_cache_bytes" []
        "What they weigh, estimated; at most 256 MiB.";
    token_cache_evicted: IntCounter "tidegate_token_cache_evicted_total" []
        "Verified tokens that were good and made room for others.";
    token_cache_turned_away: IntCounter "tidegate_token_cache_turned_away_total" []
        "Good tokens that are not remembered: no room, and they came for the first time.";
    token_refusals: IntCounterVec "tidegate_token_refusals_total" ["outcome"]
        "Tokens refused for what checking them showed: checked, recalled without a check.";
    revocations: IntGauge "tidegate_revocations" []
        "Revocations in force on this node.";
    revocations_age: IntGauge "tidegate_revocations_age_seconds" []
        "Time since the shared list of revocations was last read; -1 if it never was.";
    revocations_read: IntCounterVec "tidegate_revocations_read_total" ["outcome"]
        "Readings of the shared list: changed, unchanged, failed.";
    revocations_skipped: IntCounterVec "tidegate_revocations_skipped_total" ["reason"]
        "Revocations from elsewhere that are not in force here: unreadable, full.";
    revoked_refused: IntCounter "tidegate_revoked_refused_total" []
        "Requests refused because what they carried was revoked.";
    keyring_fetches: IntCounterVec "tidegate_keyring_fetches_total" ["provider", "outcome"]
        "Fetches of key sets, by identity provider and outcome: changed, unchanged, failed.";
    keyring_failures: IntCounterVec "tidegate_keyring_failures_total" ["provider", "reason"]
        "Fetches of key sets that failed, by identity provider and reason.";
    keyring_age: GaugeVec "tidegate_keyring_age_seconds" ["provider"]
        "Age of the key set in force, since the issuer last confirmed it.";
    keyring_keys: IntGaugeVec "tidegate_keyring_keys" ["provider"]
        "Keys of the key set in force.";
    keyring_store: IntCounterVec "tidegate_keyring_store_total" ["provider", "outcome"]
        "Key sets on disk, by identity provider: loaded, ignored, saved, failed.";
    keyring_unknown: IntCounterVec "tidegate_keyring_unknown_kid_total" ["provider"]
        "Tokens that named a key the set does not hold.";
    introspection_questions:
        IntCounterVec "tidegate_introspection_questions_total" ["provider", "outcome"]
        "Questions to issuers about tokens, by outcome: active, inactive, unreachable, timeout, \
         status, credentials, malformed, held_back.";
    introspection_duration: HistogramVec "tidegate_introspection_duration_seconds" ["provider"]
        "Time from a question to an issuer about a token to its answer, or to its failure.";
    introspection_cache: IntCounterVec "tidegate_introspection_cache_total" ["outcome"]
        "Look-ups of what issuers said about tokens: hit, refused, miss; stale while away.";
    signature_nonces: IntCounterVec "tidegate_signature_nonces_total" ["outcome"]
        "Nonces of signed requests: new, local (Redis did not say), replayed, full (refused).";
    signature_nonces_held: IntGauge "tidegate_signature_nonces_held" []
        "Nonces of signed requests that are remembered on this node.";
    lookups: IntCounterVec "tidegate_lookups_total" ["kind", "outcome"]
        "Look-ups of API keys and tenants: local, redis, database, none, unavailable, stale.";
    lookup_entries: IntGaugeVec "tidegate_lookup_entries" ["kind", "known"]
        "What is known of API keys and tenants on this node: found, none.";
    lookup_redis_failures: IntCounter "tidegate_lookup_redis_failures_total" []
        "Calls to Redis about API keys and tenants that failed or came too late.";
    database_duration: HistogramVec "tidegate_database_duration_seconds" ["outcome"]
        "Time of look-ups in the database: ok, failed.";
    database_up: IntGauge "tidegate_database_up" []
        "1 while the database answers about callers, 0 while it does not.";
    limit_decisions: IntCounterVec "tidegate_limit_decisions_total" ["limit", "decision", "counter"]
        "Decisions by limit: allowed, limited, unavailable, or shadow_limited; counted in redis, \
         from a lease, local or open.";
    limit_response_costs: IntCounterVec "tidegate_limit_response_costs_total" ["limit", "outcome"]
        "Answers by what they said of the cost: charged, `given_back`, kept, or unreadable.";
    limit_redis_failures: IntCounter "tidegate_limit_redis_failures_total" []
        "Calls to Redis that failed or came too late.";
    limit_redis_duration: HistogramVec "tidegate_limit_redis_duration_seconds" ["outcome"]
        "Time of calls to Redis.";
    limit_local: IntGauge "tidegate_limit_counting_locally" []
        "1 while limits count on this node because Redis is absent, away, or just back; else 0.";
    limit_breaker_open: IntGauge "tidegate_limit_breaker_open" []
        "1 while Redis is not asked because of its failures, else 0.";
    limit_leases: IntGauge "tidegate_limit_leases" []
        "Keys of which this node holds tokens in advance; looked at twice a second.";
    limit_lease_tokens: IntGauge "tidegate_limit_lease_tokens" []
        "Tokens that this node holds in advance: what is lost at most if it dies.";
    limit_lease_calls: IntCounterVec "tidegate_limit_lease_calls_total" ["outcome"]
        "Calls to Redis that asked for tokens in advance, by what they brought: granted (all), \
         partial, refused (none), failed.";
    limit_lease_given_back: IntCounter "tidegate_limit_lease_given_back_total" []
        "Tokens taken in advance that were not needed and are given back.";
    limit_lease_expired: IntCounter "tidegate_limit_lease_expired_total" []
        "Tokens taken in advance that were not needed and are lost: their window is over, or they \
         were found too late.";
    limit_local_keys: IntGauge "tidegate_limit_local_keys" []
        "Keys counted exactly on this node.";
    limit_nodes: IntGauge "tidegate_limit_nodes" []
        "Live nodes that share the limits, this one included, as last seen.";
    limit_upkeep_failures: IntCounter "tidegate_limit_upkeep_failures_total" []
        "Calls to Redis that no request waits for (heartbeats, settling) and that failed.";
    limit_charged_back: IntCounter "tidegate_limit_charged_back_total" []
        "Tokens charged to Redis that this node had admitted without it.";
    limit_journal_dropped: IntCounter "tidegate_limit_journal_dropped_total" []
        "What was admitted without Redis and will not be charged: too many keys, or refused.";
    limit_settle_dropped: IntCounter "tidegate_limit_settle_dropped_total" []
        "Charges and returns that never reached Redis: it was away, or too many waited.";
    overload_in_flight: IntGauge "tidegate_overload_in_flight" []
        "Requests that hold one of the places of `overload.maxInFlight`.";
    overload_waiting: IntGauge "tidegate_overload_waiting" []
        "Requests that wait for one.";
    overload_shed: IntCounterVec "tidegate_overload_shed_total" ["reason"]
        "Requests refused because this node is full: the line was full, the wait too long, or \
         memory above `overload.maxMemory`.";
    memory_resident: IntGauge "tidegate_memory_resident_bytes" []
        "Memory that this process holds; looked at five times a second.";
    redis_connections: IntGaugeVec "tidegate_redis_connections" ["user", "state"]
        "Connections to Redis by user: open, connecting. To a cluster, one for all its nodes.";
    redis_connects: IntCounterVec "tidegate_redis_connects_total" ["user", "outcome"]
        "Attempts to connect to Redis by user: ok, failed.";
    redis_losses: IntCounterVec "tidegate_redis_connections_lost_total" ["user", "reason"]
        "Connections to Redis given up: closed, silent, dropped; after a failover replica, moved.";
    redis_in_flight: IntGaugeVec "tidegate_redis_calls_in_flight" ["user"]
        "Calls to Redis under way, by user.";
    limit_local_evicted: IntCounterVec "tidegate_limit_local_evicted_total" ["state"]
        "Keys that made room: cold, limited (used up, remembered), lost (used up, forgotten).";
    limit_places_held: IntGauge "tidegate_limit_places_held" []
        "Places of `concurrency` limits that requests on this node hold.";
    cache: IntCounterVec "tidegate_cache_total" ["route", "outcome"]
        "What the cache did, by route.";
    cache_collapsed: IntCounterVec "tidegate_cache_collapsed_total" ["route"]
        "Requests that waited for another's answer and were answered with it.";
    cache_served: IntCounterVec "tidegate_cache_served_bytes_total" ["route"]
        "Bytes of bodies that came from the store.";
    cache_keys: IntGaugeVec "tidegate_cache_keys" ["route"]
        "About how many different keys were asked for since the configuration came into force.";
    cache_shared: IntCounterVec "tidegate_cache_shared_total" ["outcome"]
        "Look-ups in the shared store: hit, miss, timeout, error, garbage, skipped (not asked).";
    cache_shared_duration: HistogramVec "tidegate_cache_shared_duration_seconds" ["outcome"]
        "Time of look-ups in the shared store.";
    cache_shared_writes: IntCounterVec "tidegate_cache_shared_writes_total" ["outcome"]
        "Answers for the shared store: written, dropped, `too_large`, failed.";
    cache_purges: IntCounterVec "tidegate_cache_purges_total" ["from"]
        "Purges in force on this node, by who made them: operator, answer (to an unsafe method), \
         guard, fleet.";
    cache_purge_records: IntGauge "tidegate_cache_purge_records" []
        "Tags whose last purge is known on this node; of more than 262144 the oldest are folded.";
    cache_purges_pending: IntGauge "tidegate_cache_purges_pending" []
        "Purges of this node that other nodes have not been told, because Redis does not answer.";
    cache_purges_read: IntCounterVec "tidegate_cache_purges_read_total" ["outcome"]
        "Readings of the shared log of purges: changed, unchanged, failed.";
    cache_purges_lost: IntCounterVec "tidegate_cache_purges_lost_total" ["reason"]
        "What makes entries be confirmed because purges may be unknown: lost (by Redis), behind, \
         unreadable, folded, overflow.";
    cache_purged: IntCounterVec "tidegate_cache_purged_total" ["how"]
        "Entries found purged when they were to be used: gone, stale, confirm.";
    cache_renewals: IntCounterVec "tidegate_cache_renewals_total" ["route", "outcome"]
        "Entries renewed in the background: renewed, replaced, dropped, failed, skipped.";
    cache_verified: IntCounterVec "tidegate_cache_verified_total" ["route", "outcome"]
        "Hits fetched anew for their caller: same, changed, leak, failed.";
    compressed: IntCounterVec "tidegate_compressed_total" ["route", "coding"]
        "Answers compressed, by route and coding.";
    compressed_in: IntCounterVec "tidegate_compressed_input_bytes_total" ["route", "coding"]
        "What compressed answers had before, in bytes.";
    compressed_out: IntCounterVec "tidegate_compressed_output_bytes_total" ["route", "coding"]
        "What compressed answers had afterwards, in bytes.";
    cache_bytes: IntGauge "tidegate_cache_bytes" []
        "Weight of all entries.";
    cache_entries: IntGauge "tidegate_cache_entries" []
        "Number of entries.";
    cache_capacity: IntGauge "tidegate_cache_capacity_bytes" []
        "What all entries may weigh together.";
    cache_evictions: IntCounterVec "tidegate_cache_evictions_total" ["reason"]
        "Entries that left memory: room, over (no use, not even stale), replaced, purged.";
    cache_fills: IntCounterVec "tidegate_cache_fills_total" ["outcome"]
        "Answers read for the cache: kept, aborted, outgrown (too large), dropped (purged).";
    cache_fills_open: IntGauge "tidegate_cache_fills_open" []
        "Answers that are being read for the cache.";
    cache_fill_bytes: IntGauge "tidegate_cache_fill_bytes" []
        "Memory set aside for answers that are being read for the cache.";
    upstream_picks: IntCounterVec "tidegate_upstream_picks_total" ["service", "version"]
        "Attempts sent, by service and version.";
    upstream_connections: IntCounterVec "tidegate_upstream_connections_total" ["service", "reused"]
        "Connections used for attempts: reused or new.";
    upstream_failures: IntCounterVec "tidegate_upstream_failures_total" ["service", "code"]
        "Attempts that failed, by service and code.";
    upstream_endpoint_up: IntGaugeVec "tidegate_upstream_endpoint_up" ["service", "endpoint"]
        "1 while an endpoint gets requests, 0 while it is out or fails its checks.";
    upstream_in_flight: IntGaugeVec "tidegate_upstream_in_flight" ["service"]
        "Attempts under way, by service: connections in use.";
    upstream_pending: IntGaugeVec "tidegate_upstream_pending" ["service"]
        "Requests that wait for a connection, for services with `maxConnections`.";
    upstream_circuit_state: IntGaugeVec "tidegate_upstream_circuit_state" ["service"]
        "0 while requests pass, 1 while one finds out whether they may, 2 while none does.";
    upstream_circuit_opened: IntCounterVec "tidegate_upstream_circuit_opened_total" ["service"]
        "Times a circuit opened after it was closed.";
    upstream_concurrency_limit: IntGaugeVec "tidegate_upstream_concurrency_limit" ["service"]
        "Requests that a service with `adaptiveConcurrency` may have at once.";
    upstream_concurrency_refused:
        IntCounterVec "tidegate_upstream_concurrency_refused_total" ["service"]
        "Requests refused because of `adaptiveConcurrency`.";
    upstream_ejections: IntCounterVec "tidegate_upstream_ejections_total" ["service"]
        "Times an endpoint was left out for failing requests.";
    retries: IntCounterVec "tidegate_retries_total" ["route", "reason"]
        "Attempts repeated, by route and reason.";
    rollout_share: IntGaugeVec "tidegate_rollout_share" ["service", "version"]
        "Share of a version that is being rolled out, out of 10000.";
    rollout_aborts: IntCounterVec "tidegate_rollout_aborts_total" ["service", "version"]
        "Rollouts that ended because the new version did badly.";
    discovery_lookups: IntCounterVec "tidegate_discovery_lookups_total" ["source", "outcome"]
        "Look-ups of endpoints, by source and outcome: ok, unchanged, empty, failed.";
    discovery_instances: IntGaugeVec "tidegate_discovery_instances" ["source"]
        "Endpoints of a source that are in force.";
    discovery_age: GaugeVec "tidegate_discovery_age_seconds" ["source"]
        "Time since a source last said where its endpoints are.";
    retries_refused: IntCounterVec "tidegate_retries_refused_total" ["route", "service"]
        "Attempts not repeated because the service's retry budget was used up.";
    hedges: IntCounterVec "tidegate_hedges_total" ["route", "winner"]
        "Second attempts beside a late first one, by who won: first, second, none.";
    config_info: IntGaugeVec "tidegate_config_info" ["version", "checksum"]
        "1 for the configuration in force.";
    config_applies: IntCounterVec "tidegate_config_applies_total" ["outcome"]
        "Configurations applied or refused.";
    config_last_ok: IntGauge "tidegate_config_last_apply_successful" []
        "1 if the last configuration offered was applied, 0 if it was refused.";
    config_last_ok_time: IntGauge "tidegate_config_last_apply_success_timestamp_seconds" []
        "When a configuration was last applied, in Unix time.";
    access_log_dropped: IntCounter "tidegate_access_log_dropped_total" []
        "Access log lines dropped because the writer fell behind or failed.";
    log_left_out: IntCounter "tidegate_log_lines_left_out_total" []
        "Lines left out of the process log because too many of their kind came.";
    drill_active: IntGaugeVec "tidegate_drill_active" ["drill"]
        "1 while a fault is switched on for a drill, else 0; nothing where drills are off.";
    build_info: IntGaugeVec "tidegate_build_info" ["version"]
        "1 for the running build.";
}

impl Metrics {
    /// Everything in Prometheus text format.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(64 * 1024);
        // Encoding into memory fails only on an inconsistent family, which the table excludes.
        if TextEncoder::new().encode(&self.registry.gather(), &mut text).is_err() {
            text.clear();
        }
        text
    }

    /// The counter of attempts sent to a version of a service, to be kept by the caller.
    #[must_use]
    pub fn picks_of(&self, service: &str, version: &str) -> IntCounter {
        self.upstream_picks.with_label_values(&[service, version])
    }

    /// Share and aborts of a rollout, to be kept by the caller.
    #[must_use]
    pub fn rollout_of(&self, service: &str, version: &str) -> (IntGauge, IntCounter) {
        let labels = [service, version];
        let share = self.rollout_share.with_label_values(&labels);
        (share, self.rollout_aborts.with_label_values(&labels))
    }

    /// The content type of [`Metrics::render`].
    pub const CONTENT_TYPE: &'static str = prometheus::TEXT_FORMAT;
}

/// What the table needs of each kind of metric.
trait Create: Sized {
    fn create(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error>;
}

impl Create for IntCounter {
    fn create(name: &str, help: &str, _: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(name, help)
    }
}

impl Create for IntGauge {
    fn create(name: &str, help: &str, _: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(name, help)
    }
}

impl Create for IntCounterVec {
    fn create(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(Opts::new(name, help), labels)
    }
}

impl Create for IntGaugeVec {
    fn create(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(Opts::new(name, help), labels)
    }
}

impl Create for GaugeVec {
    fn create(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(Opts::new(name, help), labels)
    }
}

impl Create for Histogram {
    fn create(name: &str, help: &str, _: &[&str]) -> Result<Self, prometheus::Error> {
        Self::with_opts(HistogramOpts::new(name, help).buckets(OWN_BUCKETS.to_vec()))
    }
}

impl Create for HistogramVec {
    fn create(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        Self::new(HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec()), labels)
    }
}
