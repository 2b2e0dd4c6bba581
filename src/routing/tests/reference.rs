//! The table against the slow reference.

use super::super::Verdict;
use super::naive::{Ask, Auth, CLIENTS, Path, Rule, TIE, When, Who, decide};
use super::random::{self, METHODS, TENANTS, VALUES, VERSIONS};
use super::*;

/// A table, and the rules by the index of their routes.
struct Compiled<'a> {
    rules: &'a [Rule],
    table: Table,
}

impl<'a> Compiled<'a> {
    fn new(rules: &'a [Rule]) -> Self {
        let (table, problems) = compile(&json_of(rules));
        assert!(!problems.has_errors(), "{problems:?}");
        Self { rules, table }
    }

    fn ask(&self, ask: &Ask) -> (String, Caller) {
        super::ask(&self.table, &ask.to_request(), |index| {
            ask.proved(self.rules[index.0 as usize].auth).map(Who::identity)
        })
    }
}

fn json_of(rules: &[Rule]) -> Vec<Value> {
    rules.iter().map(Rule::json).collect()
}

/// Routes without ambiguous ones: of each pair the later is dropped.
fn random_rules(random: &mut fastrand::Rng) -> Vec<Rule> {
    let mut rules: Vec<Rule> =
        (0..random.usize(1..12)).map(|index| random::rule(random, index)).collect();
    let (_, problems) = compile(&json_of(&rules));
    let ambiguous = problems.0.iter().filter(|problem| problem.code == "route.ambiguous");
    let mut dropped: Vec<usize> = ambiguous
        .map(|problem| {
            let digits: String = problem.path.chars().filter(char::is_ascii_digit).collect();
            digits.parse().unwrap()
        })
        .collect();
    dropped.dedup();
    for index in dropped.into_iter().rev() {
        rules.remove(index);
    }
    rules
}

/// How often each kind of answer came.
#[derive(Debug, Default)]
struct Answers {
    routed: usize,
    method: usize,
    tenant: usize,
    nothing: usize,
    asked: usize,
}

/// Compares tables of random routes, in random order too, on random requests.
fn compare(seed: u64, tables: usize, requests: usize) -> Answers {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut answers = Answers::default();
    for _ in 0..tables {
        let rules = random_rules(&mut random);
        let compiled = Compiled::new(&rules);
        let mut shuffled = rules.clone();
        random.shuffle(&mut shuffled);
        let permuted = Compiled::new(&shuffled);
        for _ in 0..requests {
            let request = random::request(&mut random);
            let expected = decide(&rules, &request);
            let (given, caller) = compiled.ask(&request);
            assert_eq!(given, expected, "seed {seed}: {request:?}\n{rules:#?}");
            let (other, _) = permuted.ask(&request);
            assert_eq!(other, given, "seed {seed}: order matters");
            let count = match &*given {
                "403" => &mut answers.tenant,
                "404" => &mut answers.nothing,
                given if given.starts_with("405") => &mut answers.method,
                _ => &mut answers.routed,
            };
            *count += 1;
            answers.asked += usize::from(!caller.is_unknown());
        }
    }
    answers
}

/// Tables of a run, each with a hundred requests. `make property` asks for a million requests.
fn tables() -> usize {
    let set = std::env::var("TIDEGATE_PROPERTY_TABLES").ok();
    set.map_or(2_000, |tables| tables.parse().unwrap())
}

/// R023, R027, R196.
#[test]
fn the_table_agrees_with_the_reference() {
    let (seed, tables) = (0x7469_6465, tables());
    let answers = compare(seed, tables, 100);
    let share = |count: usize, percent: usize| count > tables * percent;
    assert!(share(answers.routed, 15) && share(answers.nothing, 10), "{answers:?}");
    assert!(share(answers.method, 3) && share(answers.asked, 10), "{answers:?}");
    assert!(answers.tenant > tables / 5, "{answers:?}");
    // And another seed for every run, which the message names when it fails.
    compare(fastrand::u64(..), 50, 100);
}

#[test]
fn a_trace_chooses_what_the_table_finds() {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..200 {
        let rules = random_rules(&mut random);
        let compiled = Compiled::new(&rules);
        for _ in 0..50 {
            let ask = random::request(&mut random);
            let (given, mut caller) = compiled.ask(&ask);
            // Everybody is told who calls, so that each verdict is final.
            for (index, rule) in (0..).zip(&rules) {
                if let Some(set) = compiled.table.credentials(RouteIndex(index))
                    && caller.proof(set).is_none()
                {
                    caller.learn(set, ask.proved(rule.auth).map(Who::identity));
                }
            }
            let trace = compiled.table.trace(&ask.to_request().view(), &caller);
            assert_eq!(trace.len(), rules.len());
            let chosen: Vec<_> =
                trace.iter().filter(|c| c.verdict == Verdict::Chosen).map(|c| &*c.name).collect();
            let expected = if given.starts_with('r') { vec![&*given] } else { vec![] };
            assert_eq!(chosen, expected, "{ask:?} {rules:#?}");
            for candidate in &trace {
                let rule = &rules[candidate.index.0 as usize];
                let failed = matches!(candidate.verdict, Verdict::Failed(_));
                assert_eq!(rule.matches(&ask), !failed, "{candidate:?} {ask:?} {rule:#?}");
            }
        }
    }
}

