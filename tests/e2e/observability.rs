//! What operators and services see: the access log, metrics, health, ids, traces, forwarding.

use std::collections::HashSet;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tidegate_kit::{Issuer, Origin, Outcome, RawConnection, Request, Response, Result, metrics};

use crate::{api, gateway, has_keys, open_route, provider};

/// R161 to R163: every field of the seeds' example, on every line.
const FIELDS: [&str; 14] = [
    "timestamp",
    "requestId",
    "traceId",
    "clientIp",
    "route",
    "tenantId",
    "method",
    "path",
    "status",
    "upstream",
    "upstreamVersion",
    "latencyMs",
    "rateLimited",
    "configVersion",
];

fn assert_has_every_field(line: &Value) {
    for name in FIELDS.iter().chain(&["cache", "rateLimit"]) {
        assert!(line.get(name).is_some(), "no {name} in {line}");
    }
}

#[tokio::test]
async fn an_access_log_line_has_every_field() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let config = api(&[origin.address()])
        + &provider(&issuer)
        + "configVersion: 42\n\
           rateLimits:\n  burst: {algorithm: token_bucket, capacity: 1, refillPerSecond: 0.001, \
             key: [tenantId]}\n\
           routes:\n  - {name: orders, match: {pathPrefix: /v1/orders}, upstream: {service: api}, \
             policies: {auth: required, rateLimit: burst}}\n";
    let gateway = gateway(config).start().await?;
    has_keys(&gateway).await?;
    let token = issuer.token().tenant("tenant_abc").sign()?;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = Request::new("POST", "/v1//orders?secret=1")
        .json("{}")
        .bearer(&token)
        .header("x-request-id", "req_123")
        .header("traceparent", trace);
    gateway.send(&request).await?.expect(200)?;
    let line = gateway.access_line("req_123").await?;
    assert_has_every_field(&line);
    for (name, expected) in [
        ("traceId", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("route", "orders"),
        ("tenantId", "tenant_abc"),
        ("method", "POST"),
        ("path", "/v1/orders"),
        ("upstream", "api"),
        ("clientIp", "127.0.0.1"),
    ] {
        assert_eq!(line[name], expected, "{line}");
    }
    assert_eq!(line["status"], 200);
    assert_eq!(line["configVersion"], 42);
    assert_eq!(line["rateLimited"], false);
    assert!(line["latencyMs"].as_f64().is_some_and(|ms| ms > 0.0 && ms < 10_000.0), "{line}");
    let text = line.to_string();
    assert!(!text.contains("secret=1") && !text.contains(&token), "{text}");

    let limited = gateway.send(&request.header("x-again", "1")).await?.expect(429)?;
    assert_eq!(limited.header("x-request-id"), Some("req_123"));
    let line = tidegate_kit::wait::until("the line of the limited request", async || {
        gateway.access_lines().ok()?.into_iter().find(|line| line["status"] == 429)
    })
    .await?;
    assert_has_every_field(&line);
    assert_eq!(line["rateLimited"], true);
    assert_eq!(line["rateLimit"], "burst");
    assert_eq!(line["code"], "limit.exceeded");
    assert_eq!(line["upstream"], Value::Null, "no service was asked");
    Ok(())
}

/// D28: what no route took is in the log too, with every field.
#[tokio::test]
async fn a_404_is_logged_like_everything_else() -> Outcome {
    let origin = Origin::start("api").await?;
    let routes = "routes:\n  - {name: v1, match: {pathPrefix: /v1}, upstream: {service: api}, \
                  policies: {auth: none}}\n";
    let gateway = gateway(api(&[origin.address()]) + routes).start().await?;
    let refused = gateway.get("/nowhere").await?.expect(404)?;
    let line = gateway.access_line(refused.required("x-request-id")?).await?;
    assert_has_every_field(&line);
    assert_eq!(line["route"], Value::Null);
    assert_eq!(line["status"], 404);
    assert_eq!(line["code"], "route.not_found");
    assert!(line["configVersion"].as_u64().is_some());
    Ok(())
}

