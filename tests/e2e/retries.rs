//! Timeouts and repeated attempts: what is repeated, how often, with what, and for how long.

mod matrix;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_kit::http2::Http2Client;
use tidegate_kit::{Gateway, Habit, Origin, Outcome, RawConnection, RawOrigin, Request, Result};
use tokio::net::{TcpSocket, TcpStream};

use crate::{api, gateway, list, open_route};

/// A service, `api`, whose settings let tests fail it as often as they like.
fn patient(endpoints: &[SocketAddr], more: &str) -> String {
    format!(
        "services:\n  api:\n    endpoints: [{}]\n    ejection: {{consecutiveFailures: 1000000}}\n    \
         {more}\n",
        list(endpoints)
    )
}

/// Plenty of retries for tests that do not ask about the budget.
const AMPLE: &str = "retryBudget: {percent: 100, minRetries: 100000}";

/// An address whose connections are never made: the queue of the socket is full, and Linux then
/// drops further attempts without a word.
struct Deaf {
    address: SocketAddr,
    _listener: tokio::net::TcpListener,
    _queued: Vec<TcpStream>,
}

impl Deaf {
    async fn start() -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let listener = socket.listen(0)?;
        let address = listener.local_addr()?;
        let mut queued = Vec::new();
        // As many as the queue takes; the one that waits in vain is the sign that it is full.
        while let Ok(made) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            queued.push(made?);
        }
        Ok(Self { address, _listener: listener, _queued: queued })
    }
}

/// R127: each status that is listed is repeated, and no other.
#[tokio::test]
async fn each_listed_status_is_repeated_and_no_other() -> Outcome {
    let statuses = [429, 500, 502, 503, 504];
    let origin = Origin::start("api").await?;
    let mut config = patient(&[origin.address()], AMPLE) + "policies: {auth: none}\nroutes:\n";
    for status in statuses {
        let _ = writeln!(
            config,
            "  - {{name: r{status}, match: {{pathPrefix: /r{status}}}, upstream: {{service: api}}, \
             policies: {{retries: 1, retryOn: [{status}]}}}}"
        );
    }
    let gateway = gateway(config).start().await?;
    for listed in statuses {
        for given in statuses.into_iter().chain([404, 501]) {
            let target = format!("/r{listed}/status/{given}");
            let answer = gateway.get(&target).await?.expect(given)?;
            assert_eq!(answer.origin(), Some("api"), "{target}: the service's own answer");
            assert_eq!(origin.count(&target), 1 + usize::from(listed == given), "{target}");
        }
    }
    let labels = [("route", "r503"), ("reason", "503")];
    assert!((gateway.metric("tidegate_retries_total", &labels).await? - 1.0).abs() < 0.1);
    Ok(())
}

/// R127: a connection that fails and one that is not made in time are two things.
#[tokio::test]
async fn a_late_connection_is_not_a_failed_one() -> Outcome {
    let deaf = Deaf::start().await?;
    let config = format!(
        "services:\n  api: {{endpoints: [{}], connectTimeout: 100ms}}\n\
         policies: {{auth: none, retries: 1}}\nroutes:\n  \
         - {{name: failed, match: {{pathPrefix: /failed}}, upstream: {{service: api}}, \
            policies: {{retryOn: [connect-failure]}}}}\n  \
         - {{name: late, match: {{pathPrefix: /late}}, upstream: {{service: api}}, \
            policies: {{retryOn: [timeout-connect]}}}}\n",
        list(&[deaf.address])
    );
    let gateway = gateway(config).start().await?;
    for (target, attempts) in [("/failed", 1), ("/late", 2)] {
        let answer = gateway.get(target).await?;
        answer.problem(504, "upstream.connect_timeout")?;
        let line = gateway.access_line(answer.required("x-request-id")?).await?;
        assert_eq!(line["attempts"], attempts, "{target}");
        let reason = (attempts == 2).then_some("timeout-connect");
        assert_eq!(line["retryReason"].as_str(), reason, "{target}");
    }
    Ok(())
}