/// Requests that differ in everything that the conditions of these routes look at.
fn witnesses(rules: &[Rule]) -> Vec<Ask> {
    let plain = Ask {
        method: "GET",
        host: "b.a.x",
        path: "/a",
        a: None,
        b: None,
        q: None,
        version: None,
        client: CLIENTS[0].0,
        trusted: true,
        token: None,
        key: None,
    };
    let vary = |asks: Vec<Ask>, change: &dyn Fn(&Ask) -> Vec<Ask>| -> Vec<Ask> {
        asks.iter().flat_map(change).collect()
    };
    let mut asks: Vec<Ask> = METHODS.map(|method| Ask { method, ..plain.clone() }).to_vec();
    let conditions = || rules.iter().flat_map(|rule| &rule.conditions);
    let any = |wanted: fn(&When) -> bool| conditions().any(wanted);
    if any(|when| matches!(when, When::Header("x-a", ..))) {
        asks = vary(asks, &|ask| VALUES.map(|a| Ask { a, ..ask.clone() }).to_vec());
    }
    if any(|when| matches!(when, When::Header("x-b", ..))) {
        asks = vary(asks, &|ask| VALUES.map(|b| Ask { b, ..ask.clone() }).to_vec());
    }
    if any(|when| matches!(when, When::Query(_))) {
        asks = vary(asks, &|ask| VALUES.map(|q| Ask { q, ..ask.clone() }).to_vec());
    }
    if any(|when| matches!(when, When::Version(_))) {
        asks = vary(asks, &|ask| VERSIONS.map(|version| Ask { version, ..ask.clone() }).to_vec());
    }
    if any(|when| matches!(when, When::Region(_))) {
        asks =
            vary(asks, &|ask| CLIENTS.map(|(client, ..)| Ask { client, ..ask.clone() }).to_vec());
    }
    if any(|when| matches!(when, When::Tenant(_) | When::Claim(..))) {
        let people = people(any(|when| matches!(when, When::Claim("roles", _))));
        asks = vary(asks, &|ask| {
            people.iter().map(|who| Ask { token: Some(who.clone()), ..ask.clone() }).collect()
        });
        if rules.iter().any(|rule| rule.auth == Auth::KeyOnly) {
            asks = vary(asks, &|ask| {
                people.iter().map(|who| Ask { key: Some(who.clone()), ..ask.clone() }).collect()
            });
        }
    }
    asks
}

fn people(with_roles: bool) -> Vec<Who> {
    let roles = if with_roles { vec![vec![], vec!["1"], vec!["1", "2"]] } else { vec![vec![]] };
    let mut people = Vec::new();
    for tenant in TENANTS {
        for plan in VALUES {
            for roles in &roles {
                people.push(Who { tenant: Some(tenant), plan, roles: roles.clone() });
            }
        }
    }
    people
}

/// No false alarms: every reported pair has a request that ties it. Left out is what only the
/// world decides, which the table does not know: which path an expression takes, which country
/// lies on which continent.
#[test]
fn reported_ties_are_real() {
    let mut random = fastrand::Rng::with_seed(13);
    let (mut reported, mut apart) = (0, 0);
    while reported < 60 || apart < 60 {
        let mut pair = [random::rule(&mut random, 0), random::rule(&mut random, 1)];
        for rule in &mut pair {
            if rule.auth == Auth::None {
                rule.auth = Auth::Required;
            }
            rule.host = Some("b.a.x");
            rule.path = Path::Exact("/a");
            rule.priority = 0;
            for condition in &mut rule.conditions {
                if let When::Region(places) = condition {
                    places.retain(|place| !place.starts_with("continent"));
                    places.push("JP");
                }
            }
        }
        let [one, other] = &pair;
        let same_rank = one.conditions.len() == other.conditions.len()
            && one.methods.is_empty() == other.methods.is_empty();
        let asks = if same_rank && !one.conditions.is_empty() { witnesses(&pair) } else { vec![] };
        if asks.is_empty() || asks.len() > 600 {
            continue;
        }
        let (_, problems) = compile(&json_of(&pair));
        let tie = problems.0.iter().any(|problem| problem.code == "route.ambiguous");
        let witness = asks.iter().any(|ask| decide(&pair, ask) == TIE);
        assert_eq!(tie, witness, "{pair:#?}");
        reported += usize::from(tie);
        apart += usize::from(!tie);
    }
}
