use super::*;

const MIDDLE: f64 = 0.5;

fn source() -> Source {
    Source::of_host("orders.internal").unwrap()
}

fn place(last: u8) -> Place {
    Place { ip: [10, 0, 0, last].into(), port: None, host: "orders".into(), weight: 1 }
}

fn found(last: &[u8]) -> Answer {
    Answer { places: Ok(last.iter().copied().map(place).collect()), hint: Hint::None }
}

fn watched(last: &[u8], index: u64, early: bool) -> Answer {
    Answer { hint: Hint::Watch { index, early }, ..found(last) }
}

fn at(seconds: u64) -> Tick {
    Tick::default().plus(Duration::from_secs(seconds))
}

/// A feed's state that takes answers one after the other.
struct Story {
    state: State,
    source: Source,
    now: Tick,
}

impl Story {
    fn new() -> Self {
        Self { state: State::default(), source: source(), now: at(100) }
    }

    fn hears(&mut self, answer: Answer) -> Step {
        self.state.absorb(answer, &self.source, self.now, MIDDLE)
    }

    fn ips(&self) -> Vec<String> {
        self.state.places().iter().map(|place| place.ip.to_string()).collect()
    }

    /// Seconds until the next look-up.
    fn pause(&self) -> f64 {
        self.state.due.since(self.now).as_secs_f64()
    }

    fn pauses(&self, seconds: f64) {
        assert!((self.pause() - seconds).abs() < 1e-6, "{}", self.pause());
    }
}

#[test]
fn only_other_instances_are_a_change() {
    let mut story = Story::new();
    assert_eq!(
        story.hears(found(&[2, 1, 2])),
        Step { outcome: Outcome::Changed, is_change: true, is_news: true }
    );
    assert_eq!(story.ips(), ["10.0.0.1", "10.0.0.2"]);
    // The same in another order.
    let step = story.hears(found(&[2, 1]));
    assert_eq!((step.outcome, step.is_change), (Outcome::Unchanged, false));
    let step = story.hears(found(&[2]));
    assert_eq!((step.outcome, step.is_change), (Outcome::Changed, true));
    assert_eq!(story.ips(), ["10.0.0.2"]);
}

#[test]
fn another_weight_or_port_is_a_change() {
    let mut story = Story::new();
    story.hears(found(&[1]));
    let heavy = Place { weight: 2, ..place(1) };
    let answer = |place: Place| Answer { places: Ok(vec![place]), hint: Hint::None };
    assert!(story.hears(answer(heavy.clone())).is_change);
    assert!(story.hears(answer(Place { port: Some(80), ..heavy })).is_change);
}

#[test]
fn one_place_that_two_names_lead_to_is_one_instance() {
    let two = ["b", "a"].map(|host| Place { host: host.into(), ..place(1) });
    assert_eq!(sorted(two.to_vec()), [Place { host: "a".into(), ..place(1) }]);
}

/// R053: for as long as the outage lasts.
#[test]
fn what_is_known_stays_through_an_outage_and_grows_old() {
    let mut story = Story::new();
    story.hears(found(&[1]));
    for hour in 0..=60 {
        story.now = at(100 + hour * 60);
        let step = story.hears(Answer::failed("refused"));
        assert_eq!((step.outcome, step.is_change), (Outcome::Failed, false));
        assert_eq!(step.is_news, hour == 0, "one line for an outage");
        assert_eq!(story.ips(), ["10.0.0.1"]);
        assert_eq!(story.state.age(story.now), Duration::from_secs(hour * 60));
    }
    assert_eq!(story.state.why.as_deref(), Some("refused"));
    // The same answer as before the outage: no change, and young again.
    let step = story.hears(found(&[1]));
    assert_eq!((step.outcome, step.is_change, step.is_news), (Outcome::Unchanged, false, true));
    assert_eq!(story.state.age(story.now), Duration::ZERO);
    assert_eq!(story.state.why, None);
}

/// R053: a wrong empty answer evicts nothing unless it is confirmed.
#[test]
fn an_empty_answer_counts_from_the_third_in_a_row() {
    let mut story = Story::new();
    story.hears(found(&[1]));
    for round in 1..=2 {
        let step = story.hears(found(&[]));
        assert_eq!((step.outcome, step.is_change), (Outcome::Empty, false), "{round}");
        assert_eq!(story.ips(), ["10.0.0.1"]);
    }
    // One that is not empty begins the count anew; one that fails does not.
    story.hears(found(&[1]));
    story.hears(found(&[]));
    story.hears(Answer::failed("x"));
    assert!(!story.hears(found(&[])).is_change);
    let step = story.hears(found(&[]));
    assert_eq!((step.outcome, step.is_change, step.is_news), (Outcome::Empty, true, true));
    assert!(story.ips().is_empty());
    assert!(!story.hears(found(&[])).is_change, "it is empty already");
    assert!(story.hears(found(&[1])).is_change);
    assert!(!story.hears(found(&[])).is_change, "the count has begun anew");
}

