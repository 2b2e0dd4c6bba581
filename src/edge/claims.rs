//! What a caller's proof says, as long as it is needed.
//!
//! A node remembers tens of thousands of verified tokens, and few routes ask for a claim that is
//! no fact. Members that have been read take eight times the memory of their text and thirty
//! allocations, each of them cold when the token has to leave again: so the text is what is kept,
//! and it is read when somebody asks.

use std::fmt;
use std::ops::Deref;
use std::sync::OnceLock;

use serde_json::{Map, Value};

/// The members of a verified JSON object.
///
/// Dereferences to them; the first who does so after the text alone was kept has them read again.
#[derive(Default)]
pub struct Claims {
    /// What `members` are read from; none where they were never text.
    text: Option<Box<[u8]>>,
    members: OnceLock<Map<String, Value>>,
    weight: usize,
}

impl Claims {
    /// Claims that are kept as their JSON text in UTF-8, which has been read before and holds so
    /// many members and items in all its objects and lists.
    pub(crate) fn written(text: &[u8], count: usize) -> Self {
        // Names and texts are no longer than what they were read from.
        let weight = 2 * text.len() + count * (MEMBER + TEXT);
        Self { text: Some(text.into()), members: OnceLock::new(), weight }
    }

    /// Keeps the text alone, where there is one: it says the same as the members.
    pub(crate) fn fold(&mut self) {
        if self.text.is_some() {
            self.members.take();
        }
    }

    /// Bytes that they take in memory at most, estimated: their text, and every member with the
    /// place that it takes in its map or list.
    pub(crate) const fn weight(&self) -> usize {
        self.weight
    }
}

impl From<Map<String, Value>> for Claims {
    fn from(members: Map<String, Value>) -> Self {
        let weight = weigh(&members);
        Self { text: None, members: members.into(), weight }
    }
}

impl Deref for Claims {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Self::Target {
        self.members.get_or_init(|| {
            // It was read before: there is nothing in it that could not be read.
            let text = self.text.as_deref().unwrap_or(b"{}");
            serde_json::from_slice(text).unwrap_or_default()
        })
    }
}

/// Shows their names: values may be what nobody should read.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys()).finish()
    }
}

/// A name and its value in a map, with the index beside it.
const MEMBER: usize = size_of::<String>() + size_of::<Value>() + 24;
/// A text of its own: pointer, counts, allocator.
const TEXT: usize = 32;

fn weigh(members: &Map<String, Value>) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::String(text) => TEXT + text.len(),
            Value::Array(items) => items.iter().map(|item| size_of::<Value>() + of(item)).sum(),
            Value::Object(members) => weigh(members),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
    }
    members.iter().map(|(name, value)| MEMBER + name.len() + of(value)).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_say_what_their_text_says() {
        let value = json!({
            "sub": "ann", "big": u64::MAX, "small": i64::MIN, "part": 0.1, "none": null,
            "roles": ["a", {"b": [1, 2]}], "é\n\"": "\u{1F600}",
        });
        let mut claims = Claims::written(value.to_string().as_bytes(), 12);
        assert!(claims.members.get().is_none(), "nothing but the text is kept");
        assert_eq!(Value::Object(claims.clone()), value);
        assert!(claims.members.get().is_some(), "read once");
        claims.fold();
        assert!(claims.members.get().is_none());
    }

    #[test]
    fn members_without_a_text_stay() {
        let mut claims = Claims::from(json!({"sub": "ann"}).as_object().unwrap().clone());
        claims.fold();
        assert_eq!(claims["sub"], "ann");
        assert!(Claims::default().is_empty());
    }

    #[test]
    fn they_weigh_what_they_may_come_to() {
        for value in [
            json!({"list": vec![1; 1000]}),
            json!({"texts": vec!["a"; 500], "object": {"in": {"it": [{}, {}]}}}),
        ] {
            let Value::Object(members) = &value else { panic!("an object") };
            let text = value.to_string();
            let count = text.matches([',', ':']).count();
            let written = Claims::written(text.as_bytes(), count);
            assert!(written.weight() > text.len() + Claims::from(members.clone()).weight());
        }
    }
}
