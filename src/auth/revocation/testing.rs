//! Revocations for the tests of this module.

use super::record::{Grounds, Record};

/// A second in which tests take place.
pub(in crate::auth) const NOW: u64 = 1_800_000_000;

/// A revocation of a token, made a moment ago, good for an hour.
pub(in crate::auth) fn of_token(id: &str) -> Record {
    made(Grounds::Token { id: id.to_owned(), provider: None })
}

/// A revocation of a caller of `main`.
pub(in crate::auth) fn of_caller(subject: &str, issued_before: Option<u64>) -> Record {
    let (provider, subject) = ("main".to_owned(), subject.to_owned());
    made(Grounds::Subject { provider, subject, issued_before })
}

/// A revocation of everything that a provider issued before a time.
pub(in crate::auth) fn of_provider(provider: &str, issued_before: u64) -> Record {
    made(Grounds::Provider { provider: provider.to_owned(), issued_before })
}

fn made(grounds: Grounds) -> Record {
    Record::new(grounds, NOW + 3600, (NOW - 1) * 1000)
}
