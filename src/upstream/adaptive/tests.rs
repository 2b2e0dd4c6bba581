//! The limit against a server that is simulated: `c` requests at once take the time of one, more
//! of them wait. Time is a number, chance has a seed, so that every run is the same.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::*;

const MS: u64 = 1_000_000;

/// A server: that many at once, each this long, give or take a fifth.
struct Server {
    workers: usize,
    service: u64,
}

/// A run: requests come as often as `rate` says, at random, and are lost where they are refused.
struct Run {
    adaptive: Adaptive,
    random: fastrand::Rng,
    now: u64,
    server: Server,
    rate: f64,
    busy: BinaryHeap<Reverse<(u64, u64)>>,
    queue: VecDeque<u64>,
    places: std::collections::HashMap<u64, Place>,
    began: std::collections::HashMap<u64, u64>,
    next: u64,
    took: Vec<u64>,
    refused: usize,
    served: usize,
}

impl Run {
    fn new(min: u32, max: u32, server: Server, rate: f64) -> Self {
        let model = model::AdaptiveConcurrency { min, max, tolerance: 2.0 };
        Self {
            adaptive: Adaptive::new(&model, &Arc::default()),
            random: fastrand::Rng::with_seed(7),
            now: 0,
            server,
            rate,
            busy: BinaryHeap::new(),
            queue: VecDeque::new(),
            places: std::collections::HashMap::new(),
            began: std::collections::HashMap::new(),
            next: 0,
            took: Vec::new(),
            refused: 0,
            served: 0,
        }
    }

    /// Lets so many milliseconds pass; forgets what was counted before.
    fn pass(&mut self, ms: u64) -> &mut Self {
        (self.refused, self.served) = (0, 0);
        self.took.clear();
        let end = self.now + ms * MS;
        let mut arrival = self.now + self.gap();
        loop {
            let done = self.busy.peek().map(|Reverse((at, _))| *at);
            match done {
                Some(at) if at <= arrival.min(end) => self.finish(at),
                _ if arrival <= end => {
                    self.arrive(arrival);
                    arrival += self.gap();
                }
                _ => break,
            }
        }
        self.now = end;
        self
    }

    /// Time to the next request.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "nanoseconds between two requests"
    )]
    fn gap(&mut self) -> u64 {
        (-(1.0 - self.random.f64()).ln() / self.rate * 1e9) as u64
    }

    fn arrive(&mut self, at: u64) {
        self.now = at;
        let Some(place) = self.adaptive.take() else {
            self.refused += 1;
            return;
        };
        let id = self.next;
        self.next += 1;
        self.places.insert(id, place);
        self.began.insert(id, at);
        self.queue.push_back(id);
        self.work();
    }

    fn work(&mut self) {
        while self.busy.len() < self.server.workers
            && let Some(id) = self.queue.pop_front()
        {
            let fifth = self.server.service / 5;
            let took = self.server.service - fifth + self.random.u64(0..=2 * fifth);
            self.busy.push(Reverse((self.now + took, id)));
        }
    }

    fn finish(&mut self, at: u64) {
        self.now = at;
        let Some(Reverse((_, id))) = self.busy.pop() else { return };
        let took = at - self.began.remove(&id).unwrap();
        self.took.push(took);
        self.served += 1;
        self.adaptive.answered(Duration::from_nanos(took), Tick::from_nanos(at));
        self.places.remove(&id);
        self.work();
    }

    fn median_ms(&mut self) -> u64 {
        self.took.sort_unstable();
        self.took[self.took.len() / 2] / MS
    }

    fn limit(&self) -> u32 {
        self.adaptive.limit()
    }
}

#[test]
fn it_settles_near_what_the_server_can_take_and_keeps_answers_within_tolerance() {
    for (workers, service_ms) in [(5_u32, 10_u32), (20, 10), (100, 50)] {
        // Three times as much as it can do, from the first moment on.
        let most = f64::from(workers) / f64::from(service_ms) * 1e3;
        let (workers, service) = (workers as usize, u64::from(service_ms) * MS);
        let mut run = Run::new(2, 2000, Server { workers, service }, 3.0 * most);
        run.pass(30_000).pass(30_000);
        let limit = run.limit() as usize;
        assert!(limit >= workers && limit <= 4 * workers, "{workers} at once: {limit}");
        let median = run.median_ms();
        assert!(median <= 3 * service / MS, "{workers} at once: {median} ms");
        // It is kept busy all the same.
        assert!(
            f64::from(u32::try_from(run.served).unwrap()) > 0.97 * 30.0 * most,
            "{workers} at once: {}",
            run.served
        );
    }
}

#[test]
fn a_service_that_is_not_pressed_is_never_in_the_way() {
    // Half of what it can do, half of the limit at most.
    let mut run = Run::new(2, 1000, Server { workers: 40, service: 20 * MS }, 1000.0);
    for _ in 0..6 {
        run.pass(10_000);
        assert_eq!(run.refused, 0);
        assert!(run.limit() >= FIRST);
    }
}

