//! JSON of strangers, read with bounds and without mercy.
//!
//! `serde_json` keeps the last of two members with one name, silently. Whoever reads the first
//! one then believes something else than we do, which is how signed claims come to mean two
//! things (RFC 8725, section 2.4; RFC 8259, section 4). Here a name that comes twice is refused,
//! and so is what is nested deeper or holds more values than anybody needs.

mod value;

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

pub(in crate::auth) use value::{Object, Value};

/// How much of it is read.
#[derive(Clone, Copy, Debug)]
pub(in crate::auth) struct Bounds {
    /// Objects and lists within each other, the outermost one included.
    pub(in crate::auth) depth: u32,
    /// Members and items of all objects and lists together.
    pub(in crate::auth) values: u32,
}

/// Why a text is refused.
#[derive(Debug, thiserror::Error)]
pub(in crate::auth) enum JsonRefused {
    /// It is not JSON in UTF-8.
    #[error("it is not JSON: {0}")]
    Malformed(serde_json::Error),
    /// It is something else than an object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// An object has two members with one name, however that is spelled.
    #[error("an object in it has two members with one name")]
    Repetition,
    /// Objects and lists are nested too deeply.
    #[error("it is nested too deeply")]
    TooDeep,
    /// It holds too many values.
    #[error("it holds too many values")]
    TooMany,
}

/// Reads one JSON object and nothing after it.
///
/// # Errors
/// Returns why it is refused.
pub(in crate::auth) fn object(text: &[u8], bounds: Bounds) -> Result<Object<'_>, JsonRefused> {
    let budget = Budget { left: Cell::new(bounds.values), broken: Cell::new(None) };
    let reader = Reader { depth: bounds.depth, budget: &budget };
    let read = match std::str::from_utf8(text) {
        Ok(text) => reader.whole(serde_json::Deserializer::from_str(text)),
        // It says where the text is broken; and looks at each string of it for itself.
        Err(_) => reader.whole(serde_json::Deserializer::from_slice(text)),
    };
    match read {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(JsonRefused::NotAnObject),
        Err(error) => Err(match budget.broken.get() {
            Some(Broken::Repetition) => JsonRefused::Repetition,
            Some(Broken::Depth) => JsonRefused::TooDeep,
            Some(Broken::Values) => JsonRefused::TooMany,
            None => JsonRefused::Malformed(error),
        }),
    }
}

/// A rule of ours, which the parser's error type has no place for.
#[derive(Clone, Copy)]
enum Broken {
    Repetition,
    Depth,
    Values,
}

struct Budget {
    left: Cell<u32>,
    broken: Cell<Option<Broken>>,
}

impl Budget {
    fn refuse<E: serde::de::Error>(&self, broken: Broken) -> E {
        self.broken.set(Some(broken));
        E::custom("refused")
    }

    fn take<E: serde::de::Error>(&self) -> Result<(), E> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| self.refuse(Broken::Values))?;
        self.left.set(left);
        Ok(())
    }
}

/// Reads one value; `depth` is how many levels are still allowed.
#[derive(Clone, Copy)]
struct Reader<'a> {
    depth: u32,
    budget: &'a Budget,
}

impl Reader<'_> {
    fn whole<'de, R: serde_json::de::Read<'de>>(
        self,
        mut source: serde_json::Deserializer<R>,
    ) -> serde_json::Result<Value<'de>> {
        let value = self.deserialize(&mut source)?;
        source.end().map(|()| value)
    }

    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        let depth = depth.ok_or_else(|| self.budget.refuse(Broken::Depth))?;
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, source: D) -> Result<Value<'de>, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value<'de>, E> {
        // JSON has no word for the others; the parser refuses them before.
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not finite"))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::String(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value<'de>, E> {
        Ok(Value::String(value.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<'de>, A::Error> {
        let inner = self.below()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            self.budget.take()?;
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value<'de>, A::Error> {
        let inner = self.below()?;
        let mut object = Object::default();
        while let Some(name) = members.next_key_seed(Name)? {
            self.budget.take()?;
            object.push(name, members.next_value_seed(inner)?);
        }
        if object.repeats() {
            return Err(self.budget.refuse(Broken::Repetition));
        }
        Ok(Value::Object(object))
    }
}

/// Reads the name of a member; it borrows what was written without escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, source: D) -> Result<Self::Value, D::Error> {
        source.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(name.into())
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(name.to_owned().into())
    }
}

#[cfg(test)]
mod tests;
