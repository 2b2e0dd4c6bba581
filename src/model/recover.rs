//! From a parsed document to a [`Config`], with every problem of its form.
//!
//! The document is first checked and repaired against the schema ([`super::check`]), which finds
//! all problems in one pass, and then deserialised. Should deserialising still refuse something,
//! the schema and the types disagree; then the place it names is reported and cut out, and it
//! tries again, so that even a mistake of ours ends in a report and not in silence.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_path_to_error::Segment;
use serde_yaml::Value;

use super::check::Checker;
use super::path::{self, Step};
use super::shape::Shape;
use super::{Config, Problem};

/// What could be made of a document.
pub(super) struct Recovered {
    /// The configuration that is left; none if nothing is.
    pub(super) config: Option<Config>,
    /// Everything wrong with the form of the document.
    pub(super) problems: Vec<Problem>,
    /// Indexes of the items that were taken out, by the path of their list.
    pub(super) dropped: BTreeMap<String, BTreeSet<usize>>,
}

/// Times that deserialising may fail after the document has been checked.
const ATTEMPTS_MAX: usize = 100;

/// Makes a configuration of a document.
pub(super) fn recover(mut document: Value) -> Recovered {
    let Checker { mut problems, dropped } = Checker::check(&mut document, &Shape::of_config());
    for _ in 0..ATTEMPTS_MAX {
        // Tracking the path costs time that a sound document should not pay.
        if let Ok(config) = Config::deserialize(&document) {
            return Recovered { config: Some(config), problems, dropped };
        }
        let Err(error) = serde_path_to_error::deserialize::<_, Config>(&document) else { break };
        let steps: Vec<_> = error.path().iter().map_while(step).collect();
        let message = unquoted(&error.inner().to_string());
        problems.push(Problem::error("value.invalid", path::render(&steps), message));
        if !cut(&mut document, &steps) {
            break;
        }
    }
    Recovered { config: None, problems, dropped }
}

fn step(segment: &Segment) -> Option<Step> {
    match segment {
        Segment::Seq { index } => Some(Step::Item(*index)),
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// The part of a message of serde that does not repeat the value, which might be a secret.
fn unquoted(message: &str) -> String {
    let plain = message.starts_with("missing field") || message.starts_with("unknown field");
    match message.split_once(", expected ") {
        _ if plain => message.to_owned(),
        Some((_, expected)) => format!("expected {expected}"),
        None => "this value cannot be read".to_owned(),
    }
}

/// Takes the node at the end of the way out of the document; whether there was one.
fn cut(document: &mut Value, steps: &[Step]) -> bool {
    let Some((last, above)) = steps.split_last() else { return false };
    let mut node = document;
    for step in above {
        let below = match step {
            Step::Key(key) => node.get_mut(key),
            Step::Item(index) => node.get_mut(index),
        };
        let Some(below) = below else { return false };
        node = below;
    }
    match (last, node) {
        (Step::Key(key), Value::Mapping(mapping)) => mapping.shift_remove(key).is_some(),
        (Step::Item(index), Value::Sequence(items)) if *index < items.len() => {
            items.remove(*index);
            true
        }
        _ => false,
    }
}
