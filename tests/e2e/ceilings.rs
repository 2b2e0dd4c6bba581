//! As many connections, descriptors and as much memory as a node may have, and what becomes of
//! those who come when there is no more (R012).

use std::time::Duration;

use tidegate_kit::{
    Context as _, Gateway, Origin, Outcome, RawConnection, Redis, Request, Result, Setup, wait,
};
use tokio::time::Instant;

use crate::{api, gateway, open_route};

const OPEN: &str = "tidegate_connections_open";
const REFUSED: &str = "tidegate_connections_refused_total";
const NODE_LIMIT: [(&str, &str); 1] = [("reason", "node_limit")];

/// A gateway to this origin, where nobody is connected any more: readiness is found out by
/// connecting.
async fn started(setup: Setup) -> Result<Gateway> {
    let gateway = setup.start().await?;
    gateway.metric_until(OPEN, &[], |open| open < 0.5).await?;
    Ok(gateway)
}

fn open(origin: &Origin) -> String {
    api(&[origin.address()]) + &open_route("timeoutMs: 20000")
}

/// A connection on which a request was answered; none where it was closed.
async fn served(gateway: &Gateway) -> Option<RawConnection> {
    let mut connection = RawConnection::connect(gateway.address()).await.ok()?;
    let answer = connection.request(&Request::get("/")).await.ok()?;
    (answer.status == 200).then_some(connection)
}

#[tokio::test]
async fn connections_beyond_the_ceiling_are_closed_as_they_come() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(gateway(open(&origin)).server("maxConnections: 3")).await?;
    assert!((gateway.metric("tidegate_connections_ceiling", &[]).await? - 3.0).abs() < 0.5);
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(served(&gateway).await.context("a place")?);
    }
    for _ in 0..20 {
        assert!(served(&gateway).await.is_none());
    }
    assert!((gateway.metric(REFUSED, &NODE_LIMIT).await? - 20.0).abs() < 0.5);
    gateway.log_says("as many connections as it may").await?;
    let said = gateway.log().matches("as many connections as it may").count();
    assert_eq!(said, 1, "once in a while");
    for connection in &mut kept {
        connection.request(&Request::get("/")).await?.expect(200)?;
    }
    // Operators come in by another door.
    gateway.admin_get("/livez").await?.expect(200)?;
    drop(kept.pop());
    wait::until("a place", async || served(&gateway).await).await?;
    Ok(())
}

/// Processor time of a process so far, in seconds.
fn cpu_seconds(gateway: &Gateway) -> Result<f64> {
    let pid = gateway.id().context("the process ended")?;
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: u32 = ticks.filter_map(|field| field.parse::<u32>().ok()).sum();
    Ok(f64::from(ticks) / 100.0)
}

/// How long a flood is looked at. Nothing is to happen meanwhile, so that there is nothing to wait
/// for but the time itself; a busy machine gives the gateway less of it, not more.
const LOOK: Duration = Duration::from_millis(1500);

/// Opens connections on which nothing is ever sent.
async fn flood(gateway: &Gateway, count: usize) -> Result<Vec<tokio::net::TcpStream>> {
    let mut flood = Vec::with_capacity(count);
    for _ in 0..count {
        flood.push(tokio::net::TcpStream::connect(gateway.address()).await?);
    }
    Ok(flood)
}

/// What stands while a flood stands: the processor is at rest, and who was there is served.
async fn stands(gateway: &Gateway, kept: &mut [RawConnection], path: &str) -> Outcome {
    let (before, began) = (cpu_seconds(gateway)?, Instant::now());
    tokio::time::sleep(LOOK).await;
    let share = (cpu_seconds(gateway)? - before) / began.elapsed().as_secs_f64();
    assert!(share < 0.3, "{share} of a processor is used for nothing");
    for connection in kept {
        connection.request(&Request::get(path)).await?.expect(200)?;
    }
    Ok(())
}

