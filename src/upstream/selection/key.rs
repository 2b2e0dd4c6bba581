//! The key by which requests are kept on one endpoint.

use crate::edge::{Facts, Part};
use crate::model::{KeyPart, LoadBalancing, Problem};
use crate::upstream::findings::Findings;
use crate::upstream::murmur3_32;

/// The parts of a key, in the order in which they are tried.
#[derive(Debug)]
pub(in crate::upstream) struct HashKey(Box<[Part]>);

impl HashKey {
    /// Compiles `hashKey`; `place` is that of `loadBalancing`.
    pub(in crate::upstream) fn compile(
        model: &LoadBalancing,
        place: &str,
        findings: &mut Findings<'_>,
    ) -> Self {
        let parts = model.hash_key.iter().enumerate().filter_map(|(index, part)| {
            compile_part(part, &format!("{place}.hashKey[{index}]"), findings)
        });
        let mut parts: Vec<Part> = parts.collect();
        if model.hash_key.is_empty() {
            parts.push(Part::UserId);
        }
        // What every request has.
        parts.push(Part::ClientIp);
        Self(parts.into())
    }

    /// The hash of a request's key. A part that is there but empty counts as absent.
    pub(in crate::upstream) fn hash(&self, facts: &Facts<'_>) -> u64 {
        let mut keys = self.0.iter().filter_map(|part| part.read(facts));
        let key = keys.find(|key| !key.is_empty()).unwrap_or_default();
        let half = |seed| u64::from(murmur3_32(&key, seed));
        half(0) << 32 | half(1)
    }
}

fn compile_part(part: &KeyPart, place: &str, findings: &mut Findings<'_>) -> Option<Part> {
    let why = match part {
        KeyPart::RouteName | KeyPart::Plan => "is the same for too many callers",
        KeyPart::Random | KeyPart::RequestId => "is another for each request",
        _ => match Part::compile(part) {
            Ok(part) => return Some(part),
            Err(wrong) => {
                findings.error(Problem::error("balance.hash_key", place, wrong));
                return None;
            }
        },
    };
    findings.error(
        Problem::error(
            "balance.hash_key",
            place,
            format!("`{part}` {why} to keep callers on an endpoint by"),
        )
        .help("one of userId, tenantId, apiKey, clientIp, header:NAME, cookie:NAME, claim:NAME"),
    );
    None
}
