//! Where endpoints are looked up, and what happens when whoever should know does not: down, slow,
//! wrong, empty, and back again.
//!
//! Sources are asked once a second here, the shortest time there is.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tidegate_kit::{
    Consul, ConsulMood, DnsMood, Gateway, NameServer, Origin, Outcome, Registration, Result,
    Signal, ports, wait,
};
use tokio::time::Instant;

use crate::{gateway, list, open_route};

/// Look-up times for tests.
const QUICK: &str = "refresh: 1s, timeout: 500ms";

/// A configuration whose one service is looked up so.
fn looked_up(discovery: &str) -> String {
    format!("services:\n  api: {{discovery: {{{discovery}, {QUICK}}}}}\n{}", open_route(""))
}

fn in_consul(consul: &Consul) -> String {
    looked_up(&format!("consul: {{url: \"{}\", service: orders}}", consul.url()))
}

/// Addresses of a name at a name server, with this port.
fn in_dns(server: &NameServer, port: u16) -> String {
    let server = server.address();
    looked_up(&format!("dns: {{name: orders.test, port: {port}, server: \"{server}\"}}"))
}

fn in_file(file: &std::path::Path) -> String {
    looked_up(&format!("file: \"{}\"", file.display()))
}

fn instance(id: &str, origin: &Origin) -> Registration {
    Registration::new(id, "orders", origin.address())
}

/// How many look-ups came to this.
async fn look_ups(gateway: &Gateway, outcome: &str) -> Result<f64> {
    gateway.metric("tidegate_discovery_lookups_total", &[("outcome", outcome)]).await
}

/// Waits until this many more look-ups came to this.
async fn more_look_ups(gateway: &Gateway, outcome: &str, more: f64) -> Result<()> {
    let before = look_ups(gateway, outcome).await?;
    let labels = [("outcome", outcome)];
    let name = "tidegate_discovery_lookups_total";
    gateway.metric_until(name, &labels, |count| count > before + more - 0.5).await.map(|_| ())
}

/// Waits until requests are answered by all of these origins and by nobody else.
async fn answered_by(gateway: &Gateway, origins: &[&str]) -> Result<()> {
    let expected: BTreeSet<String> = origins.iter().map(|name| (*name).to_owned()).collect();
    wait::until(&format!("{origins:?} to answer"), async || {
        let mut met = BTreeSet::new();
        for _ in 0..8 {
            let answer = gateway.get("/").await.ok()?.expect(200).ok()?;
            met.insert(answer.origin()?.to_owned());
        }
        (met == expected).then_some(())
    })
    .await
}

/// Waits until there is nobody to ask.
async fn no_endpoint(gateway: &Gateway) -> Result<()> {
    wait::until("503 for want of endpoints", async || {
        gateway.get("/").await.ok()?.problem(503, "upstream.no_endpoint").ok()
    })
    .await
    .map(|_| ())
}

/// Asks a few times; nobody may notice anything.
async fn goes_on(gateway: &Gateway) -> Outcome {
    for _ in 0..6 {
        gateway.get("/").await?.expect(200)?;
    }
    Ok(())
}

// Consul.

/// R050: passing instances only, address and port as registered, there before readiness is told.
#[tokio::test]
async fn consul_knows_where_the_endpoints_are() -> Outcome {
    let consul = Consul::start().await?;
    let [a, b, ill] =
        [Origin::start("a").await?, Origin::start("b").await?, Origin::start("ill").await?];
    consul.register(instance("a", &a));
    consul.register(instance("b", &b).at_its_node());
    consul.register(instance("ill", &ill).status("critical"));
    consul.register(Registration::new("other", "users", ill.address()));
    let gateway = gateway(in_consul(&consul)).start().await?;
    for _ in 0..10 {
        gateway.get("/").await?.expect(200)?;
    }
    assert_eq!((a.total(), b.total(), ill.total()), (5, 5, 0));
    let source = [("source", "consul:orders")];
    assert!((gateway.metric("tidegate_discovery_instances", &source).await? - 2.0).abs() < 0.1);
    let known = gateway.admin_get("/admin/discovery").await?.expect(200)?.json()?;
    assert_eq!(known[0]["source"], "consul:orders");
    assert_eq!(known[0]["instances"].as_array().map(Vec::len), Some(2));
    Ok(())
}

