//! The header of a request, line by line: is it clean, and how long is the body behind it?

use super::Violation;

/// How the body of a request is framed (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// There is none.
    None,
    /// By its length, at least 1.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// What must be remembered from one line of a header to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    /// `Content-Length`.
    length: Option<u64>,
    /// `Transfer-Encoding: chunked`.
    chunked: bool,
    /// HTTP/1.0 or 1.1; none before the request line.
    minor: Option<u8>,
}

impl Facts {
    /// Judges the next line, which is not empty and holds no control character but tabs.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), Violation> {
        if self.minor.is_none() {
            self.minor = Some(request_line(line)?);
            return Ok(());
        }
        let (name, value) = field(line)?;
        match name.len() {
            10 if is_named(name, b"connection") => connection(value),
            14 if is_named(name, b"content-length") => self.content_length(name, value),
            17 if is_named(name, b"transfer-encoding") => self.transfer_encoding(name, value),
            _ => Ok(()),
        }
    }

    /// How the body is framed, once all lines are read.
    pub(super) const fn body(&self) -> Result<Body, Violation> {
        match (self.length, self.chunked) {
            (Some(_), true) => {
                Err(Violation("Content-Length and Transfer-Encoding exclude each other."))
            }
            (None, true) if !matches!(self.minor, Some(1)) => {
                Err(Violation("HTTP/1.0 has no Transfer-Encoding."))
            }
            (None, true) => Ok(Body::Chunked),
            (None | Some(0), false) => Ok(Body::None),
            (Some(length), false) => Ok(Body::Length(length)),
        }
    }

    fn content_length(&mut self, name: &[u8], value: &[u8]) -> Result<(), Violation> {
        if name.contains(&b'_') {
            return Err(UNDERSCORE);
        }
        if self.length.is_some() {
            return Err(Violation("Content-Length is given more than once."));
        }
        self.length = Some(read_length(value)?);
        Ok(())
    }

    fn transfer_encoding(&mut self, name: &[u8], value: &[u8]) -> Result<(), Violation> {
        if name.contains(&b'_') {
            return Err(UNDERSCORE);
        }
        if self.chunked {
            return Err(Violation("Transfer-Encoding is given more than once."));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Violation("Transfer-Encoding is anything but exactly `chunked`."));
        }
        self.chunked = true;
        Ok(())
    }
}

/// `Connection` names fields that end with this hop; those that say where a message ends and whom
/// it is for are not among them (RFC 9110 section 7.6.1), and whoever drops them reads another.
fn connection(value: &[u8]) -> Result<(), Violation> {
    let named = value.split(|byte| *byte == b',').map(trim);
    for name in named {
        if [&b"content-length"[..], b"transfer-encoding", b"host"]
            .iter()
            .any(|framing| name.eq_ignore_ascii_case(framing))
        {
            return Err(Violation("Connection names a field that does not end with it."));
        }
    }
    Ok(())
}

/// Servers that keep headers as environment variables read `_` as `-`.
const UNDERSCORE: Violation =
    Violation("A field of the framing is written with `_`, which some servers read as `-`.");

fn is_named(name: &[u8], lower: &[u8]) -> bool {
    name.iter().zip(lower).all(|(byte, lower)| {
        byte.to_ascii_lowercase() == *lower || (*byte == b'_' && *lower == b'-')
    })
}

/// `method SP target SP version`; returns the minor version.
fn request_line(line: &[u8]) -> Result<u8, Violation> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    let (Some(method), Some(target), Some(version)) = (method, target, version) else {
        return Err(Violation("The request line is not method, target and version."));
    };
    if parts.next().is_some() || target.is_empty() || version.is_empty() {
        return Err(Violation("The request line has a space too many."));
    }
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(Violation("The method is not a token."));
    }
    let minor = match version {
        b"HTTP/1.1" => 1,
        b"HTTP/1.0" => 0,
        _ => return Err(Violation("The version is neither `HTTP/1.1` nor `HTTP/1.0`.")),
    };
    check_target(method, target)?;
    Ok(minor)
}

/// Which forms of a target are served (RFC 9112 section 3.2).
fn check_target(method: &[u8], target: &[u8]) -> Result<(), Violation> {
    if method == b"CONNECT" {
        return Err(Violation("CONNECT is not served here."));
    }
    let is_url = || {
        let begins = |scheme: &[u8]| {
            target.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
        };
        begins(b"http://") || begins(b"https://")
    };
    let known = match target {
        [b'/', ..] => true,
        b"*" => method == b"OPTIONS",
        _ => is_url(),
    };
    if !known {
        return Err(Violation("The target is neither a path nor an http URL."));
    }
    // Pingora cuts a fragment off and keeps such bytes beside its own, repaired reading of them.
    if !target.iter().all(|byte| matches!(byte, b'!'..=b'~') && *byte != b'#') {
        return Err(Violation("The target holds a character that no URI holds."));
    }
    Ok(())
}

/// Name and value of a field line, the value without the spaces and tabs around it.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    if let Some(b' ' | b'\t') = line.first() {
        return Err(Violation("A field is folded over several lines."));
    }
    let colon = line.iter().position(|byte| !is_token(*byte));
    let (name, rest) = line.split_at(colon.unwrap_or(line.len()));
    match rest {
        [b':', ..] if name.is_empty() => Err(Violation("A field has no name.")),
        [b':', value @ ..] => Ok((name, trim(value))),
        [b' ' | b'\t', ..] => Err(Violation("White space stands before the colon of a field.")),
        [] => Err(Violation("A line of the header has no colon.")),
        _ => Err(Violation("The name of a field is not a token.")),
    }
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Reads a length: digits only, and no more than servers with signed numbers can hold.
fn read_length(value: &[u8]) -> Result<u64, Violation> {
    if value.contains(&b',') {
        return Err(Violation("Content-Length is a list."));
    }
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Violation("Content-Length is not a number."));
    }
    let text = std::str::from_utf8(value).unwrap_or_default();
    // More digits than the largest number has are zeros or too many: nobody sends either.
    text.parse::<i64>()
        .ok()
        .filter(|_| value.len() <= LENGTH_DIGITS_MAX)
        .and_then(|length| u64::try_from(length).ok())
        .ok_or(Violation("Content-Length is larger than any body."))
}

/// Digits of the largest length.
const LENGTH_DIGITS_MAX: usize = 19;

/// Whether a byte may stand in a token (RFC 9110 section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

static TOKEN: [bool; 256] = token_bytes();

#[expect(clippy::indexing_slicing, reason = "runs in the compiler, which checks it")]
const fn token_bytes() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte as usize] = matches!(
            byte,
            b'A'..=b'Z'
                | b'a'..=b'z'
                | b'0'..=b'9'
                | b'!'
                | b'#'..=b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        byte += 1;
    }
    table
}
