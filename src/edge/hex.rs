//! Hexadecimal digits.

/// The value of a hexadecimal digit of either case.
pub(super) const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Fills a slot with the lowest digits of a number, in lower case.
pub(super) fn write_hex(slot: &mut [u8], mut number: u128) {
    for byte in slot.iter_mut().rev() {
        *byte = match (number & 0xf) as u8 {
            digit @ 0..=9 => b'0' + digit,
            digit => b'a' + digit - 10,
        };
        number >>= 4;
    }
}