/// R050: an instance in `critical` gets no request within one refresh interval; here the
/// interval is a minute and the blocking query tells at once.
#[tokio::test]
async fn a_change_in_consul_is_seen_at_once() -> Outcome {
    let consul = Consul::start().await?;
    let (a, b) = (Origin::start("a").await?, Origin::start("b").await?);
    consul.register(instance("a", &a));
    consul.register(instance("b", &b));
    let config = in_consul(&consul).replace("refresh: 1s", "refresh: 60s");
    let gateway = gateway(config).start().await?;
    answered_by(&gateway, &["a", "b"]).await?;
    consul.set_status("b", "critical");
    answered_by(&gateway, &["a"]).await?;
    consul.set_status("b", "passing");
    answered_by(&gateway, &["a", "b"]).await?;
    consul.deregister("a");
    answered_by(&gateway, &["b"]).await?;
    assert!(consul.queries().iter().any(|query| query.contains("index=")));
    Ok(())
}

/// R053: down for as long as it lasts, then back with other instances.
#[tokio::test]
async fn consul_goes_down_and_comes_back() -> Outcome {
    let consul = Consul::start().await?;
    let (a, b) = (Origin::start("a").await?, Origin::start("b").await?);
    consul.register(instance("a", &a));
    let gateway = gateway(in_consul(&consul)).start().await?;
    consul.stop().await;
    more_look_ups(&gateway, "failed", 4.0).await?;
    goes_on(&gateway).await?;
    let age = gateway.metric("tidegate_discovery_age_seconds", &[]).await?;
    assert!(age >= 3.0, "{age}");
    // One line for an outage, not one for each look-up.
    assert_eq!(gateway.log().matches("look-up failed").count(), 1, "{}", gateway.log());
    consul.register(instance("b", &b));
    consul.deregister("a");
    consul.restart().await?;
    answered_by(&gateway, &["b"]).await?;
    gateway.metric_until("tidegate_discovery_age_seconds", &[], |age| age < 3.0).await?;
    Ok(())
}

/// Wrong in every way that an answer can be: what is known stays.
#[tokio::test]
async fn answers_of_consul_that_are_none_change_nothing() -> Outcome {
    let consul = Consul::start().await?;
    let a = Origin::start("a").await?;
    consul.register(instance("a", &a));
    let gateway = gateway(in_consul(&consul)).start().await?;
    for mood in [
        ConsulMood::Status(500),
        ConsulMood::Status(301),
        ConsulMood::Garbage,
        ConsulMood::Broken,
        ConsulMood::Huge,
        ConsulMood::Hang,
    ] {
        consul.set_mood(mood);
        more_look_ups(&gateway, "failed", 1.0).await?;
        goes_on(&gateway).await?;
        consul.set_mood(ConsulMood::Well);
        more_look_ups(&gateway, "unchanged", 1.0).await?;
    }
    goes_on(&gateway).await
}

/// Wrong without being garbage: the agent does not filter, its count goes back, it does not wait.
#[tokio::test]
async fn an_agent_that_breaks_its_word_is_not_relied_on() -> Outcome {
    let consul = Consul::start().await?;
    let (a, ill) = (Origin::start("a").await?, Origin::start("ill").await?);
    consul.register(instance("a", &a));
    consul.register(instance("ill", &ill).status("warning"));
    consul.set_mood(ConsulMood::Unfiltered);
    let gateway = gateway(in_consul(&consul)).start().await?;
    goes_on(&gateway).await?;
    assert_eq!(ill.total(), 0);

    consul.set_mood(ConsulMood::Well);
    more_look_ups(&gateway, "unchanged", 1.0).await?;
    consul.set_index(3);
    consul.set_status("ill", "passing");
    answered_by(&gateway, &["a", "ill"]).await?;

    consul.set_mood(ConsulMood::Restless);
    let before = consul.queries().len();
    let began = Instant::now();
    more_look_ups(&gateway, "unchanged", 3.0).await?;
    let asked = consul.queries().len() - before;
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap_or(usize::MAX);
    assert!(asked <= seconds + 2, "{asked} in {seconds} s");
    Ok(())
}

