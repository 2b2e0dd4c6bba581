//! The little HTTP/1.1 that the origin reads: requests without a body, one after the other.
//!
//! It decides where a request ends and nothing that would take time. What it does not expect is
//! an error, never a guess: a measurement with a misread request is worth nothing.

use std::borrow::Cow;
use std::cell::Cell;

/// Largest header block accepted, in bytes; tokens make them large.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Targets that begin with this are answered with an answer that caches may keep.
pub const CACHEABLE: &[u8] = b"/cacheable";

/// The target that is answered with the number of requests so far, itself not among them.
pub const COUNT: &[u8] = b"/count";

/// A request with this header is answered with its own header block.
pub const ECHO: &[u8] = b"x-echo";

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// An answer that nobody may keep.
    Fresh,
    /// An answer that caches may keep.
    Kept,
    /// The number of requests so far.
    Count,
    /// The request itself: what the proxy in front made of it.
    Echo,
}

/// What a buffer begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A request.
    Request(Request),
    /// The first part of a request.
    Incomplete,
    /// Not a request that this origin answers, and why.
    Refused(&'static str),
}

/// A request without a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Bytes it takes in the buffer.
    pub bytes: usize,
    /// What it asks for.
    pub asked: Asked,
    /// Whether the answer has a body: not to HEAD.
    pub body: bool,
    /// Whether the connection ends with the answer.
    pub close: bool,
}

/// Reads the request at the start of a buffer.
#[must_use]
pub fn parse(buffer: &[u8]) -> Parsed {
    let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
        if buffer.len() > HEAD_BYTES_MAX {
            return Parsed::Refused("the header block is too large");
        }
        return Parsed::Incomplete;
    };
    let (head, _) = buffer.split_at(end);
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let Some(first) = lines.next() else { return Parsed::Refused("no request line") };
    let mut words = first.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Parsed::Refused("the request line is not three words");
    };
    let body = match method {
        b"GET" => true,
        b"HEAD" => false,
        _ => return Parsed::Refused("the method is neither GET nor HEAD"),
    };
    let mut close = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return Parsed::Refused("the version is not HTTP/1"),
    };
    let mut echo = false;
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Parsed::Refused("a header without a colon");
        };
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        // Lengths first: most names are told apart without looking at them.
        match name.len() {
            6 if name.eq_ignore_ascii_case(ECHO) => echo = true,
            10 if name.eq_ignore_ascii_case(b"connection") => {
                close |= value.eq_ignore_ascii_case(b"close");
            }
            14 if name.eq_ignore_ascii_case(b"content-length") && value != b"0" => {
                return Parsed::Refused("the request has a body");
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                return Parsed::Refused("the request has a body");
            }
            _ => {}
        }
    }
    let asked = match target {
        _ if echo => Asked::Echo,
        _ if target.starts_with(CACHEABLE) => Asked::Kept,
        COUNT => Asked::Count,
        _ => Asked::Fresh,
    };
    Parsed::Request(Request { bytes: end + 4, asked, body, close })
}

/// The answers, ready to be sent, and how many were.
#[derive(Debug)]
pub struct Answers {
    kept: Answer,
    fresh: Answer,
    sent: Cell<u64>,
}

#[derive(Debug)]
struct Answer {
    whole: Vec<u8>,
    head: usize,
}

impl Answers {
    /// Answers with a body of that many bytes, and with headers beside its own: `Name: value`.
    #[must_use]
    pub fn new(body_bytes: usize, headers: &[String]) -> Self {
        Self {
            kept: Answer::new(body_bytes, "public, max-age=3600", headers),
            fresh: Answer::new(body_bytes, "no-store", headers),
            sent: Cell::new(0),
        }
    }

    /// The answer to a request, which counts it. `input` begins with the request.
    #[must_use]
    pub fn to(&self, request: Request, input: &[u8]) -> Cow<'_, [u8]> {
        let answer = match request.asked {
            Asked::Kept => &self.kept,
            Asked::Fresh => &self.fresh,
            Asked::Count => return Cow::Owned(fresh(self.sent.get().to_string().as_bytes())),
            Asked::Echo => {
                self.sent.set(self.sent.get() + 1);
                return Cow::Owned(fresh(input.get(..request.bytes).unwrap_or_default()));
            }
        };
        self.sent.set(self.sent.get() + 1);
        let whole = answer.whole.as_slice();
        Cow::Borrowed(if request.body { whole } else { whole.split_at(answer.head).0 })
    }
}

