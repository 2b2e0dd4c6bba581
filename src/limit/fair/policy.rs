//! `overload`, compiled.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;

use crate::edge::{Facts, Part};
use crate::model::{self, ByteSize, KeyPart, Problem, Problems};

/// The longest that a request may be made to wait: longer than any route's timeout (R177) makes
/// no sense.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The shortest time that a timer can tell from none.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// How this node is shared while it is full.
#[derive(Clone, Debug)]
pub struct Overload {
    /// Requests served at once; none where they are not counted.
    pub max_in_flight: Option<u32>,
    /// Memory that the process may hold, in bytes.
    pub max_memory: Option<u64>,
    /// Requests that may wait.
    pub(super) queue_limit: usize,
    /// How long each of them may.
    pub(super) queue_timeout: Duration,
    by: Part,
}

impl Overload {
    /// Compiles `overload`; none where a problem is an error.
    #[must_use]
    pub fn compile(model: &model::Overload, problems: &mut Problems) -> Option<Self> {
        let mut sound = true;
        let mut error = |key: &str, what: String| {
            sound = false;
            problems.push(Problem::error("overload.value", format!("overload.{key}"), what));
        };
        let max_memory = model.max_memory.map(ByteSize::get);
        if model.max_in_flight == Some(0) {
            error("maxInFlight", "0 would serve nobody: at least 1".to_owned());
        }
        if max_memory == Some(0) {
            error("maxMemory", "0 would serve nobody".to_owned());
        }
        if model.max_in_flight.is_none() && max_memory.is_none() {
            error(
                "maxInFlight",
                "neither this nor `maxMemory` is given: nothing is bounded".into(),
            );
        }
        let wait = model.queue_timeout.get();
        if !(WAIT_MIN..=WAIT_MAX).contains(&wait) {
            error("queueTimeout", "this is not between 1 ms and 30 s".to_owned());
        }
        let by = Self::judge_part(&model.fair_by, problems);
        Some(Self {
            max_in_flight: model.max_in_flight,
            max_memory,
            queue_limit: usize::try_from(model.queue_limit).unwrap_or(usize::MAX),
            queue_timeout: wait,
            by: by.filter(|_| sound)?,
        })
    }

    fn judge_part(part: &KeyPart, problems: &mut Problems) -> Option<Part> {
        let place = "overload.fairBy";
        let refused = match part {
            KeyPart::RequestId | KeyPart::Random => Some("is new for every request"),
            KeyPart::Global => Some("is the same for all: nobody could be told apart"),
            _ => None,
        };
        if let Some(why) = refused {
            problems.push(
                Problem::error("overload.fair_by", place, format!("`{part}` {why}"))
                    .help("use `tenantId`, `userId`, `apiKey`, `plan` or `clientIp`"),
            );
            return None;
        }
        if matches!(part, KeyPart::Header(_) | KeyPart::Cookie(_)) {
            problems.push(Problem::warning(
                "overload.fair_by",
                place,
                format!("clients choose `{part}`: one of them can take the shares of many"),
            ));
        }
        match Part::compile(part) {
            Ok(part) => Some(part),
            Err(why) => {
                problems.push(Problem::error("overload.fair_by", place, why));
                None
            }
        }
    }

    /// Who a request counts for, as a number that `hasher` makes of it. A request that lacks the
    /// part counts for its client's address.
    pub(super) fn who(&self, facts: &Facts<'_>, hasher: &impl BuildHasher) -> u64 {
        let address = || hasher.hash_one((BY_ADDRESS, subscriber(facts.view.client)));
        if self.by == Part::ClientIp {
            return address();
        }
        match self.by.read(facts) {
            Some(Cow::Borrowed([])) | None => address(),
            Some(value) => hasher.hash_one((BY_PART, value)),
        }
    }
}

/// Keeps values of the part and addresses apart.
const BY_ADDRESS: u8 = 0;
const BY_PART: u8 = 1;

/// An address without what a single subscriber may choose: of IPv6 the first 64 bits count.
fn subscriber(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            [a, b, c, d].iter().fold(0, |bits, part| bits << 16 | u64::from(*part))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(yaml: &str) -> (Option<Overload>, Vec<(&'static str, String)>) {
        let mut problems = Problems::default();
        let overload = Overload::compile(&serde_yaml::from_str(yaml).unwrap(), &mut problems);
        let errors = problems.0.iter().map(|problem| (problem.code, problem.path.clone()));
        (overload, errors.collect())
    }

    #[test]
    fn defaults_are_sound() {
        let (overload, problems) = compiled("maxInFlight: 1");
        let overload = overload.unwrap();
        assert!(problems.is_empty());
        assert_eq!((overload.max_in_flight, overload.queue_limit), (Some(1), 100));
        assert_eq!(overload.queue_timeout, Duration::from_millis(100));
        assert_eq!(overload.by, Part::TenantId);
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let yaml = "{maxInFlight: 0, queueTimeout: 31s, fairBy: requestId}";
        let (overload, problems) = compiled(yaml);
        assert!(overload.is_none());
        let value = |key: &str| ("overload.value", format!("overload.{key}"));
        let by = ("overload.fair_by", "overload.fairBy".to_owned());
        assert_eq!(problems, [value("maxInFlight"), value("queueTimeout"), by]);
        for (wait, sound) in [("0ms", false), ("1ms", true), ("30s", true)] {
            let yaml = format!("{{maxInFlight: 1, queueTimeout: {wait}}}");
            assert_eq!(compiled(&yaml).0.is_some(), sound, "{wait}");
        }
    }

    #[test]
    fn something_is_bounded() {
        let value = |key: &str| vec![("overload.value", format!("overload.{key}"))];
        assert_eq!(compiled("{queueLimit: 5}").1, value("maxInFlight"));
        assert_eq!(compiled("{maxMemory: 0}").1, value("maxMemory"));
        let (overload, problems) = compiled("{maxMemory: 1MiB}");
        assert!(problems.is_empty());
        let overload = overload.unwrap();
        assert_eq!((overload.max_in_flight, overload.max_memory), (None, Some(1 << 20)));
    }

    #[test]
    fn what_clients_choose_is_warned_about() {
        for (by, problems) in [
            ("tenantId", 0),
            ("clientIp", 0),
            ("routeName", 0),
            ("'claim:org'", 0),
            ("'header:x-tenant'", 1),
            ("'cookie:tenant'", 1),
        ] {
            let (overload, found) = compiled(&format!("{{maxInFlight: 1, fairBy: {by}}}"));
            assert!(overload.is_some(), "{by}");
            assert_eq!(found.len(), problems, "{by}");
        }
        for by in ["random", "global", "'header:not a name'"] {
            assert!(compiled(&format!("{{maxInFlight: 1, fairBy: {by}}}")).0.is_none(), "{by}");
        }
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one() {
        let number = |text: &str| subscriber(text.parse().unwrap());
        assert_eq!(number("2001:db8:1:2::1"), number("2001:db8:1:2:ffff::9"));
        assert_ne!(number("2001:db8:1:2::1"), number("2001:db8:1:3::1"));
        assert_eq!(number("::ffff:10.0.0.1"), number("10.0.0.1"));
        assert_ne!(number("10.0.0.1"), number("10.0.0.2"));
    }
}
