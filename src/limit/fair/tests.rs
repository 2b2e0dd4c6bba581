//! The door, with time under control and chance that has a seed.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{Door, Overload, Place};
use crate::edge::{Facts, RequestView, Scheme};
use crate::fault::{Fault, Reject};
use crate::model::Problems;
use crate::telemetry::Metrics;

const LONG: Duration = Duration::from_secs(10);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A node that tells tenants apart by a header, for short.
#[derive(Clone)]
struct Node {
    door: Arc<Door>,
    overload: Arc<Overload>,
    metrics: Arc<Metrics>,
}

impl Node {
    fn new(places: u32, queue: u32, wait_ms: u64) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let node = Self {
            door: Arc::new(Door::new(&metrics)),
            overload: Arc::new(overload(places, queue, wait_ms)),
            metrics,
        };
        node.door.configure(Some(&node.overload));
        node
    }

    async fn enter(&self, tenant: &str) -> Result<Place, Reject> {
        self.enter_from(Some(tenant), Ipv4Addr::LOCALHOST.into(), LONG).await
    }

    async fn enter_from(
        &self,
        tenant: Option<&str>,
        client: IpAddr,
        left: Duration,
    ) -> Result<Place, Reject> {
        let mut headers = HeaderMap::new();
        if let Some(tenant) = tenant {
            headers.insert("x-tenant", HeaderValue::from_str(tenant).unwrap());
        }
        let view = RequestView {
            method: &Method::GET,
            scheme: Scheme::Https,
            host: Cow::Borrowed("api.example.com"),
            port: None,
            path: Cow::Borrowed("/"),
            query: None,
            headers: &headers,
            client,
            peer_trusted: false,
            certificate: None,
        };
        let facts = Facts { view: &view, identity: None, request_id: "", route: "r", service: "s" };
        self.door.enter(&self.overload, &facts, left).await
    }

    /// A request that waits from now on.
    async fn waits(&self, tenant: &'static str, name: u32, done: &Done) -> JoinHandle<()> {
        let (node, done) = (self.clone(), Arc::clone(done));
        let before = self.door.waiting();
        let task = tokio::spawn(async move {
            let outcome = node.enter(tenant).await;
            done.lock().push((name, outcome.is_ok()));
        });
        while self.door.waiting() == before {
            tokio::task::yield_now().await;
        }
        task
    }

    fn shed(&self, reason: &str) -> u64 {
        self.metrics.overload_shed.with_label_values(&[reason]).get()
    }
}

type Done = Arc<Mutex<Vec<(u32, bool)>>>;

fn overload(places: u32, queue: u32, wait_ms: u64) -> Overload {
    let yaml = format!(
        "{{maxInFlight: {places}, queueLimit: {queue}, queueTimeout: {wait_ms}ms, \
         fairBy: 'header:x-tenant'}}"
    );
    Overload::compile(&serde_yaml::from_str(&yaml).unwrap(), &mut Problems::default()).unwrap()
}

#[tokio::test]
async fn places_are_scarce_once_more_than_half_are_held() {
    let node = Node::new(4, 0, 10);
    let first = node.enter("a").await.unwrap();
    let second = node.enter("b").await.unwrap();
    assert!(!first.is_scarce());
    let third = node.enter("a").await.unwrap();
    assert!(first.is_scarce() && second.is_scarce() && third.is_scarce());
    drop(third);
    assert!(!second.is_scarce());
    node.door.configure(None);
    assert!(!first.is_scarce(), "places without an end");
}

