//! HTTP/1 framing, read along with Pingora and more strictly (RFC 9112).
//!
//! A request that two servers could cut apart in two places lets a client hide a second request
//! in the first. So the bytes of every HTTP/1 connection pass by here before Pingora reads them,
//! and what could be read in two ways is a [`Violation`], however lenient Pingora is about it.
//!
//! | File | What it decides |
//! |---|---|
//! | this one | where a client is in its requests |
//! | `lines` | what a line is |
//! | `header` | whether a request line and the fields behind it are clean; how long the body is |
//! | `chunks` | where a chunked body ends |
//!
//! What a host or a path may be is not framing: `edge` judges both, for HTTP/2 too. The limits of
//! the configuration are not known here either; there is one ceiling for everybody.
//!
//! The common case, a whole header in one read, is one pass over the bytes and no allocation. Of
//! a header that comes in pieces only the line that is not whole yet is kept.

mod chunks;
mod header;
mod lines;

use chunks::Chunks;
use header::{Body, Facts};
use lines::Lines;

/// Where a client is in its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Between requests: nothing of the next has come.
    Idle,
    /// Within a header.
    Header,
    /// Within a body.
    Body,
    /// Beyond HTTP/1: upgraded, nothing is read along any more.
    Tunnel,
}

/// What cannot be read in one way only: one sentence for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation(pub &'static str);

/// Follows the bytes of a client, request after request.
#[derive(Debug, Default)]
pub struct Framing {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Nothing of the next request has come.
    #[default]
    Idle,
    /// An empty line before a request has begun; it is forgiven once (RFC 9112 section 2.2).
    EmptyLine,
    /// It has ended.
    EmptyLineSeen,
    /// Within a header of which the beginning has come.
    Header(Box<Header>),
    /// This many bytes of a body are still to come.
    Length(u64),
    /// Within a chunked body.
    Chunked(Chunks),
    /// Nothing is read along any more.
    Tunnel,
    /// Nothing that comes has a meaning any more.
    Broken(Violation, Phase),
}

/// A header as far as it has come.
#[derive(Debug, Default)]
struct Header {
    lines: Lines,
    facts: Facts,
}

/// Largest header, in bytes from the request line to the empty line. Beyond this a client is not
/// read along, so no configuration may allow more.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;

impl Framing {
    /// Takes the next bytes as they came. How they are cut into pieces makes no difference to
    /// what is said of them.
    ///
    /// # Errors
    /// The first violation, then and ever after: nothing that follows it has a meaning.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.step(rest) {
                Ok(behind) => rest = behind,
                Err(violation) => {
                    self.state = State::Broken(violation, self.phase());
                    return Err(violation);
                }
            }
        }
        Ok(())
    }

    /// Where the client is; after a violation, where it was.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match &self.state {
            State::Idle | State::EmptyLine | State::EmptyLineSeen => Phase::Idle,
            State::Header(_) => Phase::Header,
            State::Length(_) | State::Chunked(_) => Phase::Body,
            State::Tunnel => Phase::Tunnel,
            State::Broken(_, phase) => *phase,
        }
    }

    /// The gateway has switched protocols: what follows is not HTTP/1.
    pub fn tunnel(&mut self) {
        self.state = State::Tunnel;
    }

    /// Reads one thing off the front of at least one byte; returns the bytes behind it.
    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Violation> {
        match &mut self.state {
            State::Idle => match bytes {
                [b'\r', rest @ ..] => {
                    self.state = State::EmptyLine;
                    Ok(rest)
                }
                _ => self.begin(bytes),
            },
            State::EmptyLine => match bytes {
                [b'\n', rest @ ..] => {
                    self.state = State::EmptyLineSeen;
                    Ok(rest)
                }
                _ => Err(lines::BARE_CR),
            },
            State::EmptyLineSeen => match bytes {
                [b'\r', ..] => Err(Violation("Before a request stands more than one empty line.")),
                _ => self.begin(bytes),
            },
            State::Header(header) => match header.read(bytes)? {
                Some((body, rest)) => {
                    self.enter(body);
                    Ok(rest)
                }
                None => Ok(&[]),
            },
            State::Length(left) => {
                let here = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= here as u64;
                if *left == 0 {
                    self.state = State::Idle;
                }
                Ok(bytes.get(here..).unwrap_or_default())
            }
            State::Chunked(chunks) => match chunks.read(bytes)? {
                Some(rest) => {
                    self.state = State::Idle;
                    Ok(rest)
                }
                None => Ok(&[]),
            },
            State::Tunnel => Ok(&[]),
            State::Broken(violation, _) => Err(*violation),
        }
    }

    /// Reads the first piece of a header, which is most often all of it.
    fn begin<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Violation> {
        let mut header = Header::default();
        match header.read(bytes) {
            Ok(Some((body, rest))) => {
                self.enter(body);
                Ok(rest)
            }
            Ok(None) => {
                self.state = State::Header(Box::new(header));
                Ok(&[])
            }
            Err(violation) => {
                self.state = State::Broken(violation, Phase::Header);
                Err(violation)
            }
        }
    }

    fn enter(&mut self, body: Body) {
        self.state = match body {
            Body::None => State::Idle,
            Body::Length(bytes) => State::Length(bytes),
            Body::Chunked => State::Chunked(Chunks::default()),
        };
    }
}

impl Header {
    /// Reads on; once the header is whole, says how its body is framed and what stands behind it.
    fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(Body, &'a [u8])>, Violation> {
        let facts = &mut self.facts;
        match self.lines.read(bytes, HEADER_BYTES_MAX, |line| facts.line(line))? {
            Some(rest) => Ok(Some((self.facts.body()?, rest))),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
