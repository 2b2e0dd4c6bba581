//! Holds a document against its shape: finds everything wrong with its form in one pass.
//!
//! What is wrong is also repaired, so that the rest can still be compiled and judged in the same
//! run: unknown keys go, useless values go or become harmless ones, list items that are no longer
//! whole go. Named things (entries of a mapping) stay in any case: if they went, every reference
//! to them would look broken. The repaired document is never run.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::{Mapping, Value};

use super::path::Trail;
use super::shape::{Field, Keys, Scalar, Shape};
use super::{Problem, Problems, describe};

/// What checking leaves behind beside the repaired document.
#[derive(Default)]
pub(super) struct Checker {
    /// Everything wrong, in the order of the document.
    pub(super) problems: Vec<Problem>,
    /// Indexes of the items that were taken out, by the path of their list.
    pub(super) dropped: BTreeMap<String, BTreeSet<usize>>,
}

/// Conditions: less than all of one matches more requests than its author meant. What is left of
/// a damaged match is replaced by a path that no other route has, so that the rest of the route
/// is still judged and nothing is said about its place among the others.
const MATCH: &str = "Match";

/// A condition inside a match, of which less than all means something else.
const CONDITION: &str = "FieldMatch";

/// A mapping whose keys are statuses.
const STATUSES: &str = "Statuses";

/// List items that others refer to by name, and that stay for this reason.
const NAMED_ITEM: &str = "Version";

/// Without a value there would be a second complaint, that the route does not say.
const NEVER_EMPTY: &str = "Auth";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Usable, perhaps after repair.
    Sound,
    /// Something required is made up.
    Damaged,
    /// Nothing to be made of it.
    Useless,
}

impl Checker {
    /// Checks and repairs a whole document.
    pub(super) fn check(document: &mut Value, shape: &Shape) -> Self {
        let mut checker = Self::default();
        if checker.value(document, shape, &Trail::Root) == Verdict::Useless {
            *document = neutral(shape);
        }
        checker
    }

    fn value(&mut self, value: &mut Value, shape: &Shape, at: &Trail<'_>) -> Verdict {
        if let Value::Tagged(tagged) = value {
            let message = format!("the tag `{}` means nothing here", tagged.tag);
            self.note(Problem::error("yaml.tag", at.to_string(), message).help("remove the tag"));
            *value = std::mem::take(&mut tagged.value);
            return self.value(value, shape, at);
        }
        let plural = shape.mapping.is_some() || shape.list.is_some();
        match (&mut *value, &shape.mapping, &shape.list) {
            _ if shape.is_open() => return Verdict::Sound,
            (Value::Null, _, _) if shape.nullable => return Verdict::Sound,
            (Value::Null, Some(Keys::Known(_)), _) if shape.scalar.is_none() => {
                *value = Value::Mapping(Mapping::new());
                return self.value(value, shape, at);
            }
            (Value::Null, _, _) if plural && shape.scalar.is_none() => return Verdict::Sound,
            (Value::Mapping(mapping), Some(Keys::Known(fields)), _) => {
                return self.fields(mapping, fields, shape, at);
            }
            (Value::Mapping(mapping), Some(Keys::Free(entry)), _) => {
                self.entries(mapping, entry, shape.name == STATUSES, at);
                return Verdict::Sound;
            }
            (Value::Sequence(items), _, Some(item)) => {
                self.items(items, item, at);
                return Verdict::Sound;
            }
            _ => {}
        }
        match describe::mismatch(value, shape, at) {
            None => Verdict::Sound,
            Some(problem) => {
                self.note(problem);
                Verdict::Useless
            }
        }
    }

    fn fields(
        &mut self,
        mapping: &mut Mapping,
        fields: &[Field],
        shape: &Shape,
        at: &Trail<'_>,
    ) -> Verdict {
        let before = self.problems.len();
        let mut damaged = false;
        let mut meant = Vec::new();
        mapping.retain(|key, value| {
            let Some(name) = self.name_of(key, at) else { return false };
            let Some(field) = fields.iter().find(|field| field.name == name) else {
                meant.extend(self.unknown(name, fields, at));
                return false;
            };
            match self.value(value, &field.shape, &Trail::Key(at, name)) {
                Verdict::Sound => {}
                Verdict::Damaged => damaged |= field.required,
                Verdict::Useless => {
                    damaged |= field.required;
                    *value = neutral(&field.shape);
                    return field.required || field.shape.name == NEVER_EMPTY;
                }
            }
            true
        });
        for field in fields.iter().filter(|field| field.required) {
            if mapping.contains_key(&field.name) {
                continue;
            }
            damaged = true;
            if !meant.contains(&field.name.as_str()) {
                let path = Trail::Key(at, &field.name).to_string();
                let message = format!("`{}` is missing", field.name);
                self.note(Problem::error("key.missing", path, message).help(field.about.as_str()));
            }
            mapping.insert(field.name.as_str().into(), neutral(&field.shape));
        }
        let spoilt = self.problems.len() > before;
        if spoilt && shape.name == MATCH {
            mapping.clear();
            mapping.insert("path".into(), format!("/damaged/{}", self.problems.len()).into());
            return Verdict::Sound;
        }
        if damaged || (spoilt && shape.name == CONDITION) {
            Verdict::Damaged
        } else {
            Verdict::Sound
        }
    }

