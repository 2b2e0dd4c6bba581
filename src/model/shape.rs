//! What may stand where: the generated schema, in the form in which a document is walked.
//!
//! The schema is the one description of the configuration that editors also see; reading it here
//! keeps what editors mark and what the gateway refuses the same. Ranges and patterns of the
//! schema are left to `snapshot::compile`, which judges values; this is about form alone.

use std::collections::HashMap;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::Value as Json;
use serde_yaml::Value;

use super::{ByteSize, KeyPart, MissingKey, Percent, Secret, Span, json_schema};

/// The forms that a value may take, of which there can be several: `auth` is a word or a mapping.
/// A shape without any form accepts everything.
#[derive(Clone, Default)]
pub(super) struct Shape {
    /// Name of its type, empty for one without.
    pub(super) name: String,
    /// Whether it may be left empty.
    pub(super) nullable: bool,
    /// What it holds as a mapping.
    pub(super) mapping: Option<Keys>,
    /// What its items are as a list.
    pub(super) list: Option<Rc<Self>>,
    /// What it is as a single value.
    pub(super) scalar: Option<Scalar>,
    /// Whether it is a secret or holds one somewhere.
    pub(super) secret: bool,
}

/// The keys of a mapping.
#[derive(Clone)]
pub(super) enum Keys {
    /// These and no others.
    Known(Rc<[Field]>),
    /// Names that the author chooses.
    Free(Rc<Shape>),
}

/// A known key.
pub(super) struct Field {
    /// The key.
    pub(super) name: String,
    /// Whether it must be there.
    pub(super) required: bool,
    /// What it is, for people: the first sentence of its description.
    pub(super) about: String,
    /// The forms of its value.
    pub(super) shape: Rc<Shape>,
}

/// A single value.
#[derive(Clone)]
pub(super) enum Scalar {
    /// Any text.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number in a range.
    Integer {
        /// The least.
        min: i128,
        /// The greatest.
        max: i128,
    },
    /// Any number.
    Number,
    /// One of these words, some of which YAML reads as numbers.
    Words(Vec<Json>),
    /// Text with a spelling of its own, and the words it knows.
    Spelled(&'static Spelling, Vec<Json>),
}

/// A type that is written as a scalar but has rules of its own.
pub(super) struct Spelling {
    /// Name of the type in the schema.
    name: &'static str,
    /// What it is, with its article.
    pub(super) what: &'static str,
    /// How it is written.
    pub(super) help: &'static str,
    /// A value that harms nothing.
    pub(super) neutral: &'static str,
    /// Whether the type itself accepts a value.
    pub(super) accepts: fn(&Value) -> bool,
}

/// The types whose spelling the schema can only hint at; each judges by itself.
static SPELLINGS: [Spelling; 6] = [
    Spelling {
        name: "Span",
        what: "a span of time",
        help: "write a whole number and its unit, such as 250ms, 30s, 10m, 24h or 7d",
        neutral: "1s",
        accepts: |value| Span::deserialize(value).is_ok(),
    },
    Spelling {
        name: "ByteSize",
        what: "a size in bytes",
        help: "write a whole number, alone or with a unit, such as 1048576, 64KiB or 1MiB",
        neutral: "1MiB",
        accepts: |value| ByteSize::deserialize(value).is_ok(),
    },
    Spelling {
        name: "KeyPart",
        what: "a part of a key",
        help: "write one of `tenantId`, `userId`, `apiKey`, `plan`, `clientIp`, \
               `routeName`, `service`, `global`, `requestId`, `random`, `header:NAME`, \
               `cookie:NAME`, `claim:NAME`",
        neutral: "routeName",
        accepts: |value| KeyPart::deserialize(value).is_ok(),
    },
    Spelling {
        name: "MissingKey",
        what: "what stands for a missing part of a key",
        help: "write `refuse`, or a part of a key, such as `clientIp`",
        neutral: "clientIp",
        accepts: |value| MissingKey::deserialize(value).is_ok(),
    },
    Spelling {
        name: "Percent",
        what: "a share in percent",
        help: "write a whole number from 0 to 100 and `%`, such as 5%",
        neutral: "0%",
        accepts: |value| Percent::deserialize(value).is_ok(),
    },
    Spelling {
        name: "Secret",
        what: "a reference to a secret",
        help: "write `${env:NAME}`, `${file:/path}` or `${credential:NAME}`",
        neutral: "",
        accepts: |value| Secret::deserialize(value).is_ok(),
    },
];

impl Shape {
    /// The shape of a whole configuration.
    pub(super) fn of_config() -> Self {
        let schema = json_schema();
        let empty = serde_json::Map::new();
        let defs = schema.get("$defs").and_then(Json::as_object).unwrap_or(&empty);
        Reader { defs, known: HashMap::new() }.read(&schema)
    }