/// R053: empty by mistake, empty for good, back again.
#[tokio::test]
async fn an_empty_answer_of_consul_is_confirmed_first() -> Outcome {
    let consul = Consul::start().await?;
    let a = Origin::start("a").await?;
    consul.register(instance("a", &a));
    let gateway = gateway(in_consul(&consul)).start().await?;
    consul.set_mood(ConsulMood::Empty);
    more_look_ups(&gateway, "empty", 1.0).await?;
    gateway.get("/").await?.expect(200)?;
    consul.set_mood(ConsulMood::Well);
    more_look_ups(&gateway, "unchanged", 1.0).await?;

    let before = look_ups(&gateway, "empty").await?;
    consul.set_mood(ConsulMood::Empty);
    no_endpoint(&gateway).await?;
    let confirmed = look_ups(&gateway, "empty").await? - before;
    assert!(confirmed > 2.5, "{confirmed} empty answers were enough");
    consul.set_mood(ConsulMood::Well);
    consul.set_status("a", "passing");
    answered_by(&gateway, &["a"]).await?;
    Ok(())
}

/// Nobody waits for a registry that is away when the gateway starts.
#[tokio::test]
async fn consul_is_down_at_the_start() -> Outcome {
    let consul = Consul::start().await?;
    let a = Origin::start("a").await?;
    consul.register(instance("a", &a));
    consul.stop().await;
    let gateway = gateway(in_consul(&consul)).start().await?;
    gateway.get("/").await?.problem(503, "upstream.no_endpoint")?;
    gateway.log_says("look-up failed").await?;
    assert!(look_ups(&gateway, "failed").await? >= 1.0);
    consul.restart().await?;
    answered_by(&gateway, &["a"]).await?;
    Ok(())
}

/// All sources together delay the start by one time limit, not by the sum.
#[tokio::test]
async fn silent_registries_delay_the_start_by_their_time_limit() -> Outcome {
    let consul = Consul::start().await?;
    consul.set_mood(ConsulMood::Hang);
    let service = |number: u32| {
        format!(
            "  s{number}: {{discovery: {{consul: {{url: \"{}\", service: s{number}}}, \
             timeout: 2s}}}}\n",
            consul.url()
        )
    };
    let route = |number: u32| {
        format!(
            "  - {{name: r{number}, match: {{path: /{number}}}, upstream: {{service: s{number}}}, \
             policies: {{auth: none}}}}\n"
        )
    };
    let services: String = (0..8).map(service).collect();
    let routes: String = (0..8).map(route).collect();
    let began = Instant::now();
    let gateway = gateway(format!("services:\n{services}routes:\n{routes}")).start().await?;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1900), "it was ready before the first answers: {took:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    gateway.get("/3").await?.problem(503, "upstream.no_endpoint")?;
    Ok(())
}