/// R133: one id joins client, log, service and answer.
#[tokio::test]
async fn a_request_id_is_kept_where_it_is_sound_and_minted_where_it_is_not() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    let with = |id: &str| Request::get("/").header("x-request-id", id);
    let sound = gateway.send(&with("abc-123_X.y:z")).await?.expect(200)?;
    assert_eq!(sound.header("x-request-id"), Some("abc-123_X.y:z"));
    assert_eq!(sound.echoed("x-request-id")?.as_deref(), Some("abc-123_X.y:z"));

    let mut minted = HashSet::new();
    let long = "x".repeat(200);
    for request in [Request::get("/"), with(""), with("two words"), with("<script>"), with(&long)] {
        let response = gateway.send(&request).await?.expect(200)?;
        let id = response.required("x-request-id")?.to_owned();
        assert_eq!(response.echoed("x-request-id")?.as_deref(), Some(&*id));
        assert!(id.len() >= 20 && id.len() <= 64, "{id}");
        assert!(!id.contains(['<', ' ']), "{id}");
        assert_eq!(gateway.access_line(&id).await?["status"], 200);
        assert!(minted.insert(id), "minted twice");
    }
    Ok(())
}

/// R165: a sound trace goes on with a span of the gateway's own, anything else starts anew.
#[tokio::test]
async fn traces_are_continued_or_started() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request =
        Request::get("/").header("traceparent", sent).header("tracestate", "vendor=opaque");
    let continued = gateway.send(&request).await?.expect(200)?;
    let parent = continued.echoed("traceparent")?.unwrap_or_default();
    assert_eq!(parent.len(), sent.len(), "{parent}");
    assert!(parent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{parent}");
    assert!(parent.ends_with("-01"), "{parent}");
    assert!(!parent.contains("00f067aa0ba902b7"), "a span of its own: {parent}");
    assert_eq!(continued.echoed("tracestate")?.as_deref(), Some("vendor=opaque"));

    let mut traces = HashSet::new();
    for unsound in [
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "nonsense",
    ] {
        let request =
            Request::get("/").header("traceparent", unsound).header("tracestate", "vendor=opaque");
        let started = gateway.send(&request).await?.expect(200)?;
        let parent = started.echoed("traceparent")?.unwrap_or_default();
        assert_eq!(parent.len(), sent.len(), "{parent}");
        assert!(!parent.to_lowercase().contains("4bf92f3577b34da6a3ce929d0e0e4736"), "{parent}");
        assert_eq!(started.echoed("tracestate")?, None, "state without its trace");
        assert!(traces.insert(parent));
    }
    Ok(())
}

/// T15, R132: what strangers write about themselves is not passed on.
#[tokio::test]
async fn forwarding_headers_are_written_by_the_gateway() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route("");
    let request = Request::get("/")
        .host("api.example.com:8443")
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "evil.example.com")
        .header("x-real-ip", "203.0.113.9")
        .header("forwarded", "for=203.0.113.9");
    let check = |response: &Response, expected: [(&str, Option<&str>); 7]| -> Result<()> {
        for (name, value) in expected {
            assert_eq!(response.echoed(name)?.as_deref(), value, "{name}");
        }
        Ok(())
    };
    let strict = gateway(&*config).start().await?;
    let response = strict.send(&request).await?.expect(200)?;
    check(
        &response,
        [
            ("x-forwarded-for", Some("127.0.0.1")),
            ("x-forwarded-proto", Some("http")),
            ("x-forwarded-host", Some("api.example.com:8443")),
            ("x-real-ip", None),
            ("forwarded", None),
            ("host", Some("api.example.com:8443")),
            ("via", Some("1.1 tidegate")),
        ],
    )?;
    let line = strict.access_line(response.required("x-request-id")?).await?;
    assert_eq!(line["clientIp"], "127.0.0.1");

    let trusting = gateway(config).listener("trustedProxies: [127.0.0.1]").start().await?;
    let response = trusting.send(&request).await?.expect(200)?;
    check(
        &response,
        [
            ("x-forwarded-for", Some("203.0.113.9, 127.0.0.1")),
            ("x-forwarded-proto", Some("https")),
            ("x-real-ip", None),
            ("forwarded", None),
            ("host", Some("api.example.com:8443")),
            ("via", Some("1.1 tidegate")),
            ("x-api-key", None),
        ],
    )?;
    let line = trusting.access_line(response.required("x-request-id")?).await?;
    assert_eq!(line["clientIp"], "203.0.113.9");
    Ok(())
}

