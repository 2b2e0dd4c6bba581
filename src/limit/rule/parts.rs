//! What a limit counts apart, and what stands for a part that a request lacks.

use super::has_errors_since;
use crate::edge::Part;
use crate::fault::{Fault, Hint, Reject};
use crate::model::{KeyPart, MissingKey, Problem, Problems, RateLimit};

/// A part of a rule's key.
#[derive(Debug)]
pub(in super::super) struct RulePart {
    /// As it stands in the configuration.
    pub(in super::super) word: Box<str>,
    /// How it is read.
    pub(in super::super) part: Part,
    /// What a client is told that lacks it.
    hint: Hint,
}

impl RulePart {
    fn compile(part: &KeyPart) -> Result<Self, String> {
        let hint = format!("requests are counted by {part} here, and this one has none");
        Ok(Self {
            word: part.to_string().into(),
            part: Part::compile(part)?,
            hint: Hint::from_config(hint),
        })
    }

    /// The refusal of a request that lacks it: names the part and nothing that the client sent.
    pub(in super::super) fn refusal(&self) -> Reject {
        Reject::new(Fault::LimitKeyMissing).with_hint(self.hint.clone())
    }
}

/// What stands for a part that a request lacks.
#[derive(Debug)]
pub(in super::super) enum Missing {
    /// Nothing: the request is refused.
    Refuse,
    /// The client's address.
    Client,
    /// Another part, and the client's address where that is missing too.
    Part(RulePart),
}

/// Leading bits of an address that are one client.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Prefixes {
    pub(in super::super) v4: u8,
    pub(in super::super) v6: u8,
}

impl Prefixes {
    pub(super) fn compile(model: &RateLimit, path: &str, problems: &mut Problems) -> Self {
        for (key, bits, most) in
            [("ipv4Prefix", model.ipv4_prefix, 32), ("ipv6Prefix", model.ipv6_prefix, 128)]
        {
            if !(1..=most).contains(&bits) {
                let message = format!("{bits} is no length of a prefix that tells clients apart");
                let help = format!("from 1 to {most}; for one budget of all, `key: [global]`");
                let place = format!("{path}.{key}");
                problems.push(Problem::error("limit.range", place, message).help(help));
            }
        }
        Self { v4: model.ipv4_prefix, v6: model.ipv6_prefix }
    }
}

/// The parts of a key; the route's name among them where each route has a budget of its own.
pub(super) fn compile(
    model: &RateLimit,
    path: &str,
    problems: &mut Problems,
) -> Option<Vec<RulePart>> {
    let key = &model.key;
    let path = format!("{path}.key");
    let before = problems.0.len();
    if key.is_empty() {
        problems.push(
            Problem::error("limit.key", &path, "the key has no parts")
                .help("name what is counted apart, such as `- clientIp` or `- tenantId`"),
        );
    }
    let mut parts = Vec::with_capacity(key.len() + 1);
    for (n, part) in key.iter().enumerate() {
        let path = format!("{path}[{n}]");
        if key.iter().take(n).any(|earlier| earlier == part) {
            let message = format!("`{part}` stands in this key twice");
            problems.push(Problem::error("limit.key", &path, message).help("remove one"));
        }
        parts.extend(part_at(part, &path, problems));
    }
    if model.per_route && !key.contains(&KeyPart::RouteName) {
        parts.extend(RulePart::compile(&KeyPart::RouteName));
    }
    if key.iter().any(is_chosen) && key.iter().filter(|part| counts(part)).all(is_chosen) {
        let message = "clients choose this key themselves and so their budget";
        let help = "add a part that they cannot choose, or rely on it only behind a trusted hop";
        problems.push(Problem::warning("limit.key_chosen_by_client", &path, message).help(help));
    }
    (!has_errors_since(before, problems)).then_some(parts)
}

/// What stands for missing parts.
pub(super) fn missing(model: &RateLimit, path: &str, problems: &mut Problems) -> Option<Missing> {
    let part = match &model.missing_key {
        MissingKey::Refuse => return Some(Missing::Refuse),
        MissingKey::Part(KeyPart::ClientIp) => return Some(Missing::Client),
        MissingKey::Part(part) => part,
    };
    let path = format!("{path}.missingKey");
    if model.key.iter().all(|own| own == part) {
        let message = format!("`{part}` cannot stand for itself");
        let help = "name another part, or `refuse`, or leave it out: then it is clientIp";
        problems.push(Problem::error("limit.key", &path, message).help(help));
        return None;
    }
    if is_chosen(part) {
        let message = format!("who leaves the key out chooses `{part}` and so a budget");
        let help = "name a part that clients cannot choose, such as clientIp, or `refuse`";
        problems.push(Problem::warning("limit.key_chosen_by_client", &path, message).help(help));
    }
    part_at(part, &path, problems).map(Missing::Part)
}

fn part_at(part: &KeyPart, path: &str, problems: &mut Problems) -> Option<RulePart> {
    if matches!(part, KeyPart::RequestId | KeyPart::Random) {
        let message = format!("`{part}` is new for every request, so nothing is limited");
        let help = "count by who asks: tenantId, userId, apiKey or clientIp";
        problems.push(Problem::error("limit.key", path, message).help(help));
        return None;
    }
    let compiled = RulePart::compile(part);
    compiled.map_err(|message| problems.push(Problem::error("limit.key", path, message))).ok()
}

/// Whether clients can make it what they like.
const fn is_chosen(part: &KeyPart) -> bool {
    matches!(part, KeyPart::Header(_) | KeyPart::Cookie(_))
}

/// Whether it tells callers apart.
const fn counts(part: &KeyPart) -> bool {
    !matches!(part, KeyPart::RouteName | KeyPart::Service | KeyPart::Global)
}
