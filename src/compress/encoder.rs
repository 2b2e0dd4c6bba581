//! Encoders, with a bound on what each of them holds.
//!
//! Levels and windows are chosen for answers that are made while a client waits: measured on
//! JSON, a MiB costs about 10 ms with gzip, 17 ms with brotli and 3 ms with zstd, and shrinks to
//! about a fifth with each. The next levels cost half as much again and more, and save little.
//! The windows bound what an encoder holds; it is less where the answer is known to be shorter.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use zstd::zstd_safe::CParameter;

use crate::model::Coding;

const GZIP_LEVEL: u32 = 5;
const BROTLI_LEVEL: i32 = 4;
const ZSTD_LEVEL: i32 = 3;

/// Logarithm of the largest window: 256 KiB for brotli, 512 KiB for zstd.
const BROTLI_WINDOW_LOG: u32 = 18;
const ZSTD_WINDOW_LOG: u32 = 19;
/// Logarithms of the smallest windows that the formats know.
const BROTLI_WINDOW_LOG_MIN: u32 = 10;
const ZSTD_WINDOW_LOG_MIN: u32 = 10;

/// Bytes that the encoder of brotli gathers before it hands them on.
const BROTLI_BUFFER_BYTES: usize = 4096;

/// An answer on its way into a coding.
pub struct Encoder(Kind);

enum Kind {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// An encoder; `length` is that of the answer in bytes, where it is known.
    ///
    /// # Errors
    /// When the library refuses, for want of memory.
    pub fn new(coding: Coding, length: Option<u64>) -> io::Result<Self> {
        Ok(Self(match coding {
            Coding::Gzip => Kind::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
            Coding::Br => {
                let window = window(length, BROTLI_WINDOW_LOG_MIN, BROTLI_WINDOW_LOG);
                let parameters = brotli::enc::BrotliEncoderParams {
                    quality: BROTLI_LEVEL,
                    lgwin: i32::try_from(window).unwrap_or_default(),
                    size_hint: length
                        .and_then(|length| usize::try_from(length).ok())
                        .unwrap_or_default(),
                    ..brotli::enc::BrotliEncoderParams::default()
                };
                Kind::Brotli(Box::new(brotli::CompressorWriter::with_params(
                    Vec::new(),
                    BROTLI_BUFFER_BYTES,
                    &parameters,
                )))
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                let window = window(length, ZSTD_WINDOW_LOG_MIN, ZSTD_WINDOW_LOG);
                encoder.set_parameter(CParameter::WindowLog(window))?;
                encoder.set_pledged_src_size(length)?;
                Kind::Zstd(encoder)
            }
        }))
    }

    /// Takes a piece of the answer.
    ///
    /// # Errors
    /// When the answer is longer than it was said to be.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Kind::Gzip(encoder) => encoder.write_all(piece),
            Kind::Brotli(encoder) => encoder.write_all(piece),
            Kind::Zstd(encoder) => encoder.write_all(piece),
        }
    }

    /// Brings everything so far to where [`take`](Self::take) finds it: the client can read all
    /// that the service has said. Costs a few bytes.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::Gzip(encoder) => encoder.flush(),
            Kind::Brotli(encoder) => encoder.flush(),
            Kind::Zstd(encoder) => encoder.flush(),
        }
    }

    /// What has come out since the last call.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(match &mut self.0 {
            Kind::Gzip(encoder) => encoder.get_mut(),
            Kind::Brotli(encoder) => encoder.get_mut(),
            Kind::Zstd(encoder) => encoder.get_mut(),
        })
    }

    /// Ends the answer; returns what has come out since the last [`take`](Self::take).
    ///
    /// # Errors
    /// When the answer is shorter than it was said to be.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        match self.0 {
            Kind::Gzip(encoder) => encoder.finish(),
            Kind::Brotli(encoder) => Ok(encoder.into_inner()),
            Kind::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// Logarithm of a window that holds the whole answer, within bounds.
fn window(length: Option<u64>, least: u32, most: u32) -> u32 {
    let needed = length.map_or(most, |length| u64::BITS - length.leading_zeros());
    needed.clamp(least, most)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const ALL: [Coding; 3] = [Coding::Gzip, Coding::Br, Coding::Zstd];

    fn decode(coding: Coding, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        match coding {
            Coding::Gzip => {
                flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain)?;
            }
            Coding::Br => {
                brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain)?;
            }
            Coding::Zstd => plain = zstd::stream::decode_all(bytes)?,
        }
        Ok(plain)
    }

    /// As much as can be read of an answer that has not ended.
    fn readable(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut reader: Box<dyn Read> = match coding {
            Coding::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
            Coding::Br => Box::new(brotli::Decompressor::new(bytes, 4096)),
            Coding::Zstd => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
        };
        let (mut plain, mut byte) = (Vec::new(), [0_u8]);
        while matches!(reader.read(&mut byte), Ok(1)) {
            plain.push(byte[0]);
        }
        plain
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|at| b"lamps and chairs "[(at * at / 7) % 17]).collect()
    }

    #[test]
    fn what_goes_in_comes_out_again() {
        for coding in ALL {
            for length in [0, 1, 1023, 70_000, 700_000] {
                let plain = text(length);
                for known in [None, Some(plain.len() as u64)] {
                    for piece in [1 << 20, 7_001] {
                        let mut encoder = Encoder::new(coding, known).unwrap();
                        let mut coded = Vec::new();
                        for part in plain.chunks(piece) {
                            encoder.write(part).unwrap();
                            coded.append(&mut encoder.take());
                        }
                        coded.append(&mut encoder.finish().unwrap());
                        assert!(length < 1023 || coded.len() < length / 2, "{coding:?}");
                        assert_eq!(decode(coding, &coded).unwrap(), plain, "{coding:?} {length}");
                    }
                }
            }
        }
    }

    #[test]
    fn after_a_flush_all_can_be_read_and_what_broke_off_is_an_error() {
        for coding in ALL {
            let mut encoder = Encoder::new(coding, None).unwrap();
            let mut coded = Vec::new();
            for piece in [&b"first;"[..], b"second;", b"third"] {
                encoder.write(piece).unwrap();
                encoder.flush().unwrap();
                coded.append(&mut encoder.take());
                assert!(readable(coding, &coded).ends_with(piece), "{coding:?}");
            }
            assert!(decode(coding, &coded).is_err(), "{coding:?} has not ended");
            coded.append(&mut encoder.finish().unwrap());
            assert_eq!(decode(coding, &coded).unwrap(), b"first;second;third");
        }
    }

    #[test]
    fn a_window_holds_the_answer_within_bounds() {
        for (length, expected) in [
            (None, 18),
            (Some(0), 10),
            (Some(1023), 10),
            (Some(1024), 11),
            (Some(131_071), 17),
            (Some(131_072), 18),
            (Some(u64::MAX), 18),
        ] {
            assert_eq!(window(length, 10, 18), expected, "{length:?}");
        }
    }
}
