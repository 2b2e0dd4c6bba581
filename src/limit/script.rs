//! The Lua scripts that work on counters in Redis, and how calls to them are laid out.
//!
//! Each script is made of the algorithms, what all share, and its own part: `lua/README.md` says
//! why and holds the contract.

use super::math::{Algorithm, Ask, Numbers};

/// The algorithms and what all scripts share, then the files that are named.
macro_rules! script {
    ($($own:literal),+) => {
        concat!(
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/token_bucket.lua")), "\n",
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/sliding_window.lua")), "\n",
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/sliding_log.lua")), "\n",
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/fixed_window.lua")), "\n",
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/quota.lua")), "\n",
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/concurrency.lua")), "\n",
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/counters.lua")), "\n",
            $(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/", $own)),)+
        )
    };
}

/// Takes from counters, all or nothing.
pub const TAKE: &str = script!("take.lua");

/// Takes without asking whether there is enough.
pub const CHARGE: &str = script!("charge.lua");

/// Puts back what was taken and is not needed.
pub const GIVE_BACK: &str = script!("give_back.lua");

/// Gives places free.
pub const RELEASE: &str = script!("release.lua");

/// Holds places for longer.
pub const RENEW: &str = script!("renew.lua");

/// Tells how counters stand, without changing anything.
pub const PEEK: &str = script!("peek.lua");

/// Arguments for each rule of [`TAKE`]: algorithm, then the numbers of [`arguments`].
pub const RULE_ARGS: usize = 10;

/// Arguments of a counter alone: algorithm, then the numbers of [`counter`].
pub const COUNTER_ARGS: usize = 6;

/// Integers for each rule in the reply of [`TAKE`], with a space between any two: allowed, taken,
/// remaining, milliseconds until reset, begin of the window.
pub const RULE_REPLIES: usize = 5;

/// Integers for each counter in the reply of [`PEEK`]: used, remaining, milliseconds until reset,
/// begin of the window.
pub const PEEK_REPLIES: usize = 4;

/// Version of the meaning of what the scripts store; part of every key, so that nodes with
/// different scripts never share a counter during a rolling deployment.
pub const KEY_VERSION: &str = "rl2";

/// The name of a rule's algorithm, and its own numbers.
#[must_use]
pub const fn algorithm(numbers: &Numbers) -> (&'static str, [u64; 4]) {
    match numbers.algorithm {
        Algorithm::TokenBucket { units_per_us, units_per_token } => {
            ("token_bucket", [units_per_us, units_per_token, 0, 0])
        }
        Algorithm::SlidingWindow { window_ms } => ("sliding_window", [window_ms, 0, 0, 0]),
        Algorithm::SlidingLog { window_ms } => ("sliding_log", [window_ms, 0, 0, 0]),
        Algorithm::FixedWindow { window_ms } => ("fixed_window", [window_ms, 0, 0, 0]),
        Algorithm::Quota { bounds } => ("quota", bounds),
        Algorithm::Concurrency { hold_ms } => ("concurrency", [hold_ms, 0, 0, 0]),
    }
}

/// The arguments of a counter: its algorithm's name; limit and the algorithm's own numbers.
#[must_use]
pub const fn counter(numbers: &Numbers) -> (&'static str, [u64; COUNTER_ARGS - 1]) {
    let (name, [a, b, c, d]) = algorithm(numbers);
    (name, [numbers.limit, a, b, c, d])
}

/// The arguments of one rule of [`TAKE`]: those of its counter; cost, want, share, shadow.
#[must_use]
pub const fn arguments(numbers: &Numbers, ask: &Ask) -> (&'static str, [u64; RULE_ARGS - 1]) {
    let (name, [limit, a, b, c, d]) = counter(numbers);
    (name, [limit, a, b, c, d, ask.cost, ask.want, ask.share, ask.shadow as u64])
}

/// The members that a call has in the counter of an algorithm that remembers requests.
pub fn members(call: &str, amount: u64) -> impl Iterator<Item = String> {
    let first = (amount > 0).then(|| call.to_owned());
    first.into_iter().chain((2..=amount).map(move |n| format!("{call}:{n}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_and_the_code_agree_on_the_arity() {
        assert!(TAKE.contains(&format!("local RULE_ARGS = {RULE_ARGS}\n")));
        assert!(TAKE.contains(&format!("per rule {RULE_ARGS}: the counter ({COUNTER_ARGS},")));
        assert!(TAKE.contains(&format!("per rule {RULE_REPLIES} integers")));
        assert!(TAKE.contains(&format!("A counter in ARGV takes {COUNTER_ARGS}:")));
        assert!(PEEK.contains(&format!("per key {COUNTER_ARGS}: the counter")));
        assert!(PEEK.contains(&format!("per key {PEEK_REPLIES} integers")));
    }

    #[test]
    fn the_algorithms_never_touch_redis() {
        let (pure, _) = TAKE.split_once("\n-- counters:").unwrap();
        let code = pure.lines().filter(|line| !line.starts_with("--"));
        assert!(code.clone().count() > 100);
        assert!(code.clone().all(|line| !line.contains("redis.")));
    }

    #[test]
    fn every_member_of_a_call_has_a_name() {
        assert_eq!(members("c", 3).collect::<Vec<_>>(), ["c", "c:2", "c:3"]);
        assert_eq!(members("c", 1).collect::<Vec<_>>(), ["c"]);
        assert_eq!(members("c", 0).count(), 0);
    }
}
