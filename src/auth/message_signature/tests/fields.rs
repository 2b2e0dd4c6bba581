//! The two header fields, as anybody may send them.

use super::super::parse::{FIELD_BYTES_MAX, SIGNATURES_MAX, read};
use super::super::{SignatureError, base, parse};

fn error(input: &str, signature: &str) -> Option<SignatureError> {
    read(input, signature).err()
}

#[test]
fn fields_that_cannot_be_read_in_one_way_are_refused_whole() {
    let good = "a=(\"@method\");created=1";
    let value = "a=:AA==:";
    assert_eq!(error(good, value), None);
    for bad in [
        "a=",
        "=()",
        "a=(",
        "a=(\"x\"",
        "a=(\"x\")\u{e9}",
        "a=() b=()",
        "a=(),",
        ",a=()",
        "A=()",
        "a=(\"x\"\"y\")",
        "a=(\"\u{1}\")",
        "a=(\"x)",
        "a=();created=1.2345",
        "a=();created=1e3",
        "a=();created=9999999999999999",
        "a=();=1",
        "a\u{0}=()",
        "a=(\"x\");x=:%:",
        "a=(\"x\\y\")",
    ] {
        assert_eq!(error(bad, value), Some(SignatureError::Unreadable), "{bad:?}");
    }
    for bad in ["a=:AA==", "a=:A A=:", "a=AA==:", "a=:-_==:", "a=:AA=:;;", "a=:\u{e9}:"] {
        assert_eq!(error(good, bad), Some(SignatureError::Unreadable), "{bad:?}");
    }
    assert_eq!(error("a=(), b=(), a=()", value), Some(SignatureError::LabelRepeated));
    assert_eq!(error(good, "a=:AA==:, a=:AA==:"), Some(SignatureError::LabelRepeated));
}

#[test]
fn length_and_number_are_bounded() {
    let long = |bytes: usize| format!("a=(\"{}\")", "x".repeat(bytes - "a=(\"\")".len()));
    assert_eq!(error(&long(FIELD_BYTES_MAX), ""), None);
    assert_eq!(error(&long(FIELD_BYTES_MAX + 1), ""), Some(SignatureError::TooLong));
    assert_eq!(error("", &long(FIELD_BYTES_MAX + 1)), Some(SignatureError::TooLong));
    let many = |count: usize| (0..count).map(|n| format!("a{n}=()")).collect::<Vec<_>>().join(", ");
    assert_eq!(error(&many(SIGNATURES_MAX), ""), None);
    assert_eq!(error(&many(SIGNATURES_MAX + 1), ""), Some(SignatureError::TooMany));
    assert_eq!(error("", &many(SIGNATURES_MAX + 1)), Some(SignatureError::TooMany));
}

/// White space, leading zeros and `;x` are spellings; the text that is signed has one of each.
#[test]
fn what_a_signature_says_is_written_in_one_form() {
    let spelled = "a=(  \"@method\"   \"x\" );created=007;  tag=\"a\\\"b\\\\\";flag;bin=:AAE=:\
                   ;word=x/y;part=1.50;off=?0";
    let read = read(spelled, "").unwrap();
    let mut text = String::new();
    base::write_parameters(&read.inputs[0], &mut text);
    assert_eq!(
        text,
        "(\"@method\" \"x\");created=7;tag=\"a\\\"b\\\\\";flag;bin=:AAE=:;word=x/y;part=1.5;off=?0"
    );
}

#[test]
fn the_entry_for_fuzzing_says_whether_fields_can_be_read() {
    assert!(super::super::parse("a=(\"x\";sf);b=1, c=1", "a=:AA==:"));
    assert!(!super::super::parse("a=(", ""));
    assert!(parse::read("", "").unwrap().inputs.is_empty());
}