/// R052: a registry that takes two seconds costs no request anything.
#[tokio::test]
async fn no_request_waits_for_a_registry() -> Outcome {
    let consul = Consul::start().await?;
    let a = Origin::start("a").await?;
    consul.register(instance("a", &a));
    let config = in_consul(&consul).replace("timeout: 500ms", "timeout: 5s");
    let gateway = gateway(config).start().await?;
    consul.set_mood(ConsulMood::Slow(Duration::from_secs(2)));
    // A query begins and ends meanwhile.
    let queries = consul.queries().len();
    let mut slowest = Duration::ZERO;
    let began = Instant::now();
    while consul.queries().len() < queries + 2 || began.elapsed() < Duration::from_secs(3) {
        slowest = slowest.max(gateway.get("/").await?.expect(200)?.took);
        assert!(began.elapsed() < wait::DEADLINE, "no query in {:?}", began.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    Ok(())
}

/// R051: however many requests and routes there are.
#[tokio::test]
async fn a_registry_is_asked_once_for_all_requests_and_routes() -> Outcome {
    let consul = Consul::start().await?;
    let a = Origin::start("a").await?;
    consul.register(instance("a", &a));
    let second = "  - {name: again, match: {pathPrefix: /again}, upstream: {service: api}, \
                  policies: {auth: none}}\n";
    let config = in_consul(&consul).replace("refresh: 1s", "refresh: 5s") + second;
    let gateway = gateway(config).start().await?;
    let began = Instant::now();
    let mut requests = 0;
    while began.elapsed() < Duration::from_secs(4) {
        gateway.get("/").await?.expect(200)?;
        gateway.get("/again").await?.expect(200)?;
        requests += 2;
    }
    let queries = consul.queries();
    // The first, and the blocking one that follows and waits its five seconds.
    assert!(queries.len() <= 2, "{requests} requests: {queries:?}");
    assert!(queries[1..].iter().all(|query| query.contains("wait=5000ms")), "{queries:?}");
    Ok(())
}

/// The token goes where it belongs and nowhere else.
#[tokio::test]
async fn consul_is_shown_a_token_and_nobody_else_is() -> Outcome {
    let consul = Consul::start().await?;
    let a = Origin::start("a").await?;
    consul.register(instance("a", &a));
    consul.set_token("s3cret-token");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    std::fs::write(&file, "wrong-token\n")?;
    let reference = format!("service: orders, token: \"${{file:{}}}\"", file.display());
    let config = in_consul(&consul).replace("service: orders", &reference);
    let gateway = gateway(config).start().await?;
    gateway.get("/").await?.problem(503, "upstream.no_endpoint")?;
    gateway.log_says("403").await?;
    std::fs::write(&file, "s3cret-token\n")?;
    gateway.signal(Signal::HUP)?;
    answered_by(&gateway, &["a"]).await?;
    let log = gateway.log();
    assert!(!log.contains("s3cret") && !log.contains("wrong-token"), "{log}");
    let shown = gateway.admin_get("/admin/discovery").await?.text();
    assert!(!shown.contains("s3cret"), "{shown}");
    Ok(())
}

/// A reload empties nothing, though the registry is down and the settings are others.
#[tokio::test]
async fn a_reload_keeps_what_was_found() -> Outcome {
    let consul = Consul::start().await?;
    let a = Origin::start("a").await?;
    consul.register(instance("a", &a).tag("v1"));
    let config = |version: u32, refresh: &str| {
        format!(
            "configVersion: {version}\n{}",
            in_consul(&consul).replace("refresh: 1s", &format!("refresh: {refresh}"))
        )
    };
    let gateway = gateway(config(1, "1s")).start().await?;
    consul.stop().await;
    gateway.write_config(&config(2, "1s"))?;
    gateway.runs_version(2).await?;
    goes_on(&gateway).await?;
    gateway.write_config(&config(3, "2s"))?;
    gateway.runs_version(3).await?;
    goes_on(&gateway).await?;
    consul.restart().await?;

    // A source that is new is asked before the configuration comes into force.
    let tagged = config(4, "2s").replace("service: orders", "service: orders, tag: v1");
    gateway.write_config(&tagged)?;
    gateway.runs_version(4).await?;
    goes_on(&gateway).await?;
    // The old feed ends, and its age with it.
    let old = [("source", "consul:orders")];
    gateway.metric_until("tidegate_discovery_instances", &old, |count| count < 0.5).await?;
    Ok(())
}

// DNS.

fn ip(last: u8) -> IpAddr {
    [127, 0, 0, last].into()
}

/// A and AAAA together, and a change once the answer expires.
#[tokio::test]
async fn the_dns_knows_where_the_endpoints_are() -> Outcome {
    let (dns, a) = (NameServer::start().await?, Origin::start("a").await?);
    dns.set_addresses("orders.test", &[ip(1), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])], 1)?;
    let config = in_dns(&dns, a.address().port()).replace("refresh: 1s", "refresh: 60s");
    let gateway = gateway(config + "policies: {retries: 1}\n").start().await?;
    goes_on(&gateway).await?;
    let instances = "tidegate_discovery_instances";
    assert!((gateway.metric(instances, &[]).await? - 2.0).abs() < 0.1);
    // Expired after a second, whatever the refresh time.
    dns.set_addresses("orders.test", &[ip(1)], 3600)?;
    gateway.metric_until(instances, &[], |count| count < 1.5).await?;
    // From now on good for an hour: not asked again so soon.
    let queries = dns.queries();
    goes_on(&gateway).await?;
    assert_eq!(dns.queries(), queries);
    Ok(())
}

