//! What an operator orders: one JSON object, read with all its problems.

use std::time::{Duration, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::record::{Grounds, Record};
use super::settings::Settings;
use crate::clock::Moment;

/// Longest id or name, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// How far ahead `issuedBefore` may lie, in seconds: clocks differ. More is a mistake, usually
/// milliseconds, and would revoke what is yet to be issued.
const AHEAD_SECONDS_MAX: u64 = 300;

/// How far ahead an end may lie, in seconds: ten years. More is a mistake.
const END_SECONDS_MAX: u64 = 10 * 366 * 86_400;

/// Members of an order, to find those that come twice.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only whether it can be read says something")]
struct Form {
    token_id: Option<Value>,
    provider: Option<Value>,
    subject: Option<Value>,
    issued_before: Option<Value>,
    expires_at: Option<Value>,
}

/// Reads an order.
///
/// # Errors
/// Everything that is wrong with it, one sentence each. They repeat names of members and of
/// providers, nothing else that was sent.
pub(super) fn read(body: &[u8], settings: &Settings, now: Moment) -> Result<Record, Vec<String>> {
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        return Err(vec!["the body is not a JSON object".to_owned()]);
    };
    let mut reading = Reading { members, now, problems: Vec::new() };
    if let Err(error) = serde_json::from_slice::<Form>(body) {
        reading.problems.push(error.to_string());
    }
    let token_id = reading.text("tokenId");
    let provider = reading.text("provider");
    let subject = reading.text("subject");
    let issued_before = reading.issued_before();
    let expires_at = reading.expires_at(settings);
    for name in reading.members.keys() {
        reading.problems.push(format!("there is no member `{}`", shown(name)));
    }
    if let Some(provider) = provider.as_deref().filter(|name| !settings.vouches(name)) {
        let known = settings.vouchers.join(", ");
        let name = shown(provider);
        reading.problems.push(format!("`provider`: nobody is called `{name}`; there are {known}"));
    }
    let grounds = reading.grounds(token_id, provider, subject, issued_before);
    match (grounds, reading.problems.is_empty()) {
        (Some(grounds), true) => Ok(Record::new(grounds, expires_at, now.unix_ms)),
        _ => Err(reading.problems),
    }
}

/// What an operator may see again of a word that was sent: names are short and plain.
fn shown(text: &str) -> String {
    text.chars().take(64).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

struct Reading {
    members: Map<String, Value>,
    now: Moment,
    problems: Vec<String>,
}

impl Reading {
    fn problem<T>(&mut self, text: impl Into<String>) -> Option<T> {
        self.problems.push(text.into());
        None
    }

    /// A member that is text. One with a problem still counts as given, so that what is said of
    /// the whole is right.
    fn text(&mut self, name: &str) -> Option<String> {
        let value = self.members.shift_remove(name)?;
        let Value::String(text) = value else {
            self.problem::<()>(format!("`{name}` is not a text"));
            return Some(String::new());
        };
        if text.is_empty() {
            self.problem::<()>(format!("`{name}` is empty"));
        }
        if text.len() > TEXT_BYTES_MAX {
            self.problem::<()>(format!("`{name}` is longer than {TEXT_BYTES_MAX} bytes"));
        }
        if text.chars().any(char::is_control) {
            self.problem::<()>(format!("`{name}` holds a control character"));
        }
        Some(text)
    }

    /// `issuedBefore` in Unix seconds; `now` is the next full second, so that what was issued
    /// within this one is among it.
    fn issued_before(&mut self) -> Option<u64> {
        let value = self.members.shift_remove("issuedBefore")?;
        let now = self.now.unix_seconds();
        if value == "now" {
            return Some(now + 1);
        }
        let Some(time) = seconds(&value) else {
            let what = "`issuedBefore` is not a time: Unix seconds, RFC 3339, or `now`";
            self.problem::<()>(what);
            return Some(0);
        };
        if time > now + AHEAD_SECONDS_MAX {
            self.problem::<()>("`issuedBefore` lies in the future; times are in seconds");
        }
        Some(time)
    }

    fn expires_at(&mut self, settings: &Settings) -> u64 {
        let now = self.now.unix_seconds();
        let Some(value) = self.members.shift_remove("expiresAt") else {
            return now + settings.written.max_token_lifetime.get().as_secs();
        };
        let Some(time) = seconds(&value) else {
            self.problem::<()>("`expiresAt` is not a time: Unix seconds or RFC 3339");
            return 0;
        };
        if time <= now {
            self.problem::<()>("`expiresAt` has passed already");
        }
        if time > now + END_SECONDS_MAX {
            self.problem::<()>("`expiresAt` is more than ten years ahead; times are in seconds");
        }
        time
    }

    fn grounds(
        &mut self,
        token_id: Option<String>,
        provider: Option<String>,
        subject: Option<String>,
        issued_before: Option<u64>,
    ) -> Option<Grounds> {
        match (token_id, provider, subject, issued_before) {
            (Some(id), provider, None, None) => Some(Grounds::Token { id, provider }),
            (Some(_), _, _, _) => self.problem(
                "a `tokenId` names one token: it goes with `provider`, not with `subject` or \
                 `issuedBefore`",
            ),
            (None, Some(provider), Some(subject), issued_before) => {
                Some(Grounds::Subject { provider, subject, issued_before })
            }
            (None, Some(provider), None, Some(issued_before)) => {
                Some(Grounds::Provider { provider, issued_before })
            }
            (None, Some(_), None, None) => self.problem(
                "a `provider` alone would refuse everybody; say `issuedBefore`, or whose tokens \
                 with `subject`",
            ),
            (None, None, Some(_), _) => {
                self.problem("a `subject` is somebody only with the `provider` that says so")
            }
            (None, None, None, _) => self.problem(
                "nothing is revoked: give `tokenId`, `provider` and `subject`, or `provider` and \
                 `issuedBefore`",
            ),
        }
    }
}

/// A time in Unix seconds: a whole number, or RFC 3339 with `Z` or an offset.
fn seconds(value: &Value) -> Option<u64> {
    if let Value::Number(number) = value {
        return number.as_u64();
    }
    let text = value.as_str().filter(|text| text.is_ascii())?;
    let (local, offset) = if text.ends_with(['Z', 'z']) {
        (text.split_at(text.len() - 1).0, 0)
    } else {
        let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
        (local, offset_seconds(offset)?)
    };
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let local = i64::try_from(local.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
    u64::try_from(local.checked_sub(offset)?).ok()
}

/// `+02:00` in seconds.
fn offset_seconds(text: &str) -> Option<i64> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let number = |text: &str, below: i64| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number: &i64| digits && *number < below)
    };
    Some(sign * (number(hours, 24)? * 3600 + number(minutes, 60)? * 60))
}

/// Unix seconds as RFC 3339.
pub(super) fn written(seconds: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH);
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests;
