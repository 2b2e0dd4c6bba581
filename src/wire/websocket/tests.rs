//! Frames of every length, in pieces of every length.

use super::*;

const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

fn frame(first: u8, content: usize) -> Vec<u8> {
    let mut frame = vec![first];
    if let Ok(short) = u8::try_from(content)
        && short < 126
    {
        frame.push(short);
    } else if let Ok(medium) = u16::try_from(content) {
        frame.push(126);
        frame.extend(medium.to_be_bytes());
    } else {
        frame.push(127);
        frame.extend((content as u64).to_be_bytes());
    }
    // Content that looks like the beginning of a frame.
    frame.resize(frame.len() + content, 0x81);
    frame
}

/// The state after these bytes, in one piece and in small ones; both must be the same.
fn after(bytes: &[u8]) -> Frames {
    let mut whole = Frames::default();
    whole.push(bytes);
    for size in [1, 2, 3, 7, 4096] {
        let mut pieces = Frames::default();
        bytes.chunks(size).for_each(|piece| pieces.push(piece));
        assert_eq!(pieces.is_between(), whole.is_between(), "in pieces of {size}");
        assert_eq!(pieces.is_closing(), whole.is_closing(), "in pieces of {size}");
    }
    whole
}

#[test]
fn a_frame_ends_where_its_length_says() {
    for content in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        let bytes = [SWITCH, &frame(0x82, 3), &frame(0x81, content)].concat();
        assert!(after(&bytes).is_between(), "{content}");
        assert!(!after(&bytes[..bytes.len() - 1]).is_between(), "{content}, one short");
        let more = [bytes.as_slice(), &[0x81]].concat();
        assert!(!after(&more).is_between(), "{content}, one more");
    }
}

#[test]
fn nothing_fits_in_before_the_answer_has_switched() {
    assert!(!Frames::default().is_between());
    assert!(after(SWITCH).is_between());
    assert!(!after(&SWITCH[..SWITCH.len() - 1]).is_between());
    let hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    assert!(!after(hints).is_between());
    assert!(after(&[hints, SWITCH].concat()).is_between());
    for status in ["100", "111", "102", "010"] {
        let other = format!("HTTP/1.1 {status} X\r\na: 101\r\n\r\n");
        assert!(!after(other.as_bytes()).is_between(), "{status}");
    }
}

#[test]
fn a_mask_counts() {
    let masked = [SWITCH, &[0x81, 0x82, 1, 2, 3, 4, 9, 9]].concat();
    assert!(after(&masked).is_between());
    assert!(!after(&masked[..masked.len() - 1]).is_between());
}

#[test]
fn a_service_may_close_itself() {
    assert!(!after(&[SWITCH, &frame(0x81, 8), &frame(0x8A, 8)].concat()).is_closing());
    assert!(after(&[SWITCH, &frame(0x88, 2)].concat()).is_closing());
}

#[test]
fn what_has_begun_is_told_from_what_follows() {
    let two = [frame(0x01, 200), frame(0x80, 1)].concat();
    let frames = after(&[SWITCH, &two[..100]].concat());
    assert_eq!(frames.rest_of_frame(&two[100..]), 104);
    assert_eq!(frames.rest_of_frame(&two[100..150]), 50, "as much as there is");
    assert_eq!(after(SWITCH).rest_of_frame(&two), 0, "nothing has begun");
    let all = [SWITCH, two.as_slice()].concat();
    assert_eq!(Frames::default().rest_of_frame(&all), SWITCH.len());
    assert_eq!(after(&[SWITCH, &two[..1]].concat()).rest_of_frame(&two[1..]), 203);
}

#[test]
fn no_length_is_too_long_to_be_followed() {
    let longest = [SWITCH, &[0x82, 0xFF], &[0xFF; 8], &[0; 100]].concat();
    assert!(!after(&longest).is_between());
}