#[tokio::test]
async fn metrics_count_what_happened() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    gateway.get("/").await?.expect(200)?;
    gateway.send(&Request::post("/status/201", "")).await?.expect(201)?;
    gateway.send(&Request::get("/").host("a/b")).await?.expect(400)?;
    gateway.settled().await?;
    let scrape = gateway.admin_get("/metrics").await?.expect(200)?;
    assert!(scrape.required("content-type")?.starts_with("text/plain; version=0.0.4"));
    let samples = metrics::parse(&scrape.text());
    let sum = |name: &str, labels: &[(&str, &str)]| metrics::sum(&samples, name, labels);
    let requests = "tidegate_requests_total";
    for (labels, expected) in [
        ([("route", "all"), ("method", "GET"), ("status", "200")], 1.0),
        ([("route", "all"), ("method", "POST"), ("status", "201")], 1.0),
        ([("route", "_none"), ("method", "GET"), ("status", "400")], 1.0),
    ] {
        assert_eq!(sum(requests, &labels), Some(expected), "{labels:?}");
    }
    let route = [("route", "all")];
    assert_eq!(sum("tidegate_request_duration_seconds_count", &route), Some(2.0));
    assert_eq!(sum("tidegate_upstream_duration_seconds_count", &route), Some(2.0));
    assert_eq!(sum("tidegate_rejects_total", &[("code", "request.host_invalid")]), Some(1.0));
    assert_eq!(sum("tidegate_panics_total", &[]), Some(0.0));
    assert_eq!(sum("tidegate_config_info", &[]), Some(1.0));
    assert_eq!(sum("tidegate_config_last_apply_successful", &[]), Some(1.0));
    assert_eq!(sum("tidegate_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));
    assert_eq!(sum("tidegate_access_log_dropped_total", &[]), Some(0.0));
    Ok(())
}

/// C21: what a request's time was spent on, and how much of it the gateway took itself.
#[tokio::test]
async fn the_time_of_requests_is_told_by_phase() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + "rateLimits: {many: {limit: 1000, window: 1m, key: [clientIp]}}\n\
           overload: {maxInFlight: 10}\n\
           routes:\n  - {name: limited, match: {pathPrefix: /limited}, upstream: {service: api}, \
             policies: {auth: none, rateLimit: many}}\n  - {name: kept, match: {pathPrefix: \
             /kept}, upstream: {service: api}, policies: {auth: none, cache: {ttl: 1m}}}\n";
    let gateway = gateway(config).start().await?;
    gateway.get("/limited/delay/300").await?.expect(200)?;
    gateway.get("/kept/1?cc=max-age=60").await?.expect(200)?;
    gateway.get("/kept/1?cc=max-age=60").await?.expect(200)?;
    gateway.get("/nowhere").await?.expect(404)?;
    gateway.settled().await?;
    let samples = metrics::parse(&gateway.admin_get("/metrics").await?.expect(200)?.text());
    let sum = |name: &str, labels: &[(&str, &str)]| {
        metrics::sum(&samples, name, labels).unwrap_or(f64::NAN)
    };
    for (phase, requests) in [
        ("admit", 4.0),
        ("limits", 1.0),
        // The hit asked for a place too: the cache is asked behind it.
        ("queue", 3.0),
        ("cache", 2.0),
        ("connect", 2.0),
        ("service", 2.0),
        ("body", 4.0),
    ] {
        let count = sum("tidegate_phase_duration_seconds_count", &[("phase", phase)]);
        assert!((count - requests).abs() < 0.5, "{phase}: {count}");
    }
    let service = sum("tidegate_phase_duration_seconds_sum", &[("phase", "service")]);
    assert!(service >= 0.3, "the service's time: {service}");
    let own = sum("tidegate_gateway_duration_seconds_sum", &[]);
    let whole = sum("tidegate_request_duration_seconds_sum", &[]);
    assert!(own > 0.0 && own <= whole - service, "{own} of {whole}");
    let requests = sum("tidegate_gateway_duration_seconds_count", &[]);
    assert!((requests - 4.0).abs() < 0.5, "{requests}");
    Ok(())
}

