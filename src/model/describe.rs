//! Says in plain words how a value differs from what should stand there.
//!
//! A value that is or might be a secret is never repeated: where a secret, or something that
//! holds one, should stand, only the kind of what was found is told.

use serde_json::Value as Json;
use serde_yaml::Value;

use super::path::Trail;
use super::shape::{Scalar, Shape};
use super::{Problem, Problems, Secret};

/// The longest text of a value that is repeated, in characters.
const QUOTE_MAX: usize = 40;

/// The problem of a value that is not of the shape, or none if it is.
pub(super) fn mismatch(value: &Value, shape: &Shape, at: &Trail<'_>) -> Option<Problem> {
    let single = !matches!(value, Value::Null | Value::Mapping(_) | Value::Sequence(_));
    let Some(scalar) = shape.scalar.as_ref().filter(|_| single) else {
        return Some(wrong_type(value, shape, at));
    };
    match scalar {
        Scalar::Text if value.is_string() => None,
        Scalar::Bool if value.is_bool() => None,
        Scalar::Number if value.is_number() => None,
        Scalar::Integer { min, max } => integer(value, *min, *max, shape, at),
        Scalar::Words(words) => word(value, words, shape, at),
        Scalar::Spelled(spelling, _) if (spelling.accepts)(value) => None,
        Scalar::Spelled(..) => Some(misspelt(value, shape, at)),
        Scalar::Text | Scalar::Bool | Scalar::Number => Some(wrong_type(value, shape, at)),
    }
}

fn wrong_type(value: &Value, shape: &Shape, at: &Trail<'_>) -> Problem {
    let message = format!("expected {}, found {}", forms(shape), found(value, shape));
    let problem = Problem::error("value.type", at.to_string(), message);
    match type_help(value, shape) {
        Some(help) => problem.help(help),
        None => problem,
    }
}

/// What would turn a value of the wrong type into the right one.
fn type_help(value: &Value, shape: &Shape) -> Option<String> {
    let text = match value {
        Value::Null => return Some("give it a value, or remove the key".to_owned()),
        Value::String(text) => text.as_str(),
        Value::Number(_) | Value::Bool(_) if matches!(shape.scalar, Some(Scalar::Text)) => {
            return Some(format!("put it in quotes: \"{}\"", scalar_text(value)));
        }
        _ => return None,
    };
    match &shape.scalar {
        Some(Scalar::Bool) => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => Some("write `true`".to_owned()),
            "no" | "off" | "n" | "false" => Some("write `false`".to_owned()),
            _ => None,
        },
        Some(Scalar::Integer { .. } | Scalar::Number) => number_help(text),
        None if shape.list.is_some() && !shape.secret => {
            Some(format!("write a list: `[{}]`", clip(text)))
        }
        _ => None,
    }
}

fn number_help(text: &str) -> Option<String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    if text.parse::<f64>().is_ok() {
        Some("write it without quotes".to_owned())
    } else if digits.len() < text.len() && digits.parse::<u64>().is_ok() {
        Some("write the number alone, without a unit".to_owned())
    } else if text.contains('_') && text.replace('_', "").parse::<u64>().is_ok() {
        Some("write it without `_`".to_owned())
    } else {
        None
    }
}

fn integer(value: &Value, min: i128, max: i128, shape: &Shape, at: &Trail<'_>) -> Option<Problem> {
    let number = match value {
        Value::Number(number) => {
            number.as_u64().map(i128::from).or_else(|| number.as_i64().map(i128::from))
        }
        _ => None,
    };
    match number {
        None => Some(wrong_type(value, shape, at)),
        Some(number) if (min..=max).contains(&number) => None,
        Some(number) => {
            let message = format!("{number} is out of range");
            let help = format!("write a whole number from {min} to {max}");
            Some(Problem::error("value.range", at.to_string(), message).help(help))
        }
    }
}