    /// The field of that name, where the keys are known.
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        match self.mapping.as_ref()? {
            Keys::Known(fields) => fields.iter().find(|field| field.name == name),
            Keys::Free(_) => None,
        }
    }

    /// Whether nothing is known about it.
    pub(super) fn is_open(&self) -> bool {
        self.mapping.is_none() && self.list.is_none() && self.scalar.is_none()
    }

    /// Takes on the forms of an alternative.
    fn join(&mut self, other: Self) {
        self.nullable |= other.nullable;
        self.secret |= other.secret;
        self.mapping = self.mapping.take().or(other.mapping);
        self.list = self.list.take().or(other.list);
        self.scalar = match (self.scalar.take(), other.scalar) {
            (Some(Scalar::Words(mut words)), Some(Scalar::Words(more))) => {
                words.extend(more);
                Some(Scalar::Words(words))
            }
            (mine, theirs) => mine.or(theirs),
        };
        if self.name.is_empty() {
            self.name = other.name;
        }
    }
}

/// Reads shapes out of a schema.
struct Reader<'a> {
    defs: &'a serde_json::Map<String, Json>,
    /// Named shapes; none while one is being read, so that a type that holds itself ends.
    known: HashMap<String, Option<Rc<Shape>>>,
}

impl Reader<'_> {
    fn named(&mut self, name: &str) -> Rc<Shape> {
        if let Some(known) = self.known.get(name) {
            return known.clone().unwrap_or_default();
        }
        self.known.insert(name.to_owned(), None);
        let mut shape = self.defs.get(name).map(|schema| self.read(schema)).unwrap_or_default();
        name.clone_into(&mut shape.name);
        shape.secret |= name == "Secret";
        if let Some(spelling) = SPELLINGS.iter().find(|spelling| spelling.name == name) {
            let words = match shape.scalar.take() {
                Some(Scalar::Words(words)) => words,
                _ => Vec::new(),
            };
            shape.scalar = Some(Scalar::Spelled(spelling, words));
        }
        let shape = Rc::new(shape);
        self.known.insert(name.to_owned(), Some(Rc::clone(&shape)));
        shape
    }

    fn read(&mut self, schema: &Json) -> Shape {
        let mut shape = Shape::default();
        let text = |key: &str| schema.get(key).and_then(Json::as_str);
        if let Some(name) = text("$ref").and_then(|link| link.strip_prefix("#/$defs/")) {
            shape = (*self.named(name)).clone();
        }
        for key in ["anyOf", "oneOf"] {
            for alternative in schema.get(key).and_then(Json::as_array).into_iter().flatten() {
                let alternative = self.read(alternative);
                shape.join(alternative);
            }
        }
        let words = match (schema.get("const"), schema.get("enum")) {
            (Some(word), _) => vec![word.clone()],
            (None, Some(Json::Array(words))) => words.clone(),
            _ => Vec::new(),
        };
        if !words.is_empty() {
            shape.join(Shape { scalar: Some(Scalar::Words(words)), ..Shape::default() });
        }
        match schema.get("type") {
            Some(Json::Array(kinds)) => {
                for kind in kinds.iter().filter_map(Json::as_str) {
                    self.add_kind(&mut shape, kind, schema);
                }
            }
            Some(Json::String(kind)) => self.add_kind(&mut shape, kind, schema),
            _ => {}
        }
        shape
    }

    fn add_kind(&mut self, shape: &mut Shape, kind: &str, schema: &Json) {
        let mut more = Shape::default();
        match kind {
            "null" => more.nullable = true,
            "string" => more.scalar = Some(Scalar::Text),
            "boolean" => more.scalar = Some(Scalar::Bool),
            "integer" => more.scalar = Some(integer(schema)),
            "number" => more.scalar = Some(Scalar::Number),
            "array" => {
                let items = schema.get("items").map(|items| self.read(items)).unwrap_or_default();
                more.secret = items.secret;
                more.list = Some(Rc::new(items));
            }
            "object" => {
                let keys = self.keys(schema);
                more.secret = match &keys {
                    Keys::Known(fields) => fields.iter().any(|field| field.shape.secret),
                    Keys::Free(values) => values.secret,
                };
                more.mapping = Some(keys);
            }
            _ => {}
        }
        shape.join(more);
    }

    fn keys(&mut self, schema: &Json) -> Keys {
        let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
            let values = schema.get("additionalProperties");
            return Keys::Free(Rc::new(values.map(|one| self.read(one)).unwrap_or_default()));
        };
        let required = schema.get("required").and_then(Json::as_array);
        let fields = properties.iter().map(|(name, property)| {
            let about = property.get("description").and_then(Json::as_str).unwrap_or_default();
            Field {
                name: name.clone(),
                required: required.is_some_and(|all| all.iter().any(|one| one == name)),
                about: about.split_inclusive(". ").next().unwrap_or_default().trim().to_owned(),
                shape: Rc::new(self.read(property)),
            }
        });
        Keys::Known(fields.collect())
    }
}

