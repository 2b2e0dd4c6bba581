//! From text to a YAML document, or to what is wrong with it as YAML.
//!
//! Two mistakes are passed over so that the rest can be judged in the same run: repeated keys (the
//! first stands) and a second document (it is left alone). After any other the part of the text
//! above it is judged, in whole blocks, but nothing is made of it.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess};
use serde_yaml::value::{Tag, TaggedValue};
use serde_yaml::{Mapping, Value};

use super::Problem;
use super::locate::{MERGE, Point, Tree};
use super::path::Trail;

/// What was read.
pub(super) struct Parsed {
    /// The document, or as much as can be judged.
    pub(super) document: Option<Value>,
    /// What is wrong with the text as YAML. These problems know their place.
    pub(super) problems: Vec<Problem>,
    /// Whether `document` is all there is.
    pub(super) whole: bool,
}

/// Reads a text as YAML.
pub(super) fn parse(text: &str) -> Parsed {
    let mut parsed = match serde_yaml::from_str::<Value>(text) {
        Ok(document) => Parsed { document: Some(document), problems: Vec::new(), whole: true },
        Err(error) => recover(text, &error),
    };
    if matches!(parsed.document, Some(Value::Null)) && parsed.problems.is_empty() {
        let problem = Problem::error("file.empty", "", "there is no configuration in this file")
            .help("the least is a mapping with `listeners`, `services` and `routes`");
        parsed.problems.push(at(problem, Point { line: 1, column: 1 }));
        return Parsed { document: None, ..parsed };
    }
    if let Some(document) = &mut parsed.document {
        merge(document, &Trail::Root, &mut parsed.problems);
    }
    parsed
}

/// Makes the most of a text that was refused.
fn recover(text: &str, error: &serde_yaml::Error) -> Parsed {
    let tree = Tree::read(text);
    let mut problems = Vec::new();
    for twin in tree.duplicates() {
        let line = twin.first.start.line;
        let problem = Problem::error("yaml.duplicate_key", twin.path, "this key stands here twice")
            .help(format!("it is already on line {line}; join the two or remove one"));
        problems.push(at(problem, twin.again.start));
    }
    if let Some(start) = tree.second_document {
        let problem = Problem::error("yaml.documents", "", "a second document begins here")
            .help("a configuration is one document; remove the `---` line, or split the file");
        problems.push(at(problem, start));
    }
    let mut refusal = None;
    if !problems.is_empty() {
        match lenient(text) {
            Ok(document) => return Parsed { document: Some(document), problems, whole: true },
            Err(error) => refusal = Some(error),
        }
    }
    let problem = explain(text, refusal.as_ref().unwrap_or(error));
    let document = problem.line.and_then(|line| above(text, line));
    problems.push(problem);
    Parsed { document, problems, whole: false }
}

fn at(mut problem: Problem, point: Point) -> Problem {
    (problem.line, problem.column) = (Some(point.line), Some(point.column));
    problem
}

/// Puts a refusal of the parser into plain words.
fn explain(text: &str, error: &serde_yaml::Error) -> Problem {
    let raw = error.to_string();
    let what = raw.split(" at line ").next().unwrap_or_default();
    let what = what.split(" at position ").next().unwrap_or_default();
    let location = match byte_offset(&raw) {
        Some(offset) => Some(point_of(text, offset)),
        None => error.location().map(|l| Point { line: l.line(), column: l.column() }),
    };
    // What began and never ended is better shown where it began.
    let opened = ["a quoted scalar", "a flow sequence", "a flow mapping", "a simple key"];
    let opened = opened.iter().any(|what| raw.contains(&format!("ing {what}")));
    let place = opened.then(|| last_place(&raw)).flatten().or(location);
    let found = location.and_then(|place| char_at(text, place));
    let (code, message, help) = words(what, found);
    let mut problem = Problem::error(code, "", message);
    if let Some(help) = help {
        problem = problem.help(help);
    }
    match place {
        Some(place) => at(problem, place),
        None => problem,
    }
}

type Words = (&'static str, String, Option<&'static str>);

fn words(what: &str, found: Option<char>) -> Words {
    const SYNTAX: &str = "yaml.syntax";
    let syntax = |message: &str, help| (SYNTAX, message.to_owned(), Some(help));
    match what {
        _ if found == Some('\t') && what.starts_with("found ") => (
            "yaml.tab",
            "a tab stands where YAML needs spaces".to_owned(),
            Some("indent with spaces"),
        ),
        "found character that cannot start any token" => {
            let c = found.unwrap_or('?');
            (SYNTAX, format!("a value cannot begin with `{c}`"), Some("put the text in quotes"))
        }
        "mapping values are not allowed in this context" => syntax(
            "a `:` makes a key of what stands before it, and no key can stand here",
            "correct the indentation, or put text that contains `: ` in quotes",
        ),
        "block sequence entries are not allowed in this context" => {
            syntax("a list item cannot stand here", "put the first `- ` on a line of its own")
        }
        "could not find expected ':'" => {
            syntax("this line has no `:`", "write `key: value`, or correct the indentation")
        }
        "did not find expected key" | "did not find expected '-' indicator" => syntax(
            "this does not continue what stands above it",
            "keys of one mapping, and items of one list, begin in the same column",
        ),
        "did not find expected ',' or ']'" => {
            syntax("the list that begins here has no end", "close it with `]`")
        }
        "did not find expected ',' or '}'" => {
            syntax("the mapping that begins here has no end", "close it with `}`")
        }
        "found unexpected end of stream" => {
            syntax("the quoted text that begins here has no end", "close the quotes")
        }
        "unknown anchor" => {
            syntax("this alias stands for nothing", "define it above, with `&name` before a value")
        }
        "control characters are not allowed" => syntax(
            "a control character stands here",
            "remove it, or write it as an escape: \"\\x07\"",
        ),
        "recursion limit exceeded" => ("yaml.depth", "this is nested too deeply".to_owned(), None),
        "repetition limit exceeded" => {
            ("yaml.repetition", "aliases repeat too much of the document".to_owned(), None)
        }
        other => (SYNTAX, other.to_owned(), None),
    }
}