/// C21: the same of one request, for those who may know.
#[tokio::test]
async fn server_timing_is_told_to_whom_it_is_visible() -> Outcome {
    let origin = Origin::start("api").await?;
    let silent = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    let own = "/delay/50?header=server-timing:db;dur=7";
    let answer = silent.get(own).await?.expect(200)?;
    assert_eq!(timings(&answer), ["db;dur=7"]);

    let visible = "serverTiming: {visibleTo: [127.0.0.0/8]}\n";
    let telling = gateway(api(&[origin.address()]) + visible + &open_route("")).start().await?;
    let answer = telling.get(own).await?.expect(200)?;
    let told = timings(&answer);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], "db;dur=7");
    let phases: Vec<(&str, f64)> = told[1]
        .split(", ")
        .filter_map(|phase| phase.split_once(";dur="))
        .map(|(name, ms)| (name, ms.parse().unwrap_or(f64::NAN)))
        .collect();
    let names: Vec<_> = phases.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["admit", "connect", "service"]);
    assert!(phases.iter().all(|(_, ms)| (0.0..60_000.0).contains(ms)), "{phases:?}");
    assert!(phases.iter().any(|(name, ms)| *name == "service" && *ms >= 50.0), "{phases:?}");

    let refused = telling.send(&Request::get("/").host("a/b")).await?.expect(400)?;
    assert!(timings(&refused).is_empty(), "nobody knows yet who the client is");
    Ok(())
}

fn timings(answer: &Response) -> Vec<&str> {
    let named = answer.headers.iter().filter(|(name, _)| name == "server-timing");
    named.map(|(_, value)| value.as_str()).collect()
}

/// Names that only clients chose must not become series without end.
#[tokio::test]
async fn labels_are_closed_sets() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &open_route("")).start().await?;
    for number in 0..20 {
        let request = Request::new(&format!("BREW{number}"), &format!("/pot/{number}"))
            .host(&format!("host-{number}.example.com"));
        gateway.send(&request).await?;
    }
    gateway.settled().await?;
    let text = gateway.admin_get("/metrics").await?.expect(200)?.text();
    for word in ["BREW", "pot", "host-"] {
        assert!(!text.contains(word), "{word} became a label");
    }
    Ok(())
}

#[tokio::test]
async fn health_is_told_on_the_admin_listener_only() -> Outcome {
    let origin = Origin::start("api").await?;
    let routes = "routes:\n  - {name: v1, match: {pathPrefix: /v1}, upstream: {service: api}, \
                  policies: {auth: none}}\n";
    let gateway = gateway(api(&[origin.address()]) + routes).start().await?;
    for path in ["/livez", "/readyz"] {
        gateway.admin_get(path).await?.expect(200)?;
        gateway.get(path).await?.expect(404)?;
    }
    assert_eq!(gateway.admin_get("/health").await?.json()?["status"], "ok");
    gateway.admin_get("/nothing").await?.expect(404)?;
    gateway.get("/metrics").await?.expect(404)?;
    gateway.get("/admin/config-version").await?.expect(404)?;
    let post = tidegate_kit::send(gateway.admin(), &Request::post("/livez", "")).await?;
    assert_eq!(post.status, 405);
    // Operators' tools keep their connection too.
    let mut connection = RawConnection::connect(gateway.admin()).await?;
    for path in ["/livez", "/nothing", "/readyz"] {
        connection.request(&Request::get(path)).await?;
    }
    Ok(())
}

/// R189.
#[tokio::test]
async fn the_configuration_in_force_is_named() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + "configVersion: 42\n" + &open_route("");
    let gateway = gateway(config).start().await?;
    let told = gateway.config_version().await?;
    assert_eq!(told["configVersion"], 42);
    let digest = Sha256::digest(std::fs::read(gateway.file())?);
    assert_eq!(told["checksum"], format!("sha256:{digest:x}"));
    let loaded = told["loadedAt"].as_str().unwrap_or_default();
    assert!(loaded.len() >= 20 && loaded.ends_with('Z') && loaded.contains('T'), "{loaded}");
    Ok(())
}