/// An attempt is given up in time for another; the answer of that reaches the client.
#[tokio::test]
async fn an_attempt_that_is_late_is_repeated_elsewhere() -> Outcome {
    let (slow, quick) = (Origin::start("slow").await?, Origin::start("quick").await?);
    slow.set_habit(Habit::Hang);
    let config = patient(&[slow.address(), quick.address()], AMPLE)
        + &open_route("retries: 1, retryOn: [timeout], attemptTimeoutMs: 150");
    let gateway = gateway(config).start().await?;
    for _ in 0..6 {
        let answer = gateway.get("/").await?.expect(200)?;
        assert_eq!(answer.origin(), Some("quick"));
    }
    assert_eq!(quick.total(), 6);
    assert!(slow.total() >= 2, "{}", slow.total());
    Ok(())
}

/// R125, R126: the route's time is for all attempts and pauses together, to 50 ms.
#[tokio::test]
async fn the_routes_time_is_never_exceeded() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = patient(&[origin.address()], AMPLE)
        + "policies: {auth: none, timeoutMs: 1500}\nroutes:\n  \
           - {name: once, match: {pathPrefix: /once}, upstream: {service: api}}\n  \
           - {name: again, match: {pathPrefix: /again}, upstream: {service: api}, \
              policies: {retries: 2, retryOn: [timeout, 503], attemptTimeoutMs: 1000}}\n";
    let gateway = gateway(config).start().await?;
    for (target, attempts) in [("/once/delay/10000", 1), ("/again/delay/10000", 2)] {
        let late = gateway.get(target).await?;
        late.problem(504, "upstream.response_timeout")?;
        let took = late.took.as_millis();
        assert!((1450..=1550).contains(&took), "{target}: {took} ms");
        assert_eq!(origin.count(target), attempts, "{target}");
    }
    Ok(())
}

/// R126: a service that asks for more time than there is gets it, and the client its answer.
#[tokio::test]
async fn a_service_that_asks_for_a_pause_gets_it() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = patient(&[origin.address()], AMPLE)
        + &open_route("retries: 1, retryOn: [503], timeoutMs: 3000");
    let gateway = gateway(config).start().await?;
    let asks = |wait: &str| format!("/status/503/{wait}?header=retry-after:{wait}");
    for (wait, attempts) in [("60", 1), ("3", 1), ("0", 2), ("1", 2)] {
        let answer = gateway.get(&asks(wait)).await?.expect(503)?;
        assert_eq!(answer.header("retry-after"), Some(wait), "the service's own answer");
        assert_eq!(origin.count(&format!("/status/503/{wait}")), attempts, "{wait}");
        let waits = wait == "1";
        assert_eq!(answer.took >= Duration::from_secs(1), waits, "{wait}: {:?}", answer.took);
    }
    Ok(())
}

/// Each attempt goes to another endpoint while there is one.
#[tokio::test]
async fn every_attempt_has_an_endpoint_of_its_own() -> Outcome {
    let bad = [Origin::start("a").await?, Origin::start("b").await?];
    let good = Origin::start("good").await?;
    for origin in &bad {
        origin.set_habit(Habit::Status(503));
    }
    let endpoints = [bad[0].address(), bad[1].address(), good.address()];
    let config = patient(&endpoints, AMPLE) + &open_route("retries: 2, retryOn: [503]");
    let gateway = gateway(config).start().await?;
    for _ in 0..20 {
        gateway.get("/").await?.expect(200)?;
    }
    assert_eq!(good.total(), 20);
    Ok(())
}