/// The lowest priority number, ports and weights of SRV records.
#[tokio::test]
async fn srv_records_bring_port_and_priority() -> Outcome {
    let dns = NameServer::start().await?;
    let [a, b, backup] =
        [Origin::start("a").await?, Origin::start("b").await?, Origin::start("backup").await?];
    let port = |origin: &Origin| origin.address().port();
    dns.set_addresses("host.test", &[ip(1)], 1)?;
    let all = [
        (10, 0, port(&a), "host.test"),
        (10, 0, port(&b), "host.test"),
        (20, 0, port(&backup), "host.test"),
    ];
    dns.set_services("_http._tcp.orders.test", &all, 1)?;
    let config = looked_up(&format!(
        "dns: {{name: _http._tcp.orders.test, record: SRV, server: \"{}\"}}",
        dns.address()
    ));
    let gateway = gateway(config).start().await?;
    answered_by(&gateway, &["a", "b"]).await?;
    assert_eq!(backup.total(), 0);
    dns.set_services("_http._tcp.orders.test", &all[2..], 1)?;
    answered_by(&gateway, &["backup"]).await?;
    Ok(())
}

/// Down, slow, failing: what is known stays; then back.
#[tokio::test]
async fn the_dns_goes_down_and_comes_back() -> Outcome {
    let (dns, a) = (NameServer::start().await?, Origin::start("a").await?);
    dns.set_addresses("orders.test", &[ip(1)], 1)?;
    let gateway = gateway(in_dns(&dns, a.address().port())).start().await?;
    goes_on(&gateway).await?;
    for mood in [DnsMood::ServFail, DnsMood::Hang, DnsMood::Slow(Duration::from_secs(3))] {
        dns.set_mood(mood);
        more_look_ups(&gateway, "failed", 2.0).await?;
        goes_on(&gateway).await?;
        dns.set_mood(DnsMood::Well);
        more_look_ups(&gateway, "unchanged", 1.0).await?;
    }
    dns.stop().await;
    more_look_ups(&gateway, "failed", 2.0).await?;
    goes_on(&gateway).await?;
    dns.set_addresses("orders.test", &[ip(1), ip(2)], 1)?;
    dns.restart().await?;
    gateway.metric_until("tidegate_discovery_instances", &[], |count| count > 1.5).await?;
    Ok(())
}

