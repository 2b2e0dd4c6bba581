//! A key in words, for explanations.

use std::net::IpAddr;

use super::super::rule::{LimitRule, RulePart};
use super::value::{COMMA, Value};
use super::{Stands, stands};
use crate::edge::Facts;

/// Value of each part in words, in the order of the rule; says where a part was missing and what
/// stood for it.
pub(in super::super) fn describe(rule: &LimitRule, facts: &Facts<'_>) -> Vec<(String, String)> {
    let words = |part: &RulePart| {
        let value = match stands(rule, part, facts) {
            Ok(Stands::Present(value)) => value.words(),
            Ok(Stands::Part(value, other)) => {
                format!("{} ({}: no {})", value.words(), other.word, part.word)
            }
            Ok(Stands::Client(value)) => {
                format!("{} (client address: no {})", value.words(), part.word)
            }
            Err(_) => format!("none (refused: no {})", part.word),
        };
        (part.word.to_string(), value)
    };
    rule.parts.iter().map(words).collect()
}

impl Value<'_> {
    fn words(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Self::Nothing => "every request".to_owned(),
            Self::Bytes(bytes) => text(bytes),
            Self::Lines(lines) => text(&lines.iter().collect::<Vec<_>>().join(COMMA)),
            Self::Json(json) => json.to_string(),
            Self::Address(IpAddr::V4(v4), bits @ 0..32) => format!("{v4}/{bits}"),
            Self::Address(IpAddr::V6(v6), bits @ 0..128) => format!("{v6}/{bits}"),
            Self::Address(address, _) => address.to_string(),
        }
    }
}
