//! Lines: where one ends, and which bytes none may hold.

use super::Violation;

pub(super) const BARE_CR: Violation = Violation("A carriage return stands without a line feed.");
pub(super) const BARE_LF: Violation = Violation("A line ends without a carriage return.");
const CONTROL: Violation = Violation("The header holds a control character.");
const TOO_LARGE: Violation = Violation("The header is larger than any that is read.");

/// The lines of a header or of trailers, of which the last may still be on its way.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The line that is not whole yet; it may end with the first half of its line break.
    held: Vec<u8>,
    /// Bytes read so far.
    read: usize,
}

impl Lines {
    /// Hands every whole line to `judge`, up to the empty line that ends the block. Returns the
    /// bytes behind that; none while the block goes on. `max` is the most bytes of the block.
    ///
    /// # Errors
    /// A line break or a byte that no line may hold, too many bytes, or what `judge` says. Each
    /// is found at the same byte whatever pieces the block comes in.
    pub(super) fn read<'a>(
        &mut self,
        mut bytes: &'a [u8],
        max: usize,
        mut judge: impl FnMut(&[u8]) -> Result<(), Violation>,
    ) -> Result<Option<&'a [u8]>, Violation> {
        while !bytes.is_empty() {
            let room = max.saturating_sub(self.read);
            let window = bytes.get(..room).unwrap_or(bytes);
            let Some((length, used)) = self.line_end(window)? else {
                if window.len() < bytes.len() {
                    return Err(TOO_LARGE);
                }
                self.held.extend_from_slice(bytes);
                self.read += bytes.len();
                return Ok(None);
            };
            let (line, rest) = (bytes.get(..length), bytes.get(used..));
            let (line, rest) = (line.unwrap_or_default(), rest.unwrap_or_default());
            self.read += used;
            bytes = rest;
            if self.held.is_empty() {
                if line.is_empty() {
                    return Ok(Some(rest));
                }
                judge(line)?;
                continue;
            }
            self.held.extend_from_slice(line);
            if self.held.last() == Some(&b'\r') {
                self.held.pop();
            }
            if self.held.is_empty() {
                return Ok(Some(rest));
            }
            judge(&self.held)?;
            self.held.clear();
        }
        Ok(None)
    }

    /// How many of these bytes belong to the line, and how many belong to it with its line break;
    /// none where it does not end here.
    fn line_end(&self, bytes: &[u8]) -> Result<Option<(usize, usize)>, Violation> {
        if self.held.last() == Some(&b'\r') {
            return match bytes.first() {
                Some(b'\n') => Ok(Some((0, 1))),
                Some(_) => Err(BARE_CR),
                None => Ok(None),
            };
        }
        let Some(at) = first_control(bytes) else { return Ok(None) };
        match bytes.get(at..).unwrap_or_default() {
            [b'\r', b'\n', ..] => Ok(Some((at, at + 2))),
            [b'\r'] => Ok(None),
            [b'\r', ..] => Err(BARE_CR),
            [b'\n', ..] => Err(BARE_LF),
            _ => Err(CONTROL),
        }
    }
}

/// Index of the first control character other than a tab.
///
/// This is the one pass over the whole of every header. Long lines, as tokens make them, are
/// passed over 32 bytes at a time, in vectors.
fn first_control(bytes: &[u8]) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<32>();
    let holds = |block: &[u8; 32]| block.iter().fold(false, |any, byte| any | is_control(*byte));
    let start = 32 * blocks.iter().take_while(|block| !holds(block)).count();
    first_control_near(bytes.get(start..)?).map(|at| start + at)
}

/// The same, eight bytes at a time.
fn first_control_near(bytes: &[u8]) -> Option<usize> {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        if may_hold_control(u64::from_le_bytes(*word))
            && let Some(at) = word.iter().position(|byte| is_control(*byte))
        {
            return Some(index * 8 + at);
        }
    }
    let at = tail.iter().position(|byte| is_control(*byte))?;
    Some(words.len() * 8 + at)
}

const fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// Whether one of eight bytes is below 0x20, a tab too, or 0x7f. Never false where one is: the
/// arithmetic of the one may carry into its neighbour, but only after a hit.
const fn may_hold_control(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let low = word.wrapping_sub(ONES * 0x20) & !word;
    let flipped = word ^ (ONES * 0x7f);
    let delete = flipped.wrapping_sub(ONES) & !flipped;
    (low | delete) & HIGH != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_found_wherever_they_stand() {
        for byte in 0..=u8::MAX {
            for length in [1, 2, 7, 8, 9, 15, 20, 31, 32, 33, 63, 64, 75, 96] {
                for at in 0..length {
                    for fill in [b' ', b'a', b'\t', 0x80, 0xff, b'~'] {
                        let mut bytes = vec![fill; length];
                        bytes[at] = byte;
                        let expected = is_control(byte).then_some(at);
                        assert_eq!(first_control(&bytes), expected, "{byte} at {at} in {bytes:?}");
                    }
                }
            }
        }
    }
}
