//! Two answers, are they the same?

use http::{HeaderName, header};
use pingora::http::ResponseHeader;
use sha2::{Digest, Sha256};

/// What makes an answer the one that it is: a SHA-256 of its status, of what its header says of
/// the content, and of the content. Of a refusal (from 400 on) only the status counts: its text
/// may name the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print([u8; 32]);

/// Takes the print of an answer while it comes.
#[derive(Clone, Debug)]
pub struct Printer {
    hash: Sha256,
    /// How many more bytes of content there may be.
    left: u64,
    /// Whether the content counts.
    reads: bool,
    status: u16,
}

impl Printer {
    /// Begins with the header of an answer, whose content is at most that many bytes long.
    #[must_use]
    pub fn new(header: &ResponseHeader, body_bytes_max: u64) -> Self {
        let status = header.status.as_u16();
        let reads = status < 400;
        let mut hash = Sha256::new();
        hash.update(status.to_be_bytes());
        if reads {
            for name in &COMPARED {
                let mut values = header.headers.get_all(name).iter().peekable();
                // Which field it is, then each value behind its length.
                hash.update([u8::from(values.peek().is_some())]);
                for value in values {
                    hash.update((value.len() as u64).to_be_bytes());
                    hash.update(value.as_bytes());
                }
                hash.update(u64::MAX.to_be_bytes());
            }
        }
        Self { hash, left: body_bytes_max, reads, status }
    }

    /// Takes a piece of the content; false once there is more of it than was to be.
    pub fn update(&mut self, piece: &[u8]) -> bool {
        if !self.reads {
            return true;
        }
        let Some(left) = self.left.checked_sub(piece.len() as u64) else { return false };
        self.left = left;
        self.hash.update(piece);
        true
    }

    /// The print; none of answers that say nothing about the content: the service failed, or did
    /// not want to be asked now.
    #[must_use]
    pub fn finish(self) -> Option<Print> {
        let says_nothing = self.status >= 500 || matches!(self.status, 304 | 408 | 425 | 429);
        (!says_nothing).then(|| Print(self.hash.finalize().into()))
    }
}

/// Fields that count: those that say what the content is.
static COMPARED: [HeaderName; 4] =
    [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE, header::LOCATION];

#[cfg(test)]
mod tests {
    use super::*;

    fn header(status: u16, fields: &[(&'static str, &'static str)]) -> ResponseHeader {
        let mut header = ResponseHeader::build(status, None).unwrap();
        for (name, value) in fields {
            header.append_header(*name, *value).unwrap();
        }
        header
    }

    fn print(status: u16, fields: &[(&'static str, &'static str)], body: &[&str]) -> Option<Print> {
        let mut printer = Printer::new(&header(status, fields), 16);
        assert!(body.iter().all(|piece| printer.update(piece.as_bytes())));
        printer.finish()
    }

    #[test]
    fn the_same_answer_in_other_pieces_is_the_same() {
        let json = [("content-type", "application/json")];
        let whole = print(200, &json, &["{\"a\":1}"]);
        assert!(whole.is_some());
        assert_eq!(whole, print(200, &json, &["{\"a\"", "", ":1}"]));
        let others = [("x-serial", "7"), ("date", "now"), json[0]];
        assert_eq!(whole, print(200, &others, &["{\"a\":1}"]), "other fields do not count");
    }

    #[test]
    fn status_content_and_what_is_said_of_it_count() {
        let json = [("content-type", "application/json")];
        let one = print(200, &json, &["1"]);
        for (status, fields, body) in [
            (203, &json[..], "1"),
            (200, &[], "1"),
            (200, &[("content-type", "text/plain")], "1"),
            (200, &[json[0], json[0]], "1"),
            (200, &[json[0], ("content-language", "de")], "1"),
            (200, &[json[0], ("content-encoding", "gzip")], "1"),
            (200, &[json[0], ("location", "/")], "1"),
            (200, &json, "2"),
            (200, &json, ""),
            (404, &json, "1"),
        ] {
            assert_ne!(one, print(status, fields, &[body]), "{status} {fields:?} {body}");
        }
        let de = print(200, &[("content-language", "x")], &[]);
        assert_ne!(de, print(200, &[("content-type", "x")], &[]), "fields are told apart");
    }

    #[test]
    fn of_a_refusal_the_status_counts() {
        let refused = print(403, &[("content-type", "text/plain")], &["request 1"]);
        assert!(refused.is_some());
        assert_eq!(refused, print(403, &[], &["request 2 was refused too, in more words"]));
        assert_ne!(refused, print(404, &[], &[]));
        assert_ne!(refused, print(399, &[], &[]));
    }

    #[test]
    fn failures_say_nothing_of_the_content() {
        for status in [304, 408, 425, 429, 500, 503, 599] {
            assert_eq!(print(status, &[], &[]), None, "{status}");
        }
        assert!(print(499, &[], &[]).is_some() && print(301, &[], &[]).is_some());
    }

    #[test]
    fn a_content_that_is_longer_than_it_may_be_ends_it() {
        let mut printer = Printer::new(&header(200, &[]), 3);
        assert!(printer.update(b"ab") && printer.update(b"c") && printer.update(b""));
        assert!(!printer.update(b"d"));
        let mut refused = Printer::new(&header(404, &[]), 3);
        assert!(refused.update(b"more than three"));
    }
}
