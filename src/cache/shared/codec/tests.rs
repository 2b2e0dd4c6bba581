use http::HeaderName;
use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::new(1_700_000_000 + seconds, 123_456_789)
}

fn key(number: u8) -> CacheKey {
    let mut key = CacheKey::new(vec![number; 32], "");
    key.set_primary_bin_override([number; 16]);
    key
}

fn identity(number: u8) -> Identity {
    Identity::of(&key(number)).unwrap()
}

fn note(number: u8) -> Arc<Note> {
    let tags = [1, u64::MAX, 3].map(Tag::from_bits);
    Arc::new(Note {
        key: [number; 32],
        tags: tags.into_iter().collect(),
        seen: 9,
        caller: 11,
        ..Note::default()
    })
}

fn answer(number: u8) -> Answer {
    let mut header = ResponseHeader::build_no_case(203, None).unwrap();
    for (name, value) in [
        ("content-type", &b"text/plain"[..]),
        ("link", b"</a>"),
        ("x-odd", b"\xff\xfe \t"),
        ("link", b"</b>"),
        ("x-empty", b""),
    ] {
        let value = HeaderValue::from_bytes(value).unwrap();
        header.append_header(HeaderName::from_static(name), value).unwrap();
    }
    Answer {
        created: at(1),
        epoch: at(0),
        fresh_until: at(300),
        while_revalidate_s: 60,
        if_error_s: 3600,
        variance: Some([5; 16]),
        header,
        note: Some(note(number)),
    }
}

fn plain_body(text: &[u8]) -> (Body, Vec<u8>) {
    pack(text.to_vec(), &answer(1).header, u64::MAX, 77)
}

fn whole() -> Vec<u8> {
    let (body, stored) = plain_body(b"the body");
    encode(&identity(1), &answer(1), &body, &stored).unwrap()
}

/// The same bytes under a checksum that fits them.
fn sealed(text: &[u8]) -> Vec<u8> {
    let (front, rest) = (&text[..FRONT_BYTES], &text[FRONT_BYTES + 16..]);
    [front, &checksum(front, rest).to_be_bytes(), rest].concat()
}

#[test]
fn an_answer_comes_back_as_it_went() {
    let head = decode(&whole(), &identity(1), 8).unwrap();
    let (answer, same) = (&head.answer, answer(1));
    assert_eq!(answer.header.status, 203);
    let fields = |answer: &Answer| {
        let headers = answer.header.headers.iter();
        headers.map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>()
    };
    assert_eq!(fields(answer), fields(&same), "repeated fields and odd bytes among them");
    assert_eq!(answer.note, same.note);
    assert_eq!(unpack(&head.body, head.inline).unwrap(), "the body");

    let mut primary = key(1);
    let meta = head.answer.into_meta();
    assert_eq!((meta.created(), meta.provenance(), meta.epoch()), (at(1), at(1), at(0)));
    assert_eq!((meta.fresh_until(), meta.variance()), (at(300), Some([5; 16])));
    assert_eq!((meta.stale_while_revalidate_sec(), meta.stale_if_error_sec()), (60, 3600));
    assert_eq!(Note::of(&meta), Some(&note(1)));
    assert_eq!(Answer::of(&primary, &meta, None).created, at(1));
    primary.set_variance_key([5; 16]);
    assert_eq!(Answer::of(&primary, &meta, None).created, at(1));
}

#[test]
fn an_answer_without_note_or_variance_comes_back_without() {
    let without = Answer { note: None, variance: None, ..answer(1) };
    let (body, stored) = plain_body(b"");
    let text = encode(&identity(1), &without, &body, &stored).unwrap();
    let head = decode(&text, &identity(1), 0).unwrap();
    assert_eq!((head.answer.note, head.answer.variance), (None, None));
    assert_eq!(unpack(&head.body, head.inline).unwrap(), "");
}

#[test]
fn what_is_anothers_is_nothing() {
    let text = whole();
    assert!(decode(&text, &identity(2), 8).is_err(), "another key");
    let half = Identity { key: [2; 32], ..identity(1) };
    assert!(decode(&text, &half, 8).is_err(), "another key with the same half");
    let mut variant = key(1);
    variant.set_variance_key([5; 16]);
    assert!(decode(&text, &Identity::of(&variant).unwrap(), 8).is_err(), "another variant");
    assert!(decode(&text, &identity(1), 7).is_err(), "longer than may be");
    assert!(decode(&text, &identity(1), 8).is_ok());
    let mut other = text.clone();
    other[3] += 1;
    assert!(decode(&sealed(&other), &identity(1), 8).is_err(), "another version");
    assert!(decode(&sealed(&text), &identity(1), 8).is_ok());
    assert!(Identity::of(&CacheKey::new("short", "")).is_none(), "not a hash");
}

#[test]
fn a_head_has_a_bound() {
    let with = |bytes: usize| {
        let mut answer = answer(1);
        let value = HeaderValue::from_bytes(&vec![b'v'; bytes]).unwrap();
        answer.header.append_header(HeaderName::from_static("x-long"), value).unwrap();
        let (body, stored) = plain_body(&vec![b'b'; INLINE_BYTES_MAX]);
        encode(&identity(1), &answer, &body, &stored).map(|text| text.len())
    };
    let over = with(1000).unwrap() - INLINE_BYTES_MAX - 1000;
    let most = HEAD_BYTES_MAX - INLINE_BYTES_MAX - over;
    assert_eq!(with(most), Some(HEAD_BYTES_MAX));
    assert_eq!(with(most + 1), None);
}

