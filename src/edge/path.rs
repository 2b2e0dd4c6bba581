//! The one normal form of a path.
//!
//! Routes, policies, cache keys and services must read a path alike, so a path has exactly one
//! spelling behind this module. What has no certain meaning is refused rather than guessed:
//!
//! | In the path | Becomes |
//! |---|---|
//! | an escaped `A-Z a-z 0-9 - . _ ~` | the character (RFC 3986 6.2.2.2) |
//! | an escaped `! $ & ' ( ) * , : = @` | the character, see below |
//! | any other escape | itself with capital digits: `%c3%a9` is `%C3%A9` |
//! | a raw character that no URI holds (`" < > [ ] ^ { }` and others) | its escape |
//! | `/./`, a final `/.` | `/` |
//! | `/x/../`, a final `/x/..` | `/` |
//! | `//` | `/` |
//!
//! | Refused | Because |
//! |---|---|
//! | no `/` at the beginning, `*` too | it is not a path |
//! | `%` without two hexadecimal digits | some servers keep it, some cut it |
//! | `%2F`, `\`, `%5C` | a separator for some servers, a character for others |
//! | `;`, `%3B` | some servers cut path parameters off, others keep them |
//! | control characters, raw or escaped; raw spaces | they end or split lines elsewhere |
//! | raw bytes outside ASCII | servers guess their encoding |
//! | escapes that are not UTF-8, overlong forms too | servers repair them differently |
//! | `%25` before two hexadecimal digits | whoever decodes twice reads another path |
//! | `..` above the root | it points outside what is served |
//! | `..` after `//` | merging first and climbing first lead to different places |
//! | `?`, `#` | they end a path |
//!
//! RFC 3986 calls `%3A` and `:` different. Services decode both to the same, so a route on
//! `/orders:purge` could be escaped with `/orders%3Apurge`; therefore those reserved characters
//! that divide nothing in a path are decoded too. `+` is not one of them: `+` and `%2B` stay
//! different, because some services read the first as a space.

use std::borrow::Cow;

use super::hex::hex_digit;

/// Why a path has no normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRefused(pub &'static str);

/// Brings a path into its normal form, so that no spelling of it escapes a stricter route.
/// A path that is in normal form already is borrowed, without allocating anything.
///
/// # Errors
/// Encodings that could be read in two ways are refused.
pub fn normalise_path(path: &str) -> Result<Cow<'_, str>, PathRefused> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathRefused("the path does not begin with `/`"));
    }
    if is_plainly_normal(bytes) {
        return Ok(Cow::Borrowed(path));
    }
    let normal = rewrite(bytes)?;
    Ok(if normal == path { Cow::Borrowed(path) } else { Cow::Owned(normal) })
}

/// What a raw byte is to a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stays.
    Plain,
    /// Separates segments.
    Slash,
    /// Begins an escape.
    Percent,
    /// Not allowed in a URI, but harmless: is escaped.
    Escape,
    /// Is refused.
    Refused,
}

static CLASSES: [Class; 256] = classes();

#[expect(clippy::indexing_slicing, reason = "runs in the compiler, which checks it")]
const fn classes() -> [Class; 256] {
    let mut table = [Class::Refused; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        table[byte as usize] = match byte {
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'!'
            | b'$'
            | b'&'..=b','
            | b':'
            | b'='
            | b'@' => Class::Plain,
            b'/' => Class::Slash,
            b'%' => Class::Percent,
            b';' | b'\\' | b'?' | b'#' => Class::Refused,
            _ => Class::Escape,
        };
        byte += 1;
    }
    table
}

fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Refused)
}

/// Whether a path needs no second look: no escapes, no dot segments, no empty segments.
fn is_plainly_normal(path: &[u8]) -> bool {
    let mut rest = path;
    let mut after_slash = false;
    while let Some((&byte, next)) = rest.split_first() {
        match class(byte) {
            Class::Plain if after_slash && byte == b'.' => {
                if matches!(next, [] | [b'/', ..] | [b'.'] | [b'.', b'/', ..]) {
                    return false;
                }
                after_slash = false;
            }
            Class::Plain => after_slash = false,
            Class::Slash if !after_slash => after_slash = true,
            _ => return false,
        }
        rest = next;
    }
    true
}

fn rewrite(path: &[u8]) -> Result<String, PathRefused> {
    let mut normal = Normal::with_capacity(path.len());
    let mut rest = path.get(1..).unwrap_or_default();
    while let Some((&byte, next)) = rest.split_first() {
        rest = next;
        match class(byte) {
            Class::Plain => normal.out.push(char::from(byte)),
            Class::Slash => normal.end_segment(true)?,
            Class::Percent => rest = normal.escape(rest)?,
            Class::Escape => normal.push_escape(byte),
            Class::Refused => return Err(refused(byte)),
        }
    }
    normal.finish()
}