#[test]
fn it_shrinks_while_the_server_is_slow_and_recovers_after() {
    let mut run = Run::new(2, 1000, Server { workers: 40, service: 20 * MS }, 1500.0);
    run.pass(30_000);
    assert!(run.limit() >= 40, "{}", run.limit());
    let before = run.limit();
    // A dependency hangs: a tenth of the workers is left.
    run.server.workers = 4;
    run.pass(8_000);
    assert!(run.limit() < before / 2, "{before}, then {}", run.limit());
    run.pass(2_000);
    assert!(run.median_ms() <= 100, "{} ms", run.median_ms());
    run.server.workers = 40;
    run.pass(10_000).pass(10_000);
    assert!(run.limit() >= 40, "{}", run.limit());
    assert!(run.refused * 100 < run.served, "{} refused, {} served", run.refused, run.served);
}

#[test]
fn a_service_that_is_slower_for_good_is_not_held_down_for_ever() {
    let mut run = Run::new(2, 1000, Server { workers: 100, service: 10 * MS }, 2000.0);
    run.pass(20_000);
    // Five times as slow, and more workers: it can do as much as before.
    run.server = Server { workers: 500, service: 50 * MS };
    run.pass(60_000).pass(10_000);
    assert!(run.limit() >= 100, "{}", run.limit());
    assert!(run.refused * 50 < run.served, "{} refused, {} served", run.refused, run.served);
}

#[test]
fn few_requests_do_not_press_it_down() {
    // Two a second, one in three of them a hundred times as slow.
    let adaptive = Adaptive::new(&model::AdaptiveConcurrency::default(), &Arc::default());
    let mut random = fastrand::Rng::with_seed(3);
    for n in 0..2_000_u64 {
        let place = adaptive.take();
        let ms = if random.u8(0..3) == 0 { 500 } else { 5 };
        adaptive.answered(Duration::from_millis(ms), Tick::from_nanos(n * 500 * MS));
        drop(place);
        assert_eq!(adaptive.limit(), FIRST);
    }
}

#[test]
fn what_was_learned_outlives_a_configuration() {
    let memory = Arc::default();
    let model = model::AdaptiveConcurrency::default();
    let adaptive = Adaptive::new(&model, &memory);
    let place = adaptive.take();
    memory.limit.store(77, Relaxed);
    let again = Adaptive::new(&model, &memory);
    assert_eq!((again.limit(), again.in_flight()), (77, 1));
    let tight = Adaptive::new(&model::AdaptiveConcurrency { max: 1, min: 1, ..model }, &memory);
    assert!(tight.take().is_none(), "places that are held count");
    drop(place);
    assert!(tight.take().is_some());
}

#[test]
fn a_request_given_up_counts_only_where_it_was_slow_already() {
    let adaptive = Adaptive::new(&model::AdaptiveConcurrency::default(), &Arc::default());
    let ms = Duration::from_millis;
    adaptive.abandoned(ms(900), Tick::from_nanos(0));
    assert_eq!(adaptive.memory.samples.total(), 0, "nothing is known yet");
    for _ in 0..ENOUGH {
        adaptive.answered(ms(10), Tick::from_nanos(0));
    }
    assert_eq!(adaptive.memory.samples.total(), 0, "the window is closed");
    adaptive.abandoned(ms(15), Tick::from_nanos(1));
    assert_eq!(adaptive.memory.samples.total(), 0);
    adaptive.abandoned(ms(30), Tick::from_nanos(1));
    assert_eq!(adaptive.memory.samples.total(), 1);
}

#[tokio::test]
async fn those_who_wait_get_their_places_in_order() {
    let model = model::AdaptiveConcurrency { min: 1, max: 1, tolerance: 2.0 };
    let adaptive = Arc::new(Adaptive::new(&model, &Arc::default()));
    let held = adaptive.take().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for number in 0..3 {
        let (waits, order) = (Arc::clone(&adaptive), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let _place = waits.wait().await;
            order.lock().push(number);
        }));
        while adaptive.memory.waiting.load(SeqCst) <= number {
            tokio::task::yield_now().await;
        }
    }
    tasks.remove(1).abort();
    while adaptive.memory.waiting.load(SeqCst) > 2 {
        tokio::task::yield_now().await;
    }
    assert!(adaptive.take().is_none());
    drop(held);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock(), [0, 2]);
    assert_eq!((adaptive.in_flight(), adaptive.memory.waiting.load(SeqCst)), (0, 0));
    assert!(adaptive.take().is_some(), "nobody waits any more");
}

#[test]
fn threads_close_each_window_once_and_lose_no_place() {
    let adaptive = Adaptive::new(&model::AdaptiveConcurrency::default(), &Arc::default());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..5_000 {
                    let place = adaptive.take();
                    adaptive.answered(Duration::from_millis(5), Tick::from_nanos(n * MS));
                    drop(place);
                }
            });
        }
    });
    assert_eq!(adaptive.in_flight(), 0);
    assert!(adaptive.limit() >= FIRST);
    assert!(adaptive.at_rest().unwrap() < Duration::from_millis(7));
}