/// R195: a service that fails altogether sees at most a fifth more than the requests.
#[tokio::test]
async fn a_service_that_fails_altogether_is_not_asked_much_more() -> Outcome {
    const REQUESTS: usize = 400;
    let origin = Origin::start("api").await?;
    let config = patient(&[origin.address()], "retryBudget: {percent: 20, minRetries: 3}")
        + &open_route("retries: 2, retryOn: [connect-failure, reset, 503]");
    let gateway = gateway(config).start().await?;
    let address = gateway.address();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        clients.spawn(async move {
            let mut connection = RawConnection::connect(address).await?;
            for _ in 0..REQUESTS / 4 {
                let answer = connection.request(&Request::get("/status/503")).await?.expect(503)?;
                assert_eq!(answer.origin(), Some("api"), "the original failure");
            }
            Outcome::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("a client")?;
    }
    let attempts = origin.total();
    assert!(attempts * 100 <= REQUESTS * 120, "{attempts} attempts of {REQUESTS} requests");
    assert!(attempts > REQUESTS, "the budget is used: {attempts}");
    let labels = [("route", "all"), ("service", "api")];
    let refused = gateway.metric("tidegate_retries_refused_total", &labels).await?;
    assert!(refused >= 100.0, "{refused}");
    Ok(())
}

/// T26: the client's own deadline shortens the route's time, and the service is told.
#[tokio::test]
async fn a_clients_deadline_shortens_the_routes() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = patient(&[origin.address()], "")
        + "policies: {auth: none, timeoutMs: 1000}\nroutes:\n  \
           - {name: plain, match: {pathPrefix: /plain}, upstream: {service: api}, \
              policies: {deadlineHeader: X-Deadline-Ms}}\n  \
           - {name: grpc, match: {pathPrefix: /grpc}, upstream: {service: api}, \
              policies: {deadlineHeader: grpc-timeout}}\n";
    let gateway = gateway(config).start().await?;
    for (route, header, value, expected) in [
        ("plain", "x-deadline-ms", "300", 300),
        ("plain", "x-deadline-ms", "60000", 1000),
        ("plain", "x-deadline-ms", "soon", 1000),
        ("grpc", "grpc-timeout", "300m", 300),
        ("grpc", "grpc-timeout", "300000u", 300),
        ("grpc", "grpc-timeout", "1H", 1000),
    ] {
        let request = Request::get(&format!("/{route}/delay/5000")).header(header, value);
        let late = gateway.send(&request).await?;
        late.problem(504, "upstream.response_timeout")?;
        let took = late.took.as_millis();
        assert!((expected - 20..=expected + 100).contains(&took), "{value}: {took} ms");
        let seen = origin.last().expect("a request");
        assert_eq!(seen.count(header), 1, "{value}");
        let told = seen.header(header).unwrap_or_default();
        let left: u128 = told.trim_end_matches('m').parse().expect(told);
        assert_eq!(told.ends_with('m'), route == "grpc", "{told}");
        assert!(left <= expected && left + 100 > expected, "{value}: {told}");
    }
    // Without the header the service is told all the same; a deadline that is over is over.
    let echo = gateway.get("/plain").await?.expect(200)?;
    let left: u64 = echo.echoed("x-deadline-ms")?.unwrap_or_default().parse().expect("a number");
    assert!((900..=1000).contains(&left), "{left}");
    let before = origin.total();
    let over = gateway.send(&Request::get("/plain").header("x-deadline-ms", "0")).await?;
    over.problem(504, "upstream.response_timeout")?;
    assert_eq!(origin.total(), before, "no attempt was made");
    Ok(())
}