const fn refused(byte: u8) -> PathRefused {
    PathRefused(match byte {
        b'\\' => "the path holds a backslash",
        b';' => "the path holds `;`, which servers read differently",
        b'?' | b'#' => "the path holds `?` or `#`",
        0x80.. => "the path holds characters outside ASCII that are not escaped",
        _ => "the path holds a control character or a space",
    })
}

/// A path on its way into normal form.
struct Normal {
    /// What is certain so far, and the segment being read.
    out: String,
    /// Where the segment being read begins in `out`.
    segment: usize,
    /// Whether an empty segment was merged away.
    merged: bool,
    /// Whether there is an escaped `%`.
    percent: bool,
}

impl Normal {
    fn with_capacity(bytes: usize) -> Self {
        let mut out = String::with_capacity(bytes);
        out.push('/');
        Self { out, segment: 1, merged: false, percent: false }
    }

    /// Ends the segment being read; one that a slash follows keeps it.
    fn end_segment(&mut self, slash: bool) -> Result<(), PathRefused> {
        match self.out.get(self.segment..).unwrap_or_default() {
            "" => self.merged |= slash,
            "." => self.out.truncate(self.segment),
            ".." => self.climb()?,
            _ if slash => {
                self.out.push('/');
                self.segment = self.out.len();
            }
            _ => {}
        }
        Ok(())
    }

    fn climb(&mut self) -> Result<(), PathRefused> {
        if self.merged {
            return Err(PathRefused("the path climbs with `..` after a repeated slash"));
        }
        // The slash that ends the parent stands right before this segment; what comes before it
        // is the parent, whose own slash is searched for. The root has no parent.
        let parent = self.out.get(..self.segment.saturating_sub(1)).unwrap_or_default();
        let Some(slash) = parent.rfind('/') else {
            return Err(PathRefused("the path climbs above the root"));
        };
        self.segment = slash + 1;
        self.out.truncate(self.segment);
        Ok(())
    }

    /// Reads what follows a `%`; returns the bytes behind it.
    fn escape<'a>(&mut self, after: &'a [u8]) -> Result<&'a [u8], PathRefused> {
        let (byte, rest) = read_escape(after)?;
        match byte {
            b'/' | b'\\' => Err(PathRefused("the path holds an escaped slash or backslash")),
            b';' => Err(refused(b';')),
            0x00..=0x1f | 0x7f => Err(PathRefused("the path holds an escaped control character")),
            0x80.. => self.escaped_char(byte, rest),
            b'+' => {
                self.push_escape(byte);
                Ok(rest)
            }
            _ if class(byte) == Class::Plain => {
                self.out.push(char::from(byte));
                Ok(rest)
            }
            _ => {
                self.percent |= byte == b'%';
                self.push_escape(byte);
                Ok(rest)
            }
        }
    }

    /// Reads the rest of a character outside ASCII, of which the first byte is known.
    fn escaped_char<'a>(&mut self, first: u8, mut rest: &'a [u8]) -> Result<&'a [u8], PathRefused> {
        const NOT_UTF8: PathRefused = PathRefused("the path holds escapes that are not UTF-8");
        let length = match first {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return Err(NOT_UTF8),
        };
        let mut bytes = [first, 0, 0, 0];
        for slot in bytes.iter_mut().take(length).skip(1) {
            let Some((b'%', after)) = rest.split_first() else { return Err(NOT_UTF8) };
            (*slot, rest) = read_escape(after)?;
        }
        let bytes = bytes.get(..length).unwrap_or_default();
        let text = std::str::from_utf8(bytes).map_err(|_| NOT_UTF8)?;
        if text.chars().any(char::is_control) {
            return Err(PathRefused("the path holds an escaped control character"));
        }
        for &byte in bytes {
            self.push_escape(byte);
        }
        Ok(rest)
    }

    fn push_escape(&mut self, byte: u8) {
        let digit = |nibble| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        self.out.push('%');
        self.out.push(digit(byte >> 4).to_ascii_uppercase());
        self.out.push(digit(byte & 0xf).to_ascii_uppercase());
    }

    fn finish(mut self) -> Result<String, PathRefused> {
        self.end_segment(false)?;
        if self.percent && holds_double_escape(self.out.as_bytes()) {
            return Err(PathRefused("the path is escaped twice"));
        }
        Ok(self.out)
    }
}

fn read_escape(after: &[u8]) -> Result<(u8, &[u8]), PathRefused> {
    const INVALID: PathRefused = PathRefused("the path holds a `%` without two hexadecimal digits");
    let [high, low, rest @ ..] = after else { return Err(INVALID) };
    match (hex_digit(*high), hex_digit(*low)) {
        (Some(high), Some(low)) => Ok((high << 4 | low, rest)),
        _ => Err(INVALID),
    }
}

/// Looked for in the result, because `%25%34%31` is `%2541` only once its digits are decoded.
fn holds_double_escape(path: &[u8]) -> bool {
    path.windows(5).any(|five| match five {
        [b'%', b'2', b'5', high, low] => hex_digit(*high).is_some() && hex_digit(*low).is_some(),
        _ => false,
    })
}

#[cfg(test)]
mod tests;