#[tokio::test(start_paused = true)]
async fn places_are_bounded_and_come_back() {
    let node = Node::new(2, 0, 100);
    let (first, second) = (node.enter("a").await.unwrap(), node.enter("b").await.unwrap());
    let refused = node.enter("c").await.unwrap_err();
    assert_eq!(refused.fault, Fault::OverloadShed);
    assert_eq!(refused.retry_after_seconds(), Some(1));
    assert_eq!((node.shed("queue_full"), node.shed("timeout")), (1, 0));
    drop(first);
    let third = node.enter("c").await.unwrap();
    drop((second, third));
    assert_eq!((node.door.in_flight(), node.door.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_allowed_nor_than_its_own_time() {
    let node = Node::new(1, 10, 100);
    let _held = node.enter("a").await.unwrap();
    for (left, waited) in [(LONG, ms(100)), (ms(30), ms(30))] {
        let begun = Instant::now();
        let client = Ipv4Addr::LOCALHOST.into();
        let refused = node.enter_from(Some("b"), client, left).await.unwrap_err();
        assert_eq!(refused.fault, Fault::OverloadShed);
        assert!(begun.elapsed() >= waited && begun.elapsed() < waited + ms(5));
    }
    assert_eq!((node.shed("queue_full"), node.shed("timeout")), (0, 2));
    assert_eq!((node.door.in_flight(), node.door.waiting()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn tenants_take_turns_and_each_waits_in_order() {
    let node = Node::new(1, 10, 20_000);
    let held = node.enter("x").await.unwrap();
    let done = Done::default();
    let mut tasks = Vec::new();
    for (tenant, name) in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)] {
        tasks.push(node.waits(tenant, name, &done).await);
    }
    drop(held);
    for task in tasks {
        task.await.unwrap();
    }
    let order: Vec<u32> = done.lock().iter().map(|(name, _)| *name).collect();
    assert_eq!(order, [1, 4, 5, 2, 6, 3]);
    assert_eq!(node.door.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_holds_less_than_its_share_comes_first() {
    let node = Node::new(2, 10, 20_000);
    let mut held = vec![node.enter("a").await.unwrap(), node.enter("a").await.unwrap()];
    let done = Done::default();
    let mut tasks = Vec::new();
    for (tenant, name) in [("a", 1), ("a", 2), ("b", 3)] {
        tasks.push(node.waits(tenant, name, &done).await);
    }
    // `a` holds one of two places, its share of two tenants: `b` is next, though it came last.
    drop(held.pop());
    while done.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(done.lock().first(), Some(&(3, true)));
    drop(held);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(node.door.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn when_too_many_wait_the_newest_of_the_heaviest_goes() {
    let node = Node::new(1, 3, 20_000);
    let held = node.enter("a").await.unwrap();
    let done = Done::default();
    let mut tasks = Vec::new();
    for (tenant, name) in [("a", 1), ("a", 2), ("b", 3)] {
        tasks.push(node.waits(tenant, name, &done).await);
    }
    // The heaviest itself: refused at once.
    assert!(node.enter("a").await.is_err());
    assert!(done.lock().is_empty());
    // Another: `a`'s newest makes room.
    let (n, d) = (node.clone(), Arc::clone(&done));
    tasks.push(tokio::spawn(async move {
        let outcome = n.enter("c").await;
        d.lock().push((4, outcome.is_ok()));
    }));
    while done.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(*done.lock(), [(2, false)]);
    assert_eq!((node.shed("queue_full"), node.door.waiting()), (2, 3));
    drop(held);
    for task in tasks {
        task.await.unwrap();
    }
    let served: Vec<u32> =
        done.lock().iter().filter(|(_, served)| *served).map(|(name, _)| *name).collect();
    assert_eq!(served.len(), 3, "{served:?}");
}

/// One place of sixteen is nobody's who has enough, even while there is nobody else.
#[tokio::test(start_paused = true)]
async fn a_few_places_are_kept_for_those_below_their_share() {
    let node = Node::new(32, 0, 100);
    let mut held = Vec::new();
    for _ in 0..30 {
        held.push(node.enter("noisy").await.unwrap());
    }
    assert!(node.enter("noisy").await.is_err());
    let (first, second) = (node.enter("b").await.unwrap(), node.enter("c").await.unwrap());
    assert!(node.enter("b").await.is_err(), "no more than there are");
    drop((first, second));
    drop(held);
    assert_eq!((node.door.in_flight(), node.door.waiting()), (0, 0));
    // And they are given while others wait.
    let node = Node::new(16, 10, 20_000);
    let mut held = Vec::new();
    for _ in 0..15 {
        held.push(node.enter("noisy").await.unwrap());
    }
    let done = Done::default();
    let waits = node.waits("noisy", 1, &done).await;
    let other = node.enter("b").await.unwrap();
    assert_eq!((node.door.in_flight(), node.door.waiting()), (16, 1));
    drop(other);
    assert_eq!(node.door.waiting(), 1, "what is kept stays kept");
    drop(held.pop());
    waits.await.unwrap();
    drop(held);
    assert_eq!((node.door.in_flight(), node.door.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_takes_nothing_along() {
    let node = Node::new(1, 10, 20_000);
    let held = node.enter("a").await.unwrap();
    let done = Done::default();
    let mut tasks = Vec::new();
    for name in 0..3 {
        tasks.push(node.waits("b", name, &done).await);
    }
    tasks.remove(1).abort();
    while node.door.waiting() > 2 {
        tokio::task::yield_now().await;
    }
    // Told of its place, and gone before it could look.
    let gone = tasks.remove(0);
    drop(held);
    gone.abort();
    for task in tasks {
        task.await.unwrap();
    }
    let _ = gone.await;
    assert_eq!((node.door.in_flight(), node.door.waiting()), (0, 0));
    assert!(node.enter("a").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_new_configuration_keeps_places_and_serves_those_who_wait() {
    let node = Node::new(1, 10, 20_000);
    let held = node.enter("a").await.unwrap();
    let done = Done::default();
    let tasks = [node.waits("b", 1, &done).await, node.waits("c", 2, &done).await];
    node.door.configure(Some(&overload(2, 10, 20_000)));
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(node.door.in_flight(), 1);
    // Fewer places than are held: nobody loses one, nobody gets one.
    let second = node.enter("a").await.unwrap();
    node.door.configure(Some(&overload(1, 10, 20_000)));
    drop(second);
    let task = node.waits("b", 3, &done).await;
    assert_eq!(node.door.in_flight(), 1);
    // Without a bound.
    node.door.configure(None);
    task.await.unwrap();
    drop(held);
    assert_eq!(node.door.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn requests_without_the_part_count_for_their_address() {
    let node = Node::new(1, 1, 20_000);
    let held = node.enter("a").await.unwrap();
    let (flood, other): (IpAddr, IpAddr) =
        ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    let wait = |client: IpAddr| {
        let node = node.clone();
        tokio::spawn(async move { node.enter_from(None, client, LONG).await.is_ok() })
    };
    let first = wait(flood);
    while node.door.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!wait(flood).await.unwrap(), "the heaviest is the newcomer itself");
    assert!(!wait(other).await.unwrap(), "nobody is heavier than it");
    drop(held);
    assert!(first.await.unwrap());
}

/// One tenant sends ten times its share, at random moments; each of the others sends half of
/// its own. Every request of the others is served, and none waits for long.
#[tokio::test(start_paused = true)]
async fn a_noisy_tenant_does_not_starve_the_others() {
    const PLACES: u32 = 20;
    const SERVICE_MS: u64 = 10;
    const TENANTS: [&str; 5] = ["noisy", "b", "c", "d", "e"];
    for seed in 0..5 {
        let node = Node::new(PLACES, 50, 100);
        let mut random = fastrand::Rng::with_seed(seed);
        // 2000 requests a second are what the node can do: 400 for each tenant.
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for _ in 0..2_000 {
            sleep(ms(1)).await;
            for tenant in TENANTS {
                let per_second = if tenant == "noisy" { 4_000.0 } else { 200.0 };
                let mut expected: f64 = per_second / 1e3;
                while random.f64() < expected {
                    expected -= 1.0;
                    let (node, outcomes) = (node.clone(), Arc::clone(&outcomes));
                    tasks.push(tokio::spawn(async move {
                        let begun = Instant::now();
                        let place = node.enter(tenant).await;
                        outcomes.lock().push((tenant, place.is_ok(), begun.elapsed()));
                        if place.is_ok() {
                            sleep(ms(SERVICE_MS)).await;
                        }
                    }));
                }
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!((node.door.in_flight(), node.door.waiting()), (0, 0));
        let outcomes = outcomes.lock();
        let count = |tenant: &str, served: bool| {
            outcomes.iter().filter(|(who, ok, _)| *who == tenant && *ok == served).count()
        };
        for tenant in &TENANTS[1..] {
            assert_eq!(count(tenant, false), 0, "seed {seed}: {tenant} was refused");
            assert!(count(tenant, true) > 300, "seed {seed}");
        }
        let others = outcomes.iter().filter(|(who, _, _)| *who != "noisy");
        let longest = others.map(|(_, _, waited)| *waited).max().unwrap();
        assert!(longest <= ms(SERVICE_MS), "seed {seed}: waited {longest:?}");
        // What the others leave is the noisy one's: nothing is idle.
        let noisy = count("noisy", true);
        assert!(noisy > 2_100, "seed {seed}: {noisy}");
        assert!(count("noisy", false) > 1_000, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_lose_no_place_and_nobody_is_forgotten() {
    let node = Node::new(3, 1_000, 30_000);
    let tasks: Vec<_> = (0..400_u32)
        .map(|n| {
            let node = node.clone();
            tokio::spawn(async move {
                let tenant = ["a", "b", "c", "d"][n as usize % 4];
                for round in 0..20_u32 {
                    let entering = node.enter(tenant);
                    if (n + round) % 7 == 0 {
                        // Gives up after a look or two.
                        tokio::select! {
                            biased;
                            _ = entering => {}
                            () = tokio::task::yield_now() => {}
                        }
                        continue;
                    }
                    let place = entering.await.unwrap();
                    assert!(node.door.in_flight() <= 3);
                    tokio::task::yield_now().await;
                    drop(place);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((node.door.in_flight(), node.door.waiting()), (0, 0));
}