#[test]
fn bodies_are_cut_where_they_are_long() {
    let cut = |length| {
        let (body, stored) = plain_body(&vec![b'b'; length]);
        let text = encode(&identity(1), &answer(1), &body, &stored).unwrap();
        let read = decode(&text, &identity(1), u64::MAX).unwrap();
        assert_eq!(read.body, body);
        (chunks_of(&text[..FRONT_BYTES]), body.chunks(), read.inline.len())
    };
    assert_eq!(cut(INLINE_BYTES_MAX), (None, 0, INLINE_BYTES_MAX));
    assert_eq!(cut(INLINE_BYTES_MAX + 1), (Some((77, 2)), 2, 0));
    assert_eq!(cut(3 * INLINE_BYTES_MAX), (Some((77, 3)), 3, 0));
    assert_eq!(chunks_of(b"TGA"), None);
    assert_eq!(chunks_of(&[0xff; FRONT_BYTES]), None);
    let many = [&MAGIC[..], &1_u64.to_be_bytes(), &u32::MAX.to_be_bytes()].concat();
    assert_eq!(chunks_of(&many), None, "nobody removes as many as that");
}

#[test]
fn bodies_are_compressed_where_that_helps() {
    let header = &answer(1).header;
    let text = vec![b't'; 1000];
    let (body, stored) = pack(text.clone(), header, 1000, 1);
    assert!(body.stored < 100 && stored.len() as u64 == body.stored);
    assert_eq!(unpack(&body, stored).unwrap(), text);
    let (body, _) = pack(text.clone(), header, 1001, 1);
    assert_eq!(body.stored, 1000, "too short");

    let mut coded = header.clone();
    coded.insert_header("content-encoding", "br").unwrap();
    assert_eq!(pack(text, &coded, 0, 1).0.stored, 1000, "is in a coding already");

    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(1000).collect();
    assert_eq!(pack(noise, header, 0, 1).0.stored, 1000, "does not get shorter");
}

#[test]
fn a_body_is_never_longer_than_its_head_says() {
    let header = &answer(1).header;
    let (body, stored) = pack(vec![b't'; 1 << 20], header, 0, 1);
    assert!(unpack(&body, stored.clone()).is_ok());
    for length in [body.stored + 1, 1000, (1 << 20) - 1, (1 << 20) + 1] {
        assert_eq!(unpack(&Body { length, ..body }, stored.clone()), Err(Garbage), "{length}");
    }
    let mut broken = stored.clone();
    broken.pop();
    assert_eq!(unpack(&body, broken), Err(Garbage));
    let mut broken = stored;
    broken[10] ^= 1;
    assert_eq!(unpack(&body, broken), Err(Garbage));
}

#[test]
fn instants_of_another_clock_are_made_plausible() {
    let settled = |epoch, fresh_until, now| {
        let mut answer = Answer { epoch, fresh_until, ..answer(1) };
        answer.settle(now);
        (answer.epoch, answer.fresh_until)
    };
    assert_eq!(settled(at(10), at(70), at(40)), (at(10), at(70)), "nothing wrong");
    assert_eq!(settled(at(10), at(70), at(10)), (at(10), at(70)));
    assert_eq!(settled(at(20), at(80), at(10)), (at(10), at(70)), "age 0, as fresh as meant");
    assert_eq!(settled(at(20), at(15), at(10)), (at(10), at(10)), "stale stays stale");
    assert_eq!(settled(at(20), at(20), at(30)), (at(20), at(20)));
    let far = UNIX_EPOCH + Duration::from_nanos(u64::MAX);
    assert_eq!(settled(at(0), far, at(40)), (at(0), at(0) + LIFETIME_MAX));
    assert_eq!(settled(far, far, at(40)).0, at(40));
    assert!(settled(far, far, at(40)).1 <= at(40));
}

#[test]
fn an_answer_is_of_use_until_not_even_stale() {
    let answer =
        Answer { fresh_until: at(100), while_revalidate_s: 10, if_error_s: 50, ..answer(1) };
    assert_eq!(answer.left(at(90)), Duration::from_mins(1));
    assert_eq!(answer.left(at(149)), Duration::from_secs(1));
    assert_eq!(answer.left(at(150)), Duration::ZERO);
    assert_eq!(answer.left(at(1000)), Duration::ZERO);
}

proptest! {
    /// Whatever stands in Redis is read without a panic, and noise is no answer.
    #[test]
    fn noise_is_nothing(text in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(decode(&text, &identity(1), u64::MAX).is_err());
        let _ = chunks_of(&text);
    }

    #[test]
    fn one_wrong_bit_makes_it_nothing(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut text = whole();
        let at = at.index(text.len());
        text[at] ^= 1 << bit;
        prop_assert!(decode(&text, &identity(1), u64::MAX).is_err());
    }

    #[test]
    fn a_part_is_nothing(at in any::<prop::sample::Index>(), more in 1..20_usize) {
        let mut text = whole();
        let part = &text[..at.index(text.len())];
        prop_assert!(decode(part, &identity(1), u64::MAX).is_err());
        if part.len() > FRONT_BYTES + 16 {
            prop_assert!(decode(&sealed(part), &identity(1), u64::MAX).is_err());
        }
        text.extend(std::iter::repeat_n(b'x', more));
        prop_assert!(decode(&sealed(&text), &identity(1), u64::MAX).is_err(), "too long");
    }

    /// Values that somebody made on purpose, checksum and all: read or not, but never a panic, and
    /// never an answer of another key.
    #[test]
    fn forgeries_break_nothing(changes in proptest::collection::vec(
        (any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut text = whole();
        for (at, byte) in changes {
            let at = at.index(text.len());
            text[at] = byte;
        }
        if let Ok(head) = decode(&sealed(&text), &identity(1), u64::MAX) {
            prop_assert!(head.body.length <= crate::cache::MAX_OBJECT_BYTES);
            let _ = unpack(&head.body, head.inline);
        }
    }
}
