//! Chunked bodies (RFC 9112 section 7.1): where one ends.

use super::Violation;
use super::header::field;
use super::lines::{BARE_CR, BARE_LF, Lines};

/// Follows a chunked body.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    place: Place,
    /// Digits of the size read so far.
    digits: u8,
    /// Bytes of the size line read so far.
    line: u16,
    /// Bytes of the chunk that are still to come.
    left: u64,
    /// The trailers, once they have begun in one piece and gone on in another.
    trailers: Option<Box<Lines>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// The size of a chunk.
    #[default]
    Size,
    /// Behind the `;` of an extension.
    Extension,
    /// Behind the carriage return of a size line.
    SizeEnd,
    /// The bytes of a chunk.
    Data,
    /// Behind them.
    DataEnd,
    /// Behind the carriage return there.
    DataEndLine,
    /// Behind the last chunk.
    Trailers,
}

/// Longest size line with its extensions. Nobody has a use for them, and each byte is work that
/// carries nothing.
const SIZE_LINE_MAX: u16 = 256;
/// Digits of the largest number of 64 bits.
const DIGITS_MAX: u8 = 16;
/// Largest chunk: what servers with signed numbers can hold.
const CHUNK_MAX: u64 = i64::MAX as u64;
/// Most bytes of trailers.
const TRAILER_BYTES_MAX: usize = 8 * 1024;

impl Chunks {
    /// Reads on. Returns the bytes behind the body; none while it goes on.
    pub(super) fn read<'a>(&mut self, mut bytes: &'a [u8]) -> Result<Option<&'a [u8]>, Violation> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.place {
                Place::Size | Place::Extension | Place::SizeEnd => {
                    self.size_line(byte)?;
                    bytes = rest;
                }
                Place::Data => {
                    let here = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                    self.left -= here as u64;
                    if self.left == 0 {
                        self.place = Place::DataEnd;
                    }
                    bytes = bytes.get(here..).unwrap_or_default();
                }
                Place::DataEnd if byte == b'\r' => {
                    self.place = Place::DataEndLine;
                    bytes = rest;
                }
                Place::DataEndLine if byte == b'\n' => {
                    *self = Self::default();
                    bytes = rest;
                }
                Place::DataEnd | Place::DataEndLine => {
                    return Err(Violation(
                        "Behind the bytes of a chunk its line break is missing.",
                    ));
                }
                Place::Trailers => return self.trailers(bytes),
            }
        }
        Ok(None)
    }

    /// Reads a byte of `size [; extensions] CRLF`.
    fn size_line(&mut self, byte: u8) -> Result<(), Violation> {
        self.line += 1;
        if self.line > SIZE_LINE_MAX {
            return Err(Violation("The extensions of a chunk are too long."));
        }
        match (self.place, byte) {
            (Place::SizeEnd, b'\n') => {
                self.place = if self.left == 0 { Place::Trailers } else { Place::Data };
                Ok(())
            }
            (Place::SizeEnd, _) => Err(BARE_CR),
            (_, b'\n') => Err(BARE_LF),
            (Place::Size, b'\r' | b';') if self.digits == 0 => {
                Err(Violation("A chunk has no size."))
            }
            (_, b'\r') => {
                self.place = Place::SizeEnd;
                Ok(())
            }
            (Place::Size, b';') => {
                self.place = Place::Extension;
                Ok(())
            }
            (Place::Size, _) => self.digit(byte),
            (_, 0..=0x08 | 0x0a..=0x1f | 0x7f) => {
                Err(Violation("The extension of a chunk holds a control character."))
            }
            _ => Ok(()),
        }
    }

    fn digit(&mut self, byte: u8) -> Result<(), Violation> {
        let digit = char::from(byte)
            .to_digit(16)
            .ok_or(Violation("The size of a chunk is not a hexadecimal number."))?;
        self.digits += 1;
        // The sixteenth digit moves the first to the top: nothing is lost before the comparison.
        self.left = self.left << 4 | u64::from(digit);
        if self.digits > DIGITS_MAX || self.left > CHUNK_MAX {
            return Err(Violation("A chunk is larger than any body."));
        }
        Ok(())
    }

    fn trailers<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, Violation> {
        let mut begun = self.trailers.take().map_or_else(Lines::default, |lines| *lines);
        let rest = begun.read(bytes, TRAILER_BYTES_MAX, trailer)?;
        if rest.is_none() {
            self.trailers = Some(Box::new(begun));
        }
        Ok(rest)
    }
}

/// Judges a trailer.
fn trailer(line: &[u8]) -> Result<(), Violation> {
    let (name, _) = field(line)?;
    if FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden)) {
        return Err(Violation("A trailer holds a field that belongs into the header."));
    }
    Ok(())
}

/// Fields that frame, route, identify or change a request (RFC 9110 section 6.5.1): they come too
/// late behind it, and a server that took them all the same could be fooled.
const FORBIDDEN: &[&[u8]] = &[
    b"content-length",
    b"content_length",
    b"transfer-encoding",
    b"transfer_encoding",
    b"host",
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"upgrade",
    b"te",
    b"trailer",
    b"expect",
    b"max-forwards",
    b"range",
    b"cache-control",
    b"pragma",
    b"if-match",
    b"if-none-match",
    b"if-modified-since",
    b"if-unmodified-since",
    b"if-range",
    b"authorization",
    b"proxy-authorization",
    b"cookie",
    b"set-cookie",
    b"content-encoding",
    b"content-type",
    b"content-range",
    b"forwarded",
    b"via",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
];