/// R053: a name that is gone is believed to be gone when it is gone three times.
#[tokio::test]
async fn a_name_that_is_gone_is_confirmed_first() -> Outcome {
    let (dns, a) = (NameServer::start().await?, Origin::start("a").await?);
    let port = a.address().port();
    dns.set_addresses("orders.test", &[ip(1)], 1)?;
    let gateway = gateway(in_dns(&dns, port)).start().await?;
    for empty in [true, false] {
        let before = look_ups(&gateway, "empty").await?;
        if empty {
            dns.set_addresses("orders.test", &[], 1)?;
        } else {
            dns.remove("orders.test")?;
        }
        more_look_ups(&gateway, "empty", 1.0).await?;
        gateway.get("/").await?.expect(200)?;
        no_endpoint(&gateway).await?;
        let confirmed = look_ups(&gateway, "empty").await? - before;
        assert!(confirmed > 2.5, "{confirmed} empty answers were enough");
        dns.set_addresses("orders.test", &[ip(1)], 1)?;
        answered_by(&gateway, &["a"]).await?;
    }
    Ok(())
}

/// An answer that does not fit into a packet is asked for again over TCP.
#[tokio::test]
async fn a_long_answer_comes_over_tcp() -> Outcome {
    let (dns, a) = (NameServer::start().await?, Origin::start("a").await?);
    let many: Vec<IpAddr> = (1..=200).map(ip).collect();
    dns.set_addresses("orders.test", &many, 1)?;
    let gateway = gateway(in_dns(&dns, a.address().port())).start().await?;
    let instances = gateway.metric("tidegate_discovery_instances", &[]).await?;
    assert!((instances - 200.0).abs() < 0.1, "{instances}");
    assert!(dns.tcp_queries() >= 1);
    Ok(())
}

/// A name server that is away when the gateway starts, and a name that nobody knows.
#[tokio::test]
async fn the_dns_is_down_at_the_start() -> Outcome {
    let (dns, a) = (NameServer::start().await?, Origin::start("a").await?);
    dns.set_addresses("orders.test", &[ip(1)], 1)?;
    dns.stop().await;
    let gateway = gateway(in_dns(&dns, a.address().port())).start().await?;
    gateway.get("/").await?.problem(503, "upstream.no_endpoint")?;
    dns.restart().await?;
    answered_by(&gateway, &["a"]).await?;
    Ok(())
}

/// Host names in `endpoints`: one that cannot be looked up costs its service, not the gateway.
#[tokio::test]
async fn a_host_name_without_addresses_stops_nobody() -> Outcome {
    let a = Origin::start("a").await?;
    let services = |host: &str| {
        format!(
            "services:\n  api: {{endpoints: [{{address: \"{host}\"}}]}}\n  \
             named: {{endpoints: [{{address: \"localhost:{}\"}}]}}\n",
            a.address().port()
        )
    };
    // The hosts file may give it an address that nobody listens on, too.
    let named = "  - {name: named, match: {pathPrefix: /named}, upstream: {service: named}, \
                 policies: {auth: none, retries: 1}}\n";
    let config = |version: u32, host: &str| {
        format!("configVersion: {version}\n{}{}{named}", services(host), open_route(""))
    };
    let gateway = gateway(config(1, "no-such-host.invalid:80")).start().await?;
    gateway.get("/").await?.problem(503, "upstream.no_endpoint")?;
    gateway.get("/named").await?.expect(200)?;
    gateway.log_says("dns:no-such-host.invalid").await?;
    gateway.write_config(&config(2, "another.invalid:80"))?;
    gateway.runs_version(2).await?;
    gateway.get("/").await?.problem(503, "upstream.no_endpoint")?;
    gateway.get("/named").await?.expect(200)?;
    Ok(())
}

// Files.

fn lines(endpoints: &[SocketAddr]) -> String {
    let lines: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    lines.join("\n") + "\n"
}

