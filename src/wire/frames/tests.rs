use super::*;
use crate::wire::rules::Speaks;

fn rules() -> Rules {
    let second = Duration::from_secs(1);
    Rules {
        speaks: Speaks::Http2,
        header: second,
        read: second,
        idle: second,
        min_rate: 0,
        requests: 1,
        header_bytes: 1000,
        streams: 10,
        resets: 5,
        control_frames: 10,
    }
}

fn frame(kind: u8, flags: u8, length: u32) -> Vec<u8> {
    let [_, high, middle, low] = length.to_be_bytes();
    let mut bytes = vec![high, middle, low, kind, flags, 0, 0, 0, 1];
    bytes.resize(9 + length as usize, 0xff);
    bytes
}

fn begun() -> Frames {
    let mut frames = Frames::default();
    frames.push(PREFACE, Instant::now(), &rules()).unwrap();
    frames
}

/// How many of these frames are taken before the connection is given up.
fn most(frames: &mut Frames, bytes: &[u8], now: Instant) -> usize {
    let rules = rules();
    (0..1000).take_while(|_| frames.push(bytes, now, &rules).is_ok()).count()
}

#[test]
fn frames_are_told_apart_however_they_are_cut() {
    let stream = [
        PREFACE.as_slice(),
        &frame(4, 0, 18),
        &frame(HEADERS, END_HEADERS, 7),
        &frame(DATA, 0, 300),
        &frame(DATA, END_STREAM, 0),
        &frame(RST_STREAM, 0, 4),
        &frame(6, 0, 8),
    ]
    .concat();
    for size in [1, 2, 5, 9, 10, 24, 33, stream.len()] {
        let mut frames = Frames::default();
        for piece in stream.chunks(size) {
            frames.push(piece, Instant::now(), &rules()).unwrap();
        }
        assert_eq!((frames.opened, frames.reset, frames.control), (1, 1, 2), "{size}");
        assert!(!frames.in_header(), "{size}");
    }
}

#[test]
fn another_protocol_is_told_at_the_first_byte_that_differs() {
    for (bytes, good) in [(b"PRI * HTTP/2.0\r\n".as_slice(), true), (b"PRO", false), (b"G", false)]
    {
        let mut frames = Frames::default();
        let outcome = frames.push(bytes, Instant::now(), &rules());
        assert_eq!(outcome, if good { Ok(()) } else { Err(Abuse::NotHttp2) });
        assert!(frames.in_header());
    }
}

#[test]
fn control_frames_are_counted_in_ten_seconds() {
    let now = Instant::now();
    for bytes in [frame(6, 0, 8), frame(4, 0, 0), frame(2, 0, 5), frame(DATA, 0, 0), frame(8, 0, 4)]
    {
        let mut frames = begun();
        assert_eq!(most(&mut frames, &bytes, now), 10);
        let mut frames = begun();
        let rules = rules();
        for second in 0..100 {
            let later = now + Duration::from_secs(second);
            frames.push(&bytes, later, &rules).unwrap();
        }
    }
    // Data with content, and the end of a body, are work that was asked for.
    for bytes in [frame(DATA, 0, 1), frame(DATA, END_STREAM, 0)] {
        assert_eq!(most(&mut begun(), &bytes, now), 1000);
    }
}

#[test]
fn answers_excuse_the_frames_that_they_cause() {
    let mut frames = begun();
    // The window begins with the first frame.
    frames.push(&frame(6, 0, 8), Instant::now(), &rules()).unwrap();
    frames.answered(640);
    assert_eq!(most(&mut frames, &frame(6, 0, 8), Instant::now()), 19);
    let mut frames = begun();
    frames.push(&frame(6, 0, 8), Instant::now(), &rules()).unwrap();
    frames.answered(400);
    assert_eq!(most(&mut frames, &frame(8, 0, 4), Instant::now()), 110);
}

#[test]
fn resets_may_be_a_few_more_than_what_ends_otherwise() {
    let now = Instant::now();
    let rapid = [frame(HEADERS, END_HEADERS, 5), frame(RST_STREAM, 0, 4)].concat();
    assert_eq!(most(&mut begun(), &rapid, now), 5);
    let one_of_two = [frame(HEADERS, END_HEADERS, 5), rapid].concat();
    assert_eq!(most(&mut begun(), &one_of_two, now), 1000);
}

#[test]
fn a_header_block_has_an_end() {
    let now = Instant::now();
    let mut frames = begun();
    frames.push(&frame(HEADERS, 0, 10), now, &rules()).unwrap();
    assert!(frames.in_header());
    assert_eq!(most(&mut frames, &frame(CONTINUATION, 0, 1), now), 32);
    let mut frames = begun();
    frames.push(&frame(HEADERS, 0, 10), now, &rules()).unwrap();
    // 2 x 1000 + 16 KiB.
    assert_eq!(most(&mut frames, &frame(CONTINUATION, 0, 6000), now), 3);
    let mut frames = begun();
    frames.push(&frame(HEADERS, 0, 10), now, &rules()).unwrap();
    frames.push(&frame(CONTINUATION, END_HEADERS, 10), now, &rules()).unwrap();
    assert!(!frames.in_header());
}