/// The last `line X column Y` in a message of the parser: where what it was reading began.
fn last_place(raw: &str) -> Option<Point> {
    let (line, column) = raw.rsplit_once("line ")?.1.split_once(" column ")?;
    Some(Point { line: line.parse().ok()?, column: column.parse().ok()? })
}

/// What the parser says where it could not even read characters: the byte.
fn byte_offset(raw: &str) -> Option<usize> {
    let digits = raw.rsplit_once(" at position ")?.1;
    digits.parse().ok()
}

fn point_of(text: &str, offset: usize) -> Point {
    let above = text.get(..offset).unwrap_or_default();
    let column = above.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Point { line: above.matches('\n').count() + 1, column }
}

fn char_at(text: &str, place: Point) -> Option<char> {
    text.lines().nth(place.line.checked_sub(1)?)?.chars().nth(place.column.checked_sub(1)?)
}

/// What can be judged of the text above a line that cannot be read: whole items of the last list,
/// or else whole top-level blocks, so that nothing seems missing that was only cut off.
fn above(text: &str, line: usize) -> Option<Value> {
    let (mut offset, mut block, mut dash) = (0, 0, None);
    let mut item = 0;
    // The line itself is left out, so the last item or block above it goes with it: whether that
    // one was complete cannot be known.
    for line in text.split_inclusive('\n').take(line.saturating_sub(1)) {
        let content = line.trim_start_matches(' ');
        let indent = line.len() - content.len();
        let is_item = content.starts_with("- ");
        if indent == 0 && !is_item && !content.trim().is_empty() && !content.starts_with('#') {
            (block, item, dash) = (offset, offset, None);
        } else if is_item && indent <= *dash.get_or_insert(indent) {
            item = offset;
        }
        offset += line.len();
    }
    [item, block].iter().find_map(|end| lenient(text.get(..*end)?).ok().filter(Value::is_mapping))
}

/// Puts the mappings under `<<` into the mappings they stand in; keys that are there win.
fn merge(value: &mut Value, at: &Trail<'_>, problems: &mut Vec<Problem>) {
    match value {
        Value::Sequence(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                merge(item, &Trail::Item(at, index), problems);
            }
        }
        Value::Tagged(tagged) => merge(&mut tagged.value, at, problems),
        Value::Mapping(mapping) => {
            for (key, value) in mapping.iter_mut() {
                merge(value, &Trail::Key(at, key.as_str().unwrap_or_default()), problems);
            }
            let bases = match mapping.shift_remove(MERGE) {
                None => return,
                Some(Value::Sequence(bases)) => bases,
                Some(base) => vec![base],
            };
            for base in bases {
                let Value::Mapping(base) = base else {
                    let path = Trail::Key(at, MERGE).to_string();
                    let message = "only a mapping can be merged into a mapping";
                    let help = "`<<` takes a mapping or a list of mappings, usually `*name`";
                    problems.push(Problem::error("yaml.merge", path, message).help(help));
                    continue;
                };
                for (key, value) in base {
                    mapping.entry(key).or_insert(value);
                }
            }
        }
        _ => {}
    }
}

/// Reads the first document of a text; of a key that is repeated, the first stands.
fn lenient(text: &str) -> Result<Value, serde_yaml::Error> {
    match serde_yaml::Deserializer::from_str(text).next() {
        Some(document) => Lenient.deserialize(document),
        None => Ok(Value::Null),
    }
}

struct Lenient;

impl<'de> DeserializeSeed<'de> for Lenient {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Lenient {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML")
    }
    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }
    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        inner.deserialize_any(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Self)? {
            items.push(item);
        }
        Ok(Value::Sequence(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut mapping = Mapping::new();
        while let Some(key) = map.next_key_seed(Self)? {
            let value = map.next_value_seed(Self)?;
            mapping.entry(key).or_insert(value);
        }
        Ok(Value::Mapping(mapping))
    }
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        let (tag, contents) = data.variant::<TagName>()?;
        let value = contents.newtype_variant_seed(Self)?;
        if tag.0.is_empty() {
            return Ok(value);
        }
        Ok(Value::Tagged(Box::new(TaggedValue { tag: Tag::new(tag.0), value })))
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct TagName(String);