/// A file that changes, breaks, goes, and is empty.
#[tokio::test]
async fn a_file_knows_where_the_endpoints_are() -> Outcome {
    let (a, b) = (Origin::start("a").await?, Origin::start("b").await?);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("orders.endpoints");
    std::fs::write(&file, format!("# orders\n{}", lines(&[a.address()])))?;
    let gateway = gateway(in_file(&file)).start().await?;
    goes_on(&gateway).await?;
    std::fs::write(&file, lines(&[a.address(), b.address()]))?;
    answered_by(&gateway, &["a", "b"]).await?;

    let half = lines(&[a.address(), b.address()]);
    for wrong in ["10.0.0.1:80\norders.internal:80\n", "\u{0}\u{0}\n", &half[..half.len() - 2]] {
        std::fs::write(&file, wrong)?;
        more_look_ups(&gateway, "failed", 1.0).await?;
        answered_by(&gateway, &["a", "b"]).await?;
    }
    gateway.log_says("line 2").await?;
    std::fs::remove_file(&file)?;
    more_look_ups(&gateway, "failed", 1.0).await?;
    answered_by(&gateway, &["a", "b"]).await?;

    std::fs::write(&file, lines(&[b.address()]))?;
    answered_by(&gateway, &["b"]).await?;
    std::fs::write(&file, "# nobody\n")?;
    no_endpoint(&gateway).await?;
    std::fs::write(&file, lines(&[a.address()]))?;
    answered_by(&gateway, &["a"]).await?;
    Ok(())
}

/// What is written is there long before the refresh time is over.
#[tokio::test]
async fn a_changed_file_is_seen_at_once() -> Outcome {
    let (a, b) = (Origin::start("a").await?, Origin::start("b").await?);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("orders.endpoints");
    std::fs::write(&file, lines(&[a.address()]))?;
    let config = in_file(&file).replace("refresh: 1s", "refresh: 1h");
    let gateway = gateway(config).start().await?;
    answered_by(&gateway, &["a"]).await?;
    let draft = folder.path().join("draft");
    std::fs::write(&draft, lines(&[b.address()]))?;
    std::fs::rename(&draft, &file)?;
    answered_by(&gateway, &["b"]).await?;
    Ok(())
}

/// Endpoints and names side by side, each with its share.
#[tokio::test]
async fn a_version_can_be_looked_up_beside_one_that_is_written_down() -> Outcome {
    let (stable, canary) = (Origin::start("stable").await?, Origin::start("canary").await?);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("canary.endpoints");
    std::fs::write(&file, lines(&[canary.address()]))?;
    let config = format!(
        "policies: {{auth: none}}\nservices:\n  api:\n    versions:\n      \
         - {{name: stable, endpoints: [{}]}}\n      \
         - {{name: canary, discovery: {{file: \"{}\", {QUICK}}}}}\n\
         routes:\n  - {{name: all, match: {{pathPrefix: /}}, upstream: {{service: api, \
         splits: [{{version: stable, weight: 0}}, {{version: canary, weight: 10000}}]}}}}\n",
        list(&[stable.address()]),
        file.display()
    );
    let gateway = gateway(config).start().await?;
    goes_on(&gateway).await?;
    assert_eq!((stable.total(), canary.total()), (0, 6));
    Ok(())
}

/// The tools ask nobody.
#[tokio::test]
async fn check_and_explain_never_ask_a_registry() -> Outcome {
    let (consul, dns) = (Consul::start().await?, NameServer::start().await?);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("gateway.yaml");
    let port = ports::free()?;
    let listeners = "listeners: [{name: main, address: \"127.0.0.1:1\"}]\n\
                     admin: {address: \"127.0.0.1:2\"}\n";
    for config in [in_consul(&consul), in_dns(&dns, port)] {
        std::fs::write(&file, format!("{listeners}{config}"))?;
        let run = async |arguments: &[&str]| {
            let mut command = tokio::process::Command::new(crate::BINARY);
            command.arg(arguments[0]).arg(&file).args(&arguments[1..]);
            wait::within("the tool", command.output()).await
        };
        let checked = run(&["check"]).await??;
        assert!(checked.status.success(), "{checked:?}");
        let explained = run(&["explain", "--host", "a.example", "--path", "/"]).await??;
        let text = String::from_utf8_lossy(&explained.stdout).into_owned();
        assert!(text.contains("looked up: "), "{text}");
    }
    assert_eq!((consul.queries().len(), dns.queries()), (0, 0));
    Ok(())
}
