//! `revocation`, checked, with the names that may stand in an order.

use std::time::Duration;

use crate::model::{self, Problem, Problems};

/// Longest time between two readings: with it a revocation is everywhere within five seconds even
/// if no news come through.
const INTERVAL_MAX: Duration = Duration::from_secs(4);
/// Shortest time between two readings.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Most revocations that a list may be configured to hold.
const ENTRIES_MAX: usize = 1_000_000;

/// `revocation` and who there is to be revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::auth) struct Settings {
    pub(in crate::auth) written: model::Revocation,
    /// Everybody who may vouch for a caller: names of providers, and of the other ways.
    pub(in crate::auth) vouchers: Vec<String>,
}

impl Settings {
    /// Checks `revocation`.
    pub(in crate::auth) fn compile(
        written: &model::Revocation,
        vouchers: Vec<String>,
        problems: &mut Problems,
    ) -> Self {
        let mut error = |key: &str, message: &str, help: &str| {
            let path = format!("revocation.{key}");
            problems.push(Problem::error("revocation.setting", path, message).help(help));
        };
        if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&written.interval.get()) {
            let message = "the shared list is read every 100ms to 4s, so that a revocation is \
                           in force everywhere within five seconds";
            error("interval", message, "3s is usual");
        }
        if !(1..=ENTRIES_MAX).contains(&written.max_entries) {
            let message = "a list holds 1 to 1000000 revocations";
            error("maxEntries", message, "100000 is usual, and takes some 50 MB when full");
        }
        if written.max_token_lifetime.get().as_secs() == 0 {
            let message = "revocations without an end of their own would end at once";
            let help = "give the time that the longest-lived token is good for";
            error("maxTokenLifetime", message, help);
        }
        Self { written: written.clone(), vouchers }
    }

    /// Whether somebody of this name may vouch for callers.
    pub(super) fn vouches(&self, name: &str) -> bool {
        self.vouchers.iter().any(|voucher| voucher == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_all_named() {
        let lines = |yaml: &str| {
            let mut problems = Problems::default();
            let written: model::Revocation = serde_json::from_str(yaml).unwrap();
            Settings::compile(&written, Vec::new(), &mut problems);
            problems.0.iter().map(|problem| problem.path.clone()).collect::<Vec<_>>()
        };
        let bad = r#"{"interval": "4001ms", "maxEntries": 0, "maxTokenLifetime": "0s"}"#;
        let all = ["interval", "maxEntries", "maxTokenLifetime"];
        assert_eq!(lines(bad), all.map(|key| format!("revocation.{key}")));
        for good in ["{}", r#"{"interval": "100ms", "maxEntries": 1000000}"#] {
            assert_eq!(lines(good), [""; 0], "{good}");
        }
        assert_eq!(lines(r#"{"interval": "4s", "maxEntries": 1}"#), [""; 0]);
        let bad = r#"{"interval": "99ms", "maxEntries": 1000001}"#;
        assert_eq!(lines(bad), ["revocation.interval", "revocation.maxEntries"]);
    }
}