    /// `numbered` mappings have numbers for keys, with quotes or without.
    fn entries(&mut self, mapping: &mut Mapping, shape: &Shape, numbered: bool, at: &Trail<'_>) {
        mapping.retain(|key, value| {
            let number = key.as_u64().filter(|_| numbered).map(|number| number.to_string());
            let name = match &number {
                Some(number) => Some(number.as_str()),
                None => self.name_of(key, at),
            };
            let Some(name) = name else { return false };
            if numbered && name.parse::<u16>().is_err() {
                let path = Trail::Key(at, name).to_string();
                let problem = Problem::error("key.type", path, "this key is no status");
                self.note(problem.help("write three digits, such as 404"));
                return false;
            }
            if self.value(value, shape, &Trail::Key(at, name)) == Verdict::Useless {
                *value = neutral(shape);
            }
            true
        });
    }

    fn items(&mut self, items: &mut Vec<Value>, shape: &Shape, at: &Trail<'_>) {
        let mut index = 0;
        items.retain_mut(|item| {
            let here = Trail::Item(at, index);
            let keep = match self.value(item, shape, &here) {
                Verdict::Sound => true,
                Verdict::Damaged => shape.name == NAMED_ITEM,
                Verdict::Useless => false,
            };
            if !keep {
                self.dropped.entry(at.to_string()).or_default().insert(index);
            }
            index += 1;
            keep
        });
    }

    /// The text of a key, or a problem.
    fn name_of<'k>(&mut self, key: &'k Value, at: &Trail<'_>) -> Option<&'k str> {
        if let Value::String(name) = key {
            return Some(name);
        }
        let name = match key {
            Value::Null => "null".to_owned(),
            other => describe::scalar_text(other),
        };
        let path = if name.is_empty() { at.to_string() } else { Trail::Key(at, &name).to_string() };
        let message = format!("a key is text, this one is {}", describe::kind(key));
        let problem = Problem::error("key.type", path, message);
        self.note(match name.as_str() {
            "" => problem.help("write a single word"),
            name => problem.help(format!("put it in quotes: `\"{name}\":`")),
        });
        None
    }

    /// Notes an unknown key and returns the known one that was probably meant.
    fn unknown<'f>(&mut self, name: &str, fields: &'f [Field], at: &Trail<'_>) -> Option<&'f str> {
        let meant = Problems::nearest(name, fields.iter().map(|field| field.name.as_str()));
        let below = fields.iter().find(|field| field.shape.field(name).is_some());
        let help = match (meant, below) {
            (Some(meant), _) => format!("did you mean `{meant}`?"),
            (None, Some(field)) => format!("`{name}` is a key of `{}`", field.name),
            (None, None) => {
                let known: Vec<_> = fields.iter().map(|f| format!("`{}`", f.name)).collect();
                format!("known keys here: {}", known.join(", "))
            }
        };
        let path = Trail::Key(at, name).to_string();
        let message = format!("unknown key {}", describe::quote(name));
        self.note(Problem::error("key.unknown", path, message).help(help));
        meant
    }

    fn note(&mut self, problem: Problem) {
        self.problems.push(problem);
    }
}

/// A value of that shape that causes no complaint about its form.
fn neutral(shape: &Shape) -> Value {
    if let Some(scalar) = &shape.scalar {
        return match scalar {
            Scalar::Text => "".into(),
            Scalar::Bool => false.into(),
            Scalar::Integer { .. } | Scalar::Number => 0.into(),
            Scalar::Spelled(spelling, _) => spelling.neutral.into(),
            Scalar::Words(words) => {
                words.first().and_then(|word| word.as_str()).unwrap_or_default().into()
            }
        };
    }
    let mut mapping = Mapping::new();
    if let Some(Keys::Known(fields)) = &shape.mapping {
        for field in fields.iter().filter(|field| field.required) {
            mapping.insert(field.name.as_str().into(), neutral(&field.shape));
        }
    }
    if shape.list.is_some() { Value::Sequence(Vec::new()) } else { Value::Mapping(mapping) }
}

#[cfg(test)]
mod tests;
