//! More requests than the node or a service can take (R012, R200): who is served, who waits, who
//! is refused, and that places come back whatever becomes of a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tidegate_kit::{
    Gateway, Origin, Outcome, RawConnection, Request, Response, Result, WebSocket, WebSocketOrigin,
    send, wait,
};
use tokio::task::JoinHandle;

use crate::{api, gateway, list, open_route};

/// Callers of three tenants; a key is `TENANT-0123456789abcdef`.
const TENANTS: &str = "apiKeys:
  - {id: noisy, key: \"${env:NOISY}\", tenantId: noisy}
  - {id: quiet, key: \"${env:QUIET}\", tenantId: quiet}
policies: {auth: required}
";

const ROUTES: &str = "rateLimits:
  nothing: {algorithm: token_bucket, capacity: 1, refillPerSecond: 0.001, key: [global]}
routes:
  - {name: limited, match: {pathPrefix: /limited}, upstream: {service: api},
     policies: {rateLimit: nothing}}
  - {name: local, match: {path: /local}, respond: {status: 204}}
  - {name: all, match: {pathPrefix: /}, upstream: {service: api},
     policies: {timeoutMs: 25000, upgrades: [websocket]}}
";

fn config(endpoint: std::net::SocketAddr, overload: &str) -> String {
    format!("overload: {{{overload}}}\n{}{TENANTS}{ROUTES}", api(&[endpoint]))
}

async fn started(overload: &str) -> Result<(Origin, Gateway)> {
    let origin = Origin::start("api").await?;
    let gateway = start(&config(origin.address(), overload)).await?;
    Ok((origin, gateway))
}

async fn start(config: &str) -> Result<Gateway> {
    let key = |tenant| format!("{tenant}-0123456789abcdef");
    gateway(config)
        .environment("NOISY", &key("noisy"))
        .environment("QUIET", &key("quiet"))
        .start()
        .await
}

fn request(tenant: &str, target: &str) -> Request {
    Request::get(target).header("x-api-key", &format!("{tenant}-0123456789abcdef"))
}

fn begun(gateway: &Gateway, tenant: &str, target: &str) -> JoinHandle<Result<Response>> {
    let (address, request) = (gateway.address(), request(tenant, target));
    tokio::spawn(async move { send(address, &request).await })
}

const WAITING: &str = "tidegate_overload_waiting";
const IN_FLIGHT: &str = "tidegate_overload_in_flight";

/// Waits until so many requests wait.
async fn waiting(gateway: &Gateway, count: u32) -> Result<()> {
    let there = |value: f64| (value - f64::from(count)).abs() < 0.5;
    gateway.metric_until(WAITING, &[], there).await.map(|_| ())
}

/// Waits until no place is held.
async fn all_free(gateway: &Gateway) -> Result<()> {
    gateway.metric_until(IN_FLIGHT, &[], |value| value < 0.5).await.map(|_| ())
}

/// R012: a tenant that asks for ten times what it is due is refused where the other is not.
#[tokio::test]
async fn a_noisy_tenant_costs_the_other_nothing() -> Outcome {
    let (_origin, gateway) = started("maxInFlight: 4, queueLimit: 8, queueTimeout: 20s").await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut noisy = Vec::new();
    // Of two tenants each is due two places; twenty requests of one are always under way.
    for _ in 0..20 {
        let (address, stop) = (gateway.address(), Arc::clone(&stop));
        noisy.push(tokio::spawn(async move {
            let (mut served, mut shed) = (0, 0);
            while !stop.load(SeqCst) {
                let response = send(address, &request("noisy", "/delay/20")).await?;
                if response.status == 200 {
                    served += 1;
                } else {
                    response.problem(503, "overload.shed")?;
                    assert_eq!(response.number("retry-after")?, 1);
                    shed += 1;
                    // A pace, so that refusals are no flood of their own; nothing waits for it.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            Result::Ok((served, shed))
        }));
    }
    let shed = "tidegate_overload_shed_total";
    let full = [("reason", "queue_full")];
    gateway.metric_until(shed, &full, |count| count > 0.5).await?;
    for _ in 0..40 {
        gateway.send(&request("quiet", "/delay/1")).await?.expect(200)?;
    }
    stop.store(true, SeqCst);
    let (mut served, mut refused) = (0, 0);
    for task in noisy {
        let (some, others) = task.await??;
        (served, refused) = (served + some, refused + others);
    }
    assert!(served > 10 && refused > 0, "{served} served, {refused} refused");
    assert!(gateway.metric(shed, &[("reason", "timeout")]).await? < 0.5);
    all_free(&gateway).await?;
    waiting(&gateway, 0).await?;
    Ok(())
}

/// Lines are served in turn, each in its order.
#[tokio::test]
async fn tenants_take_turns() -> Outcome {
    let (origin, gateway) = started("maxInFlight: 1, queueTimeout: 20s").await?;
    let held = begun(&gateway, "noisy", "/hold/x");
    origin.arrived(1).await?;
    let mut tasks = Vec::new();
    for (tenant, target) in [("noisy", "/1"), ("noisy", "/2"), ("noisy", "/3"), ("quiet", "/4")] {
        tasks.push(begun(&gateway, tenant, target));
        waiting(&gateway, u32::try_from(tasks.len())?).await?;
    }
    origin.release("x");
    held.await??.expect(200)?;
    for task in tasks {
        task.await??.expect(200)?;
    }
    let order: Vec<String> = origin.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(order, ["/hold/x", "/1", "/4", "/2", "/3"]);
    Ok(())
}

#[tokio::test]
async fn the_wait_has_an_end_and_is_told() -> Outcome {
    let (origin, gateway) = started("maxInFlight: 1, queueTimeout: 200ms").await?;
    let held = begun(&gateway, "noisy", "/hold/x");
    origin.arrived(1).await?;
    let refused = gateway.send(&request("quiet", "/")).await?;
    refused.problem(503, "overload.shed")?;
    assert_eq!(refused.number("retry-after")?, 1);
    assert!(refused.took >= Duration::from_millis(190), "{:?}", refused.took);
    let line = gateway.access_line(refused.required("x-request-id")?).await?;
    assert_eq!(line["code"], "overload.shed", "{line}");
    assert_eq!(line["tenantId"], "quiet");
    assert_eq!(line["attempts"], 0);
    let shed = gateway.metric("tidegate_overload_shed_total", &[("reason", "timeout")]).await?;
    assert!((shed - 1.0).abs() < 0.5);
    // Operators are served by others, answers of the gateway's own need no place, and neither
    // do refusals.
    gateway.admin_get("/livez").await?.expect(200)?;
    gateway.send(&request("quiet", "/local")).await?.expect(204)?;
    gateway.send(&Request::get("/")).await?.expect(401)?;
    gateway.send(&request("quiet", "/limited")).await?.problem(503, "overload.shed")?;
    gateway.send(&request("quiet", "/limited")).await?.problem(429, "limit.exceeded")?;
    origin.release("x");
    held.await??.expect(200)?;
    Ok(())
}

/// Whatever becomes of a request, its place comes back.
#[tokio::test]
async fn places_come_back() -> Outcome {
    let (origin, gateway) = started("maxInFlight: 1, queueTimeout: 20s").await?;
    for (target, status) in [("/", 200), ("/status/500", 500), ("/reset", 502), ("/chunks/3", 200)]
    {
        gateway.send(&request("noisy", target)).await?.expect(status)?;
        all_free(&gateway).await?;
    }
    // A client that goes away, while it is served and while it waits.
    let hello = |target: &str| request("noisy", target).to_bytes("a.example");
    let before = origin.total();
    let mut client = RawConnection::connect(gateway.address()).await?;
    client.send(&hello("/hold/x")).await?;
    origin.arrived(before + 1).await?;
    let mut second = RawConnection::connect(gateway.address()).await?;
    second.send(&hello("/hold/x")).await?;
    waiting(&gateway, 1).await?;
    drop((client, second));
    waiting(&gateway, 0).await?;
    all_free(&gateway).await?;
    gateway.send(&request("quiet", "/")).await?.expect(200)?;
    Ok(())
}

/// A tunnel holds its place as long as it lasts.
#[tokio::test]
async fn a_tunnel_holds_its_place() -> Outcome {
    let origin = WebSocketOrigin::start().await?;
    let overload = "overload: {maxInFlight: 1, queueLimit: 0}\n".to_owned();
    let config = overload + &api(&[origin.address()]) + &open_route("upgrades: [websocket]");
    let gateway = gateway(config).start().await?;
    let Ok(mut socket) = WebSocket::connect(gateway.address(), "/echo").await? else {
        return Err(tidegate_kit::Error::new("no handshake".to_owned()).into());
    };
    gateway.get("/").await?.problem(503, "overload.shed")?;
    socket.close().await?;
    all_free(&gateway).await?;
    Ok(())
}

/// Settings change, places stay.
#[tokio::test]
async fn a_reload_keeps_places() -> Outcome {
    let (origin, gateway) = started("maxInFlight: 1, queueTimeout: 20s").await?;
    let held = begun(&gateway, "noisy", "/hold/x");
    origin.arrived(1).await?;
    let waits = begun(&gateway, "noisy", "/hold/y");
    waiting(&gateway, 1).await?;
    gateway.write_config(&config(origin.address(), "maxInFlight: 2, queueLimit: 0"))?;
    gateway.runs_version(2).await?;
    origin.arrived(2).await?;
    gateway.send(&request("quiet", "/")).await?.problem(503, "overload.shed")?;
    let without = config(origin.address(), "maxInFlight: 2").lines().skip(1).fold(
        String::new(),
        |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        },
    );
    gateway.write_config(&without)?;
    gateway.runs_version(3).await?;
    gateway.send(&request("quiet", "/")).await?.expect(200)?;
    for (name, task) in [("x", held), ("y", waits)] {
        origin.release(name);
        task.await??.expect(200)?;
    }
    all_free(&gateway).await?;
    Ok(())
}

/// Thirty clients that ask for what takes `delay_ms`, again and again.
struct Load {
    delay_ms: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    fn begin(gateway: &Gateway, clients: usize, delay_ms: u64) -> Self {
        let (delay_ms, stop) = (Arc::new(AtomicU64::new(delay_ms)), Arc::default());
        let one = |_| {
            let (delay, stop) = (Arc::clone(&delay_ms), Arc::clone(&stop));
            let address = gateway.address();
            tokio::spawn(client(address, delay, stop))
        };
        let clients = (0..clients).map(one).collect();
        Self { delay_ms, stop, clients }
    }

    async fn end(self) -> Outcome {
        self.stop.store(true, SeqCst);
        for client in self.clients {
            client.await??;
        }
        Ok(())
    }
}

async fn client(
    address: std::net::SocketAddr,
    delay_ms: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Result<()> {
    while !stop.load(SeqCst) {
        let target = format!("/delay/{}", delay_ms.load(SeqCst));
        let response = send(address, &Request::get(&target)).await?;
        if response.status != 200 {
            response.problem(503, "upstream.overloaded")?;
            assert!(response.number("retry-after")? >= 1);
            // A pace: whoever was refused does not ask again at once.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

const LIMIT: &str = "tidegate_upstream_concurrency_limit";
const REFUSED: &str = "tidegate_upstream_concurrency_refused_total";
const SERVICE: [(&str, &str); 1] = [("service", "api")];

fn adaptive(origin: &Origin, more: &str) -> String {
    format!(
        "services:\n  api: {{endpoints: [{}], \
         adaptiveConcurrency: {{min: 2, max: 40, tolerance: 2}}{more}}}\n{}",
        list(&[origin.address()]),
        open_route("timeoutMs: 20000")
    )
}

/// A service that gets slower is sent less, and more again once it is as it was.
#[tokio::test]
async fn a_service_that_slows_down_is_sent_less() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(adaptive(&origin, "")).start().await?;
    assert!((gateway.metric(LIMIT, &SERVICE).await? - 40.0).abs() < 0.5);
    // Few at once, so that what is usual is known.
    let calm = Load::begin(&gateway, 5, 60);
    wait::until("what is usual to be known", async || {
        let services = gateway.admin_get("/admin/services").await.ok()?.json().ok()?;
        let concurrency = &services[0]["concurrency"];
        (concurrency["atRestMs"].as_f64()? > 50.0 && concurrency["limit"] == 40).then_some(())
    })
    .await?;
    calm.end().await?;
    assert!(gateway.metric(REFUSED, &SERVICE).await? < 0.5, "nobody was in the way");
    let load = Load::begin(&gateway, 30, 600);
    gateway.metric_until(LIMIT, &SERVICE, |limit| limit < 16.0).await?;
    gateway.metric_until(REFUSED, &SERVICE, |count| count > 0.5).await?;
    // A new configuration knows what the old one has learned.
    gateway.write_config(&adaptive(&origin, ", idleTimeout: 50s"))?;
    gateway.runs_version(2).await?;
    assert!(gateway.metric(LIMIT, &SERVICE).await? < 20.0);
    load.delay_ms.store(60, SeqCst);
    gateway.metric_until(LIMIT, &SERVICE, |limit| limit > 30.0).await?;
    load.end().await
}