#[test]
fn one_empty_answer_is_enough_where_it_is_configured_or_nothing_is_lost() {
    let mut story = Story::new();
    story.source.empty_answers = 1;
    story.hears(found(&[1]));
    assert!(story.hears(found(&[])).is_change);

    let mut story = Story::new();
    let step = story.hears(found(&[]));
    assert_eq!((step.outcome, step.is_change), (Outcome::Empty, false));
    assert!(story.state.is_answered);
    assert!(story.state.believed.is_some());
}

#[test]
fn the_next_look_up_is_after_the_refresh_time_or_the_ttl() {
    let ttl = |seconds| Answer { hint: Hint::Ttl(Duration::from_secs(seconds)), ..found(&[1]) };
    let mut story = Story::new();
    for (answer, pause) in [
        (found(&[1]), 10.0),
        (ttl(0), 1.0),
        (ttl(1), 1.0),
        (ttl(4), 4.0),
        (ttl(10), 10.0),
        (ttl(3600), 10.0),
        // Known, so that an outage asks no more often than usual (R051).
        (Answer::failed("x"), 10.0),
        (Answer::failed("x"), 10.0),
        (found(&[]), 10.0),
    ] {
        story.hears(answer);
        story.pauses(pause);
    }
}

#[test]
fn while_nothing_is_known_a_failure_is_repeated_sooner() {
    let mut story = Story::new();
    for pause in [1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
        story.hears(Answer::failed("x"));
        story.pauses(pause);
        assert!(story.state.is_answered, "nobody waits longer for it");
    }
    for _ in 0..100 {
        story.hears(Answer::failed("x"));
    }
    story.pauses(10.0);
}

#[test]
fn times_vary_by_a_tenth_and_never_below_a_second() {
    let mut story = Story::new();
    for (entropy, seconds) in [(0.0, 9.0), (1.0, 11.0)] {
        story.state.absorb(found(&[1]), &story.source, story.now, entropy);
        story.pauses(seconds);
    }
    story.state.absorb(watched(&[1], 7, false), &story.source, story.now, 0.0);
    story.pauses(1.0);
}

#[test]
fn a_source_that_waits_for_changes_is_asked_on() {
    let mut story = Story::new();
    story.hears(watched(&[1], 7, false));
    assert_eq!(story.state.cursor, 7);
    story.pauses(1.0);
    // It waited its time: nothing new.
    story.hears(watched(&[1], 7, false));
    story.pauses(1.0);
    // Early, because of a change.
    story.hears(watched(&[1, 2], 9, true));
    assert_eq!(story.state.cursor, 9);
    story.pauses(1.0);
    // Early without a change: it does not wait, so it is asked in the usual time.
    story.hears(watched(&[1, 2], 11, true));
    story.pauses(10.0);
    // It cannot say where it counts from, or began anew: asked from the beginning.
    story.hears(watched(&[1, 2], 0, false));
    assert_eq!(story.state.cursor, 0);
    story.pauses(10.0);
    story.hears(watched(&[1, 2], 12, false));
    story.hears(Answer::failed("x"));
    assert_eq!(story.state.cursor, 0);
}

/// Confirmation takes its time: a registry that answers at once must not confirm itself.
#[test]
fn an_empty_answer_of_a_waiting_source_is_confirmed_by_asking_not_by_waiting() {
    let mut story = Story::new();
    story.hears(watched(&[1], 7, false));
    for _ in 0..2 {
        story.hears(watched(&[], 8, true));
        assert_eq!(story.state.cursor, 0);
        story.pauses(10.0);
    }
    assert!(story.hears(watched(&[], 8, false)).is_change);
    assert_eq!(story.state.cursor, 8, "now wait for the first instance");
    story.pauses(1.0);
}

#[test]
fn a_feed_of_the_same_name_hands_on_what_it_knows() {
    let before = Believed { places: vec![place(1)].into(), confirmed: at(40) };
    let feed = Feed::new(source(), Some(before));
    assert_eq!(feed.places().len(), 1);
    let mut state = feed.state.lock();
    assert!(!state.is_answered, "the first answer is still waited for");
    assert_eq!(state.age(at(100)), Duration::from_mins(1));
    state.absorb(Answer::failed("x"), &feed.source, at(100), MIDDLE);
    assert_eq!(state.places().len(), 1);
}