/// What the service did wrong is what the client is told.
#[tokio::test]
async fn every_failure_of_a_service_has_its_outcome() -> Outcome {
    let garbage = RawOrigin::start("\x00\x01 garbage \r\n\r\n").await?;
    let status = RawOrigin::start("HTTP/1.1 99999 What\r\n\r\n").await?;
    let bulky = format!("HTTP/1.1 200 OK\r\nx-bulk: {}\r\n\r\n", "x".repeat(1_100_000));
    let bulky = RawOrigin::start(bulky).await?;
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-many: 1\r\n".repeat(300));
    let many = RawOrigin::start(many).await?;
    let lengths = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd";
    let lengths = RawOrigin::start(lengths).await?;
    let chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n";
    let chunk = RawOrigin::start(chunk).await?;
    let half = RawOrigin::start("HTTP/1.1 200 OK\r\ncontent-le").await?;
    let short = RawOrigin::start("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc").await?;
    let open = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let open = RawOrigin::start(open).await?;
    let origins = [
        ("garbage", &garbage, Some("upstream.response_invalid")),
        ("status", &status, Some("upstream.response_invalid")),
        ("bulky", &bulky, Some("upstream.response_invalid")),
        ("many", &many, Some("upstream.response_invalid")),
        ("lengths", &lengths, Some("upstream.response_invalid")),
        ("half", &half, Some("upstream.connection_lost")),
        ("chunk", &chunk, None),
        ("short", &short, None),
        ("open", &open, None),
    ];
    let mut services = String::from("policies: {auth: none}\nservices:\n");
    let mut routes = String::from("routes:\n");
    for (name, origin, _) in origins {
        let _ = writeln!(services, "  {name}: {{endpoints: [{}]}}", list(&[origin.address()]));
        let _ = writeln!(
            routes,
            "  - {{name: {name}, match: {{pathPrefix: /{name}}}, upstream: {{service: {name}}}, \
             policies: {{retries: 2, retryOn: [503]}}}}"
        );
    }
    let gateway = gateway(services + &routes).start().await?;
    for (name, origin, code) in origins {
        let target = format!("/{name}");
        let answer = gateway.get(&target).await;
        match code {
            Some(code) => {
                answer?.problem(502, code)?;
            }
            // Part of it may have been on its way: it must not look like a whole answer.
            None => {
                assert!(answer.as_ref().map_or(true, |a| a.status == 502), "{name}: {answer:?}");
            }
        }
        assert_eq!(origin.total(), 1, "{name} is not repeated");
    }
    Ok(())
}

/// A service and a route that hedges, warmed up: the usual answer takes no time at all.
async fn hedging(origins: &[&Origin], service: &str) -> Result<Gateway> {
    let endpoints: Vec<SocketAddr> = origins.iter().map(|origin| origin.address()).collect();
    let config = patient(&endpoints, service)
        + &open_route("timeoutMs: 5000, hedge: {percentile: 90, minDelay: 200ms}");
    let gateway = gateway(config).start().await?;
    for _ in 0..30 {
        gateway.get("/").await?.expect(200)?;
    }
    Ok(gateway)
}

/// The first answer is used, the other attempt dropped; both are seen in log and metrics.
#[tokio::test]
async fn a_late_answer_is_asked_for_once_more() -> Outcome {
    let (slow, quick) = (Origin::start("slow").await?, Origin::start("quick").await?);
    let gateway = hedging(&[&slow, &quick], AMPLE).await?;
    assert_eq!(slow.total() + quick.total(), 30, "a quick service is asked once");
    slow.set_habit(Habit::Hang);
    let mut hedged = 0;
    for _ in 0..4 {
        let answer = gateway.get("/?x=1").await?.expect(200)?;
        assert_eq!(answer.origin(), Some("quick"));
        assert!(answer.took < Duration::from_secs(2), "{:?}", answer.took);
        let line = gateway.access_line(answer.required("x-request-id")?).await?;
        let attempts = if line["hedged"] == true { 2 } else { 1 };
        assert_eq!(line["attempts"], attempts, "{line}");
        assert_eq!(line["status"], 200);
        if attempts == 2 {
            hedged += 1;
            assert!(answer.took >= Duration::from_millis(190), "{:?}", answer.took);
        }
    }
    assert!(hedged >= 1, "endpoints take turns");
    let won = gateway.metric("tidegate_hedges_total", &[("winner", "second")]).await?;
    assert!((won - f64::from(hedged)).abs() < 0.1, "{won} of {hedged}");
    gateway.settled().await?;
    let requests = gateway.metric("tidegate_requests_total", &[("route", "all")]).await?;
    assert!((requests - 34.0).abs() < 0.1, "attempts are not requests: {requests}");
    Ok(())
}