/// With few descriptors few connections are taken, so that there are some left for services and
/// Redis.
#[tokio::test]
async fn descriptors_are_left_for_services_and_redis() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = format!(
        "redis: {{url: \"{}\", timeout: 5s}}\nrateLimits:\n  plenty: {{algorithm: token_bucket, \
         capacity: 100000, refillPerSecond: 1, mode: exact, failureMode: closed, \
         key: [clientIp]}}\n{}{}",
        redis.url(),
        api(&[origin.address()]),
        open_route("rateLimit: plenty, timeoutMs: 20000"),
    );
    let gateway = started(gateway(config).descriptors(512)).await?;
    let ceiling = gateway.metric("tidegate_connections_ceiling", &[]).await?;
    assert!((50.0..150.0).contains(&ceiling), "{ceiling}");
    let mut kept = Vec::new();
    for _ in 0..40 {
        kept.push(served(&gateway).await.context("a place")?);
    }
    let flood = flood(&gateway, 400).await?;
    gateway.metric_until(REFUSED, &NODE_LIMIT, |count| count > 100.0).await?;
    stands(&gateway, &mut kept, "/").await?;
    // All at once, so that each has a connection to the service of its own.
    let hello = Request::get("/hold/x").to_bytes("a.example");
    let before = origin.total();
    for connection in &mut kept {
        connection.send(&hello).await?;
    }
    origin.arrived(before + kept.len()).await?;
    origin.release("x");
    for connection in &mut kept {
        connection.response().await?.expect(200)?;
    }
    assert!(!gateway.log().contains("Accept() failed"), "{}", gateway.log());
    drop(flood);
    wait::until("room for others", async || served(&gateway).await).await?;
    Ok(())
}

/// Whoever allows more connections than there are descriptors is warned; then accepting pauses
/// when there are none left, and goes on when there are.
#[tokio::test]
async fn accepting_pauses_without_descriptors() -> Outcome {
    let origin = Origin::start("api").await?;
    let setup = gateway(open(&origin)).server("maxConnections: 100000").descriptors(160);
    let gateway = started(setup).await?;
    assert!(gateway.log().contains("more than the limit of descriptors allows"));
    let mut kept = vec![served(&gateway).await.context("a place")?];
    let flood = flood(&gateway, 300).await?;
    gateway.log_says("Accept() failed").await?;
    stands(&gateway, &mut kept, "/").await?;
    let said = gateway.log().matches("Accept() failed").count();
    assert!(said < 30, "{said} lines");
    drop(flood);
    wait::until("room for others", async || served(&gateway).await).await?;
    Ok(())
}

#[tokio::test]
async fn above_the_memory_ceiling_new_requests_are_refused() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = |overload: &str| {
        format!(
            "{overload}{}{}  - {{name: local, match: {{path: /local}}, respond: {{status: 204}}, \
             policies: {{auth: none}}}}\n",
            api(&[origin.address()]),
            open_route(""),
        )
    };
    let resident = "tidegate_memory_resident_bytes";
    let short = config("overload: {maxMemory: 1MiB}\n");
    let gateway = gateway(config("")).start().await?;
    gateway.metric_until(resident, &[], |bytes| bytes > 1_048_576.0).await?;
    gateway.get("/").await?.expect(200)?;
    gateway.write_config(&short)?;
    gateway.runs_version(2).await?;
    gateway.log_says("memory is above `overload.maxMemory`").await?;
    let refused = wait::until("a refusal", async || {
        gateway.get("/").await.ok().filter(|answer| answer.status == 503)
    })
    .await?;
    refused.problem(503, "overload.shed")?;
    assert_eq!(refused.number("retry-after")?, 1);
    let shed = gateway.metric("tidegate_overload_shed_total", &[("reason", "memory")]).await?;
    assert!(shed > 0.5);
    // What needs no service is answered, and operators are.
    gateway.get("/local").await?.expect(204)?;
    gateway.admin_get("/readyz").await?.expect(200)?;
    gateway.write_config(&config("overload: {maxMemory: 64GiB}\n"))?;
    gateway.runs_version(3).await?;
    gateway.log_says("memory is below `overload.maxMemory` again").await?;
    wait::until("room again", async || {
        gateway.get("/").await.ok().filter(|answer| answer.status == 200)
    })
    .await?;
    assert_eq!(gateway.log().matches("memory is above").count(), 1, "said once");
    // Without places that are counted, none are.
    assert!(gateway.metric("tidegate_overload_in_flight", &[]).await? < 0.5);
    // Without a ceiling nothing is refused, even if memory was short the moment before.
    gateway.write_config(&short)?;
    gateway.runs_version(4).await?;
    gateway.write_config(&config(""))?;
    gateway.runs_version(5).await?;
    gateway.get("/").await?.expect(200)?;
    Ok(())
}