fn word(value: &Value, words: &[Json], shape: &Shape, at: &Trail<'_>) -> Option<Problem> {
    let known = |word: &Json| match (word, value) {
        (Json::String(word), Value::String(text)) => word == text,
        (Json::Number(word), Value::Number(number)) => word.as_u64() == number.as_u64(),
        _ => false,
    };
    if words.iter().any(known) {
        return None;
    }
    let Value::String(text) = value else { return Some(wrong_type(value, shape, at)) };
    let message = format!("unknown word {}", quote(text));
    let help = Problems::did_you_mean(text, words.iter().filter_map(Json::as_str))
        .unwrap_or_else(|| format!("write {}", forms(shape)));
    Some(Problem::error("value.word", at.to_string(), message).help(help))
}

/// The problem of a value whose type judges its spelling and has refused it.
fn misspelt(value: &Value, shape: &Shape, at: &Trail<'_>) -> Problem {
    let Some(Scalar::Spelled(spelling, words)) = &shape.scalar else {
        return wrong_type(value, shape, at);
    };
    let problem = match value {
        Value::String(text) if shape.secret => {
            let reason = Secret::parse(text).err().unwrap_or("the reference cannot be read");
            Problem::error("secret.malformed", at.to_string(), reason)
        }
        Value::String(_) | Value::Number(_) if !shape.secret => {
            let text = scalar_text(value);
            let message = format!("{} is not {}", quote(&text), spelling.what);
            Problem::error("value.spelling", at.to_string(), message)
        }
        _ => wrong_type(value, shape, at),
    };
    let meant = match value {
        Value::String(text) if !shape.secret => {
            Problems::did_you_mean(text, words.iter().filter_map(Json::as_str))
        }
        _ => None,
    };
    problem.help(meant.unwrap_or_else(|| spelling.help.to_owned()))
}

/// The forms that a shape allows, joined by `or`.
fn forms(shape: &Shape) -> String {
    let mut forms = Vec::new();
    match &shape.scalar {
        None => {}
        Some(Scalar::Text) => forms.push("text".to_owned()),
        Some(Scalar::Bool) => forms.push("`true` or `false`".to_owned()),
        Some(Scalar::Integer { .. }) => forms.push("a whole number".to_owned()),
        Some(Scalar::Number) => forms.push("a number".to_owned()),
        Some(Scalar::Spelled(spelling, _)) => forms.push(spelling.what.to_owned()),
        // A word that is also there as a number would be listed twice.
        Some(Scalar::Words(words)) => {
            forms.extend(words.iter().filter_map(Json::as_str).map(|word| format!("`{word}`")));
        }
    }
    if shape.list.is_some() {
        forms.push("a list".to_owned());
    }
    if shape.mapping.is_some() {
        forms.push("a mapping".to_owned());
    }
    match forms.split_last() {
        None => "nothing".to_owned(),
        Some((one, [])) => one.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

/// A value as it was found: itself, where that is safe and of use, or its kind.
fn found(value: &Value, shape: &Shape) -> String {
    let telling = shape.scalar.is_some() && !shape.secret;
    match value {
        Value::String(text) if telling => format!("the text {}", quote(text)),
        Value::Number(_) | Value::Bool(_) if telling => quote(&scalar_text(value)),
        other => kind(other).to_owned(),
    }
}

/// The text of a single value, as YAML would write it without quotes.
pub(super) fn scalar_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        _ => String::new(),
    }
}

/// The kind of a value, with its article.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "`true` or `false`",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a mapping",
        Value::Tagged(_) => "a tagged value",
    }
}

/// Text of the document in back-quotes: cut short, and without anything a terminal would obey.
pub(super) fn quote(text: &str) -> String {
    format!("`{}`", clip(text))
}

fn clip(text: &str) -> String {
    let safe = |c: char| if c.is_control() { '\u{FFFD}' } else { c };
    let mut short: String = text.chars().take(QUOTE_MAX).map(safe).collect();
    if text.chars().nth(QUOTE_MAX).is_some() {
        short.push('…');
    }
    short
}