/// The range of a whole number follows from its Rust type, not from `minimum` and `maximum`:
/// those are limits of meaning, which compiling checks.
fn integer(schema: &Json) -> Scalar {
    let (min, max) = match schema.get("format").and_then(Json::as_str) {
        Some("uint8") => (0, i128::from(u8::MAX)),
        Some("uint16") => (0, i128::from(u16::MAX)),
        Some("uint32") => (0, i128::from(u32::MAX)),
        Some("uint64" | "uint") => (0, i128::from(u64::MAX)),
        Some("int32") => (i128::from(i32::MIN), i128::from(i32::MAX)),
        _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
    };
    Scalar::Integer { min, max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_a_configuration_has_a_form() {
        fn visit(shape: &Shape, at: &str) {
            assert!(!shape.is_open(), "{at}");
            if let Some(items) = &shape.list {
                visit(items, &format!("{at}[]"));
            }
            match &shape.mapping {
                Some(Keys::Free(values)) => visit(values, &format!("{at}.*")),
                Some(Keys::Known(fields)) => {
                    for field in fields.iter() {
                        assert!(!field.about.is_empty(), "{at}.{} has no words", field.name);
                        visit(&field.shape, &format!("{at}.{}", field.name));
                    }
                }
                None => {}
            }
        }
        visit(&Shape::of_config(), "");
    }

    #[test]
    fn secrets_are_known_wherever_they_lie() {
        let config = Shape::of_config();
        let holds = |name: &str| config.field(name).unwrap().shape.secret;
        assert!(config.secret && holds("redis") && holds("apiKeys") && holds("identityProviders"));
        assert!(!holds("routes") && !holds("policies") && !holds("rateLimits"));
        let redis = &config.field("redis").unwrap().shape;
        assert!(redis.field("url").unwrap().shape.secret);
        assert!(!redis.field("keyPrefix").unwrap().shape.secret);
    }
}
