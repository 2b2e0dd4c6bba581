//! What was read: values that borrow their texts from where they were read.
//!
//! A token is looked at for a dozen members, once. Texts of their own and a map with hashes would
//! cost more than the reading itself; a list of what stands there, searched from its start, does
//! for the few members that claims have.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Number};

/// Members up to which each name is compared with each; more are sorted to find two alike.
const PAIRWISE_MAX: usize = 16;

/// A JSON value.
#[derive(Clone, Debug)]
pub(in crate::auth) enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, whole or not.
    Number(Number),
    /// A string; its own where it was written with escapes.
    String(Cow<'a, str>),
    /// A list.
    Array(Vec<Self>),
    /// An object.
    Object(Object<'a>),
}

/// The members of a JSON object, in the order in which they were written.
#[derive(Clone, Default)]
pub(in crate::auth) struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Value<'a> {
    /// The text, if it is one.
    pub(in crate::auth) fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The number, if it is one.
    pub(in crate::auth) fn as_number(&self) -> Option<&Number> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    /// The members, if it is an object.
    pub(in crate::auth) const fn as_object(&self) -> Option<&Object<'a>> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    /// Whether it is `null`.
    pub(in crate::auth) const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    fn of(value: &'a serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => Self::Number(number.clone()),
            serde_json::Value::String(text) => Self::String(text.into()),
            serde_json::Value::Array(items) => Self::Array(items.iter().map(Self::of).collect()),
            serde_json::Value::Object(members) => Self::Object(Object::of(members)),
        }
    }
}

impl<'a> Object<'a> {
    /// An object that borrows from a map.
    pub(in crate::auth) fn of(members: &'a Map<String, serde_json::Value>) -> Self {
        Self(members.iter().map(|(name, value)| (name.into(), Value::of(value))).collect())
    }

    /// The value of the member with this name.
    pub(in crate::auth) fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Whether there is a member with this name.
    pub(in crate::auth) fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Takes a member out.
    pub(in crate::auth) fn remove(&mut self, name: &str) -> Option<Value<'a>> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    /// Keeps the members for which `keep` says so.
    pub(in crate::auth) fn retain(&mut self, mut keep: impl FnMut(&str, &Value<'a>) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }

    /// How many members there are.
    pub(in crate::auth) const fn len(&self) -> usize {
        self.0.len()
    }

    /// How many members and items there are in it, and in what it holds.
    pub(in crate::auth) fn count(&self) -> usize {
        fn within(value: &Value<'_>) -> usize {
            match value {
                Value::Array(items) => items.iter().map(|item| 1 + within(item)).sum(),
                Value::Object(members) => members.count(),
                _ => 0,
            }
        }
        self.0.iter().map(|(_, value)| 1 + within(value)).sum()
    }

    /// Adds a member; whether its name is new is for [`Object::repeats`] to say.
    pub(super) fn push(&mut self, name: Cow<'a, str>, value: Value<'a>) {
        self.0.push((name, value));
    }

    /// Whether two members have one name.
    pub(super) fn repeats(&self) -> bool {
        if self.len() <= PAIRWISE_MAX {
            let mut rest = self.0.as_slice();
            while let Some(((name, _), others)) = rest.split_first() {
                if others.iter().any(|(other, _)| other == name) {
                    return true;
                }
                rest = others;
            }
            return false;
        }
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        names.array_windows().any(|[one, next]| one == next)
    }
}

/// Shows their names: values may be what nobody should read.
impl fmt::Debug for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl From<Value<'_>> for serde_json::Value {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => Self::Number(number),
            Value::String(text) => Self::String(text.into_owned()),
            Value::Array(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            Value::Object(members) => Self::Object(members.into()),
        }
    }
}

impl From<Object<'_>> for Map<String, serde_json::Value> {
    fn from(members: Object<'_>) -> Self {
        members.0.into_iter().map(|(name, value)| (name.into_owned(), value.into())).collect()
    }
}
