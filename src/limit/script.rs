//! The Lua script that takes from counters in Redis, and how a call to it is laid out.
//!
//! One script made of three files: `lua/README.md` says why and holds the contract.

/// The script: both algorithms, then the part that reads, decides and writes.
pub const TAKE: &str = concat!(
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/token_bucket.lua")),
    "\n",
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/sliding_window.lua")),
    "\n",
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/take.lua")),
);

/// Arguments for each rule: algorithm, limit, cost, two numbers of the algorithm.
pub const RULE_ARGS: usize = 5;

/// Integers for each rule in the reply: allowed, remaining, milliseconds until reset.
pub const RULE_REPLIES: usize = 3;

/// Version of the meaning of what the script stores; part of every key, so that nodes with
/// different scripts never share a counter during a rolling deployment.
pub const KEY_VERSION: &str = "rl1";

use super::math::{Algorithm, Numbers};

/// The arguments of one rule in the order of the script: its algorithm's name and its numbers.
#[must_use]
pub const fn arguments(numbers: &Numbers) -> (&'static str, [u64; RULE_ARGS - 1]) {
    let Numbers { limit, cost, algorithm } = *numbers;
    match algorithm {
        Algorithm::TokenBucket { units_per_us, units_per_token } => {
            ("token_bucket", [limit, cost, units_per_us, units_per_token])
        }
        Algorithm::SlidingWindow { window_ms } => ("sliding_window", [limit, cost, window_ms, 0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_and_the_code_agree_on_the_arity() {
        assert!(TAKE.contains(&format!("local RULE_ARGS = {RULE_ARGS}\n")));
        assert!(TAKE.contains(&format!("per rule {RULE_ARGS}: algorithm")));
        assert!(TAKE.contains(&format!("per rule {RULE_REPLIES} integers")));
    }

    #[test]
    fn the_algorithms_never_touch_redis() {
        let (pure, _) = TAKE.split_once("\n-- take:").unwrap();
        let code = pure.lines().filter(|line| !line.starts_with("--"));
        assert!(code.clone().count() > 20);
        assert!(code.clone().all(|line| !line.contains("redis.")));
    }
}