/// Bodies of all kinds pass as they do without hedging; HEAD has none.
#[tokio::test]
async fn a_hedged_answer_is_the_services_answer() -> Outcome {
    let (a, b) = (Origin::start("a").await?, Origin::start("b").await?);
    let gateway = hedging(&[&a, &b], AMPLE).await?;
    assert_eq!(gateway.get("/bytes/3000000").await?.expect(200)?.body.len(), 3_000_000);
    assert_eq!(gateway.get("/chunks/500").await?.expect(200)?.body.len(), 500 * 1024);
    assert!(gateway.get("/status/503").await?.expect(503)?.origin().is_some());
    let cut = gateway.get("/cut/100000").await;
    assert!(cut.as_ref().map_or(true, |answer| answer.status == 502), "{cut:?}");
    let mut kept = RawConnection::connect(gateway.address()).await?;
    for _ in 0..3 {
        let head = kept.request(&Request::new("HEAD", "/")).await?.expect(200)?;
        assert!(head.body.is_empty());
        kept.request(&Request::get("/")).await?.expect(200)?;
    }
    // What has a body is sent once, in the ordinary way.
    let posted = gateway.send(&Request::post("/", "{}")).await?.expect(200)?;
    assert_eq!(posted.json()?["bodyLength"], 2);
    assert!(a.connections() + b.connections() <= 24, "connections are kept");
    Ok(())
}

/// Clients of HTTP/2 are served by the same attempts.
#[tokio::test]
async fn http2_is_hedged_too() -> Outcome {
    let (a, b) = (Origin::start("a").await?, Origin::start("b").await?);
    let config = patient(&[a.address(), b.address()], AMPLE)
        + &open_route("hedge: {percentile: 90, minDelay: 200ms}");
    let gateway = gateway(config).listener("protocols: [http2]").start().await?;
    let client = Http2Client::connect(gateway.address()).await?;
    let answer = client.get(&format!("http://{}/x?y=1", gateway.address())).await?;
    assert_eq!((answer.status.as_u16(), &answer.json()?["target"]), (200, &"/x?y=1".into()));
    let named = gateway.address().to_string();
    assert_eq!(a.last().or_else(|| b.last()).unwrap().header("host"), Some(named.as_str()));
    Ok(())
}

/// No second attempt without budget; no answer at all ends as without hedging.
#[tokio::test]
async fn a_hedge_counts_against_the_budget_and_the_routes_time() -> Outcome {
    let (a, b) = (Origin::start("a").await?, Origin::start("b").await?);
    let config = patient(&[a.address(), b.address()], "retryBudget: {percent: 0, minRetries: 1}")
        + &open_route("timeoutMs: 1000, hedge: {percentile: 90, minDelay: 100ms}");
    let gateway = gateway(config).start().await?;
    for _ in 0..30 {
        gateway.get("/").await?.expect(200)?;
    }
    for attempts in [2, 1] {
        let late = gateway.get("/delay/10000").await?;
        late.problem(504, "upstream.response_timeout")?;
        assert!(late.took < Duration::from_millis(1400), "{:?}", late.took);
        let line = gateway.access_line(late.required("x-request-id")?).await?;
        assert_eq!(line["attempts"], attempts, "{line}");
    }
    assert_eq!(a.count("/delay/10000") + b.count("/delay/10000"), 3);
    let labels = [("route", "all"), ("service", "api")];
    assert!(gateway.metric("tidegate_retries_refused_total", &labels).await? >= 1.0);
    Ok(())
}

/// A client that goes away takes its attempts along.
#[tokio::test]
async fn a_client_that_goes_away_ends_both_attempts() -> Outcome {
    let (a, b) = (Origin::start("a").await?, Origin::start("b").await?);
    let gateway = hedging(&[&a, &b], AMPLE).await?;
    let mut client = RawConnection::connect(gateway.address()).await?;
    client.send(b"GET /hold/never HTTP/1.1\r\nhost: a.example\r\n\r\n").await?;
    a.arrived(16).await?;
    b.arrived(16).await?;
    drop(client);
    gateway.settled().await?;
    let gone = gateway.metric("tidegate_rejects_total", &[("code", "client.gone")]).await?;
    assert!((gone - 1.0).abs() < 0.1, "{gone}");
    Ok(())
}

/// A direct check of the plain case beside it all: without `retries` nothing is repeated.
#[tokio::test]
async fn nothing_is_repeated_unasked() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route("retryOn: [503, reset, timeout]");
    let gateway = gateway(config).start().await?;
    gateway.get("/status/503").await?.expect(503)?;
    assert_eq!(origin.total(), 1);
    Ok(())
}