impl Answer {
    fn new(body_bytes: usize, cache_control: &str, headers: &[String]) -> Self {
        let headers: String = headers.iter().flat_map(|header| [header, "\r\n"]).collect();
        let mut whole = format!(
            "HTTP/1.1 200 OK\r\n\
             Content-Type: application/octet-stream\r\n\
             Cache-Control: {cache_control}\r\n\
             {headers}\
             Content-Length: {body_bytes}\r\n\r\n"
        )
        .into_bytes();
        let head = whole.len();
        whole.resize(head + body_bytes, b'x');
        Self { whole, head }
    }
}

/// An answer that is made for one request.
fn fresh(body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Request = Request { bytes: 0, asked: Asked::Fresh, body: true, close: false };

    fn request(text: &str) -> Parsed {
        parse(text.as_bytes())
    }

    #[test]
    fn requests_in_one_buffer_are_read_one_after_the_other() {
        let first = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
        let both = format!("{first}HEAD /cacheable/1 HTTP/1.1\r\nConnection: Close\r\n\r\nGE");
        let bytes = first.len();
        assert_eq!(request(&both), Parsed::Request(Request { bytes, ..PLAIN }));
        let rest = both.split_at(bytes).1;
        let second =
            Request { bytes: rest.len() - 2, asked: Asked::Kept, body: false, close: true };
        assert_eq!(request(rest), Parsed::Request(second));
        assert_eq!(request("GE"), Parsed::Incomplete);
    }

    #[test]
    fn every_first_part_of_a_request_is_incomplete() {
        let whole = "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(request(whole.split_at(end).0), Parsed::Incomplete, "{end}");
        }
        assert_eq!(request(whole), Parsed::Request(Request { bytes: whole.len(), ..PLAIN }));
    }

    #[test]
    fn what_is_not_a_simple_request_is_refused() {
        for bad in [
            "POST / HTTP/1.1\r\n\r\n",
            "GET / HTTP/2\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/1.1 x\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\ntransfer-ENCODING: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        ] {
            assert!(matches!(request(bad), Parsed::Refused(_)), "{bad}");
        }
        let large = "x".repeat(HEAD_BYTES_MAX + 1);
        assert!(matches!(request(&large), Parsed::Refused(_)));
    }

    #[test]
    fn an_answer_has_the_length_that_it_declares() {
        let answers = Answers::new(1024, &["ETag: \"a\"".to_owned()]);
        let whole = answers.to(PLAIN, b"");
        let head = answers.to(Request { body: false, ..PLAIN }, b"");
        assert_eq!(whole.len() - head.len(), 1024);
        assert!(head.ends_with(b"Content-Length: 1024\r\n\r\n"));
        assert!(head.windows(8).any(|word| word == b"no-store"));
        let kept = answers.to(Request { asked: Asked::Kept, ..PLAIN }, b"");
        assert!(kept.windows(7).any(|word| word == b"max-age"));
        assert!(kept.windows(11).any(|word| word == b"\r\nETag: \"a\""));
        let counted = answers.to(Request { asked: Asked::Count, ..PLAIN }, b"");
        assert_eq!(answers.to(Request { asked: Asked::Count, ..PLAIN }, b""), counted);
        assert!(counted.ends_with(b"\r\n\r\n3"));
    }

    #[test]
    fn a_request_that_asks_for_it_is_echoed() {
        let text = "GET /a HTTP/1.1\r\nX-Echo: 1\r\nX-User-Id: u\r\n\r\n";
        let Parsed::Request(asked) = request(text) else { panic!("no request") };
        assert_eq!(asked.asked, Asked::Echo);
        let answers = Answers::new(1024, &[]);
        let both = format!("{text}GET /b");
        assert!(answers.to(asked, both.as_bytes()).ends_with(format!("\r\n{text}").as_bytes()));
    }
}
