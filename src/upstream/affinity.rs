//! What keeps a caller on one version: the key that a split hashes.
//!
//! The first configured part that a request has is the key; without configuration the verified
//! user, then the request id (R044). Identity is read from [`Identity`](crate::edge::Identity)
//! only, so that a client which sends `x-user-id` itself does not choose its bucket (T16).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::findings::Findings;
use super::{BUCKETS, murmur3_32};
use crate::edge::{Facts, Part, is_same_variable};
use crate::model::{IdentityHeader, KeyPart, Problem};

/// The parts of a split's key, in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Affinity {
    parts: Box<[Named]>,
}

/// A part and its word in the configuration.
#[derive(Debug)]
struct Named {
    part: Part,
    name: Cow<'static, str>,
}

impl Affinity {
    /// Compiles `splitKey`; problems carry `path` (`routes[3].upstream`). Without usable parts
    /// the default order is taken.
    pub(super) fn compile(
        parts: &[KeyPart],
        identity_headers: &BTreeMap<String, IdentityHeader>,
        path: &str,
        findings: &mut Findings<'_>,
    ) -> Self {
        let mut compiled = Vec::with_capacity(parts.len());
        for (index, part) in parts.iter().enumerate() {
            let place = format!("{path}.splitKey[{index}]");
            if parts.iter().take(index).any(is_always_there) {
                findings.warning(Problem::warning(
                    "split.key",
                    place.as_str(),
                    format!("`{part}` is never the key: every request has the part before it"),
                ));
            }
            warn_if_spoofable(part, identity_headers, &place, findings);
            if let Some(named) = compile_part(part, &place, findings) {
                compiled.push(named);
            }
        }
        if compiled.is_empty() {
            compiled.push(Named { part: Part::UserId, name: Cow::Borrowed("userId") });
        }
        Self { parts: compiled.into() }
    }

    /// The bucket of a request, below [`BUCKETS`], and the part that was its key. `entropy`
    /// serves the part `random`. A part that is there but empty counts as absent, else all who
    /// send it empty would move together.
    pub(super) fn bucket(&self, facts: &Facts<'_>, entropy: u64) -> (u32, Cow<'static, str>) {
        self.parts
            .iter()
            .find_map(|named| Some((bucket_by(&named.part, facts, entropy)?, named.name.clone())))
            .unwrap_or_else(|| (bucket_of(facts.request_id.as_bytes()), REQUEST_ID))
    }
}

fn bucket_by(part: &Part, facts: &Facts<'_>, entropy: u64) -> Option<u32> {
    match part {
        Part::Random => u32::try_from(entropy % u64::from(BUCKETS)).ok(),
        // The same bytes as `Part::read`, without its allocation.
        Part::ClientIp => Some(match facts.view.client {
            IpAddr::V4(v4) => bucket_of(&v4.octets()),
            IpAddr::V6(v6) => bucket_of(&v6.octets()),
        }),
        other => other.read(facts).filter(|key| !key.is_empty()).map(|key| bucket_of(&key)),
    }
}

fn bucket_of(key: &[u8]) -> u32 {
    murmur3_32(key, SEED) % BUCKETS
}

fn is_always_there(part: &KeyPart) -> bool {
    matches!(part, KeyPart::ClientIp | KeyPart::RequestId | KeyPart::Random)
}

fn warn_if_spoofable(
    part: &KeyPart,
    identity_headers: &BTreeMap<String, IdentityHeader>,
    place: &str,
    findings: &mut Findings<'_>,
) {
    let KeyPart::Header(name) = part else { return };
    let Some(fact) = identity_headers
        .iter()
        .find_map(|(header, fact)| is_same_variable(header, name).then_some(fact))
    else {
        return;
    };
    findings.warning(
        Problem::warning(
            "split.spoofable",
            place,
            format!("`header:{name}` is never the key: what clients send of identity is removed"),
        )
        .help(match fact.fact.as_str() {
            "subject" => "`userId` is the verified subject",
            "tenantId" => "`tenantId` is the verified tenant",
            _ => "`claim:NAME` is read from the verified token",
        }),
    );
}

fn compile_part(part: &KeyPart, place: &str, findings: &mut Findings<'_>) -> Option<Named> {
    let name = match part {
        KeyPart::TenantId => Cow::Borrowed("tenantId"),
        KeyPart::UserId => Cow::Borrowed("userId"),
        KeyPart::ApiKey => Cow::Borrowed("apiKey"),
        KeyPart::ClientIp => Cow::Borrowed("clientIp"),
        KeyPart::RequestId => REQUEST_ID,
        KeyPart::Random => Cow::Borrowed("random"),
        KeyPart::Header(_) | KeyPart::Cookie(_) | KeyPart::Claim(_) => part.to_string().into(),
        KeyPart::RouteName | KeyPart::Service | KeyPart::Global | KeyPart::Plan => {
            findings.error(
                Problem::error(
                    "split.key",
                    place,
                    format!("`{part}` is the same for too many callers to split traffic by"),
                )
                .help(
                    "one of userId, tenantId, apiKey, clientIp, requestId, random, header:NAME, \
                     cookie:NAME, claim:NAME",
                ),
            );
            return None;
        }
    };
    match Part::compile(part) {
        Ok(part) => Some(Named { part, name }),
        Err(wrong) => {
            findings.error(Problem::error("split.key", place, wrong));
            None
        }
    }
}

/// The key of those who have none of the configured parts.
const REQUEST_ID: Cow<'static, str> = Cow::Borrowed("requestId");

/// Seed of the bucket hash; part of the contract, because other programs compute buckets too.
const SEED: u32 = 0;
