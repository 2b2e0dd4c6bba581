//! The table of good and bad requests: what is changed before signing, and what behind the
//! signer's back.

use http::Method;

use super::super::SignatureError::{self as E, *};
use super::super::parse::COMPONENTS_MAX;
use super::{DIGEST, NONCE, Parties, Sent, Signing, good, parameters};
use crate::auth::testing::{NOW, after, now};
use crate::clock::Moment;
use crate::edge::Scheme;

/// What is done to a request: its name, before it is signed, after it, and what comes of it.
type Case = (&'static str, fn(&mut Sent, &mut Signing), fn(&mut Sent), Result<(), E>);

const SAME: fn(&mut Sent, &mut Signing) = |_, _| {};
const UNTOUCHED: fn(&mut Sent) = |_| {};

fn run(cases: &[Case]) {
    let parties = Parties::new();
    let signers = parties.signers("");
    for (name, before, behind, expected) in cases {
        let (mut sent, mut signing) = good();
        before(&mut sent, &mut signing);
        sent.sign(&parties, &signing);
        behind(&mut sent);
        assert_eq!(sent.caller(&signers, now()).map(drop), *expected, "{name}");
    }
}

/// A signature without body.
fn without_body(sent: &mut Sent, signing: &mut Signing) {
    sent.method = Method::GET;
    sent.headers.retain(|(name, _)| !name.starts_with("content-"));
    signing.components.retain(|name| *name != "content-digest");
}

fn flip(text: &mut String, at: usize) {
    let byte = text.as_bytes()[at] ^ 1;
    text.replace_range(at..=at, std::str::from_utf8(&[byte]).unwrap());
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn good_requests_pass() {
    run(&[
        ("as it is", SAME, UNTOUCHED, Ok(())),
        ("Ed25519", |_, s| s.key = "ed-key", UNTOUCHED, Ok(())),
        ("ECDSA", |_, s| s.key = "ec-key", UNTOUCHED, Ok(())),
        ("with its algorithm", |_, s| s.parameters += ";alg=\"hmac-sha256\"", UNTOUCHED, Ok(())),
        ("for an application", |_, s| s.parameters += ";tag=\"shop\"", UNTOUCHED, Ok(())),
        ("without body", without_body, UNTOUCHED, Ok(())),
        (
            "with an empty body",
            |sent, signing| {
                without_body(sent, signing);
                sent.headers.push(("content-length", "0".to_owned()));
            },
            UNTOUCHED,
            Ok(()),
        ),
        ("without query", |sent, _| sent.query = None, UNTOUCHED, Ok(())),
        ("with an empty query", |sent, _| sent.query = Some(""), UNTOUCHED, Ok(())),
        ("with a port", |sent, _| sent.port = Some(8443), UNTOUCHED, Ok(())),
        ("with the usual port", |sent, _| sent.port = Some(443), UNTOUCHED, Ok(())),
        (
            "in clear text",
            |sent, _| (sent.scheme, sent.port) = (Scheme::Http, Some(80)),
            UNTOUCHED,
            Ok(()),
        ),
        (
            "the other scheme's port",
            |sent, _| (sent.scheme, sent.port) = (Scheme::Http, Some(443)),
            UNTOUCHED,
            Ok(()),
        ),
        (
            "everything",
            |sent, signing| {
                sent.port = Some(8443);
                signing.components.extend(["@target-uri", "@scheme", "@request-target"]);
                signing.components.extend(["content-type", "content-length"]);
            },
            UNTOUCHED,
            Ok(()),
        ),
        (
            "a field of several lines with white space",
            |sent, signing| {
                sent.headers.push(("x-list", " a ".to_owned()));
                sent.headers.push(("x-list", String::new()));
                sent.headers.push(("x-list", "\tb, c".to_owned()));
                signing.components.push("x-list");
            },
            UNTOUCHED,
            Ok(()),
        ),
        (
            "a method of one's own",
            |sent, _| sent.method = "purge".parse().unwrap(),
            UNTOUCHED,
            Ok(()),
        ),
        (
            "what is not covered may change",
            SAME,
            |s| *s.header("content-type") = "x".into(),
            Ok(()),
        ),
        (
            "a signature for somebody else beside it",
            SAME,
            |sent| {
                *sent.header("signature-input") +=
                    ", other=(\"@query-param\";name=\"a\" \"x\";bs);created=1;keyid=\"theirs\";x=1";
                *sent.header("signature") += ", other=:AA==:";
            },
            Ok(()),
        ),
        (
            "the same in lines of their own",
            SAME,
            |sent| {
                sent.headers.insert(0, ("signature-input", "other=(\"@x\");keyid=7".to_owned()));
                sent.headers.insert(0, ("signature", "other=1".to_owned()));
            },
            Ok(()),
        ),
        (
            "another spelling of the description",
            SAME,
            |sent| {
                *sent.header("signature-input") =
                    sent.header("signature-input").replace(' ', "   ");
            },
            Ok(()),
        ),
    ]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn what_differs_from_what_was_signed_is_refused() {
    run(&[
        ("method", SAME, |s| s.method = Method::PUT, Err(Mismatch)),
        ("case of the method", SAME, |s| s.method = "post".parse().unwrap(), Err(Mismatch)),
        ("host", SAME, |s| s.host = "api.tesu", Err(Mismatch)),
        ("port", SAME, |s| s.port = Some(444), Err(Mismatch)),
        ("path", SAME, |s| s.path = "/orders/8", Err(Mismatch)),
        ("final slash", SAME, |s| s.path = "/orders/7/", Err(Mismatch)),
        ("query", SAME, |s| s.query = Some("a=1&b=%21"), Err(Mismatch)),
        ("spelling of the query", SAME, |s| s.query = Some("a=1&b=+"), Err(Mismatch)),
        ("order of the query", SAME, |s| s.query = Some("b=%20&a=1"), Err(Mismatch)),
        ("no query", SAME, |s| s.query = None, Err(Mismatch)),
        ("a query", |s, _| s.query = None, |s| s.query = Some("x"), Err(Mismatch)),
        (
            "digest",
            SAME,
            |s| *s.header("content-digest") = DIGEST.replace("X4", "Y4"),
            Err(Mismatch),
        ),
        (
            "a second digest",
            SAME,
            |s| s.headers.push(("content-digest", "md5=:AA==:".to_owned())),
            Err(Mismatch),
        ),
        ("scheme", |_, s| s.components.push("@scheme"), |s| s.scheme = Scheme::Http, Err(Mismatch)),
        (
            "a field",
            |_, s| s.components.push("content-type"),
            |s| *s.header("content-type") += "x",
            Err(Mismatch),
        ),
        (
            "a line more of a field",
            |_, s| s.components.push("content-type"),
            |s| s.headers.push(("content-type", "x".to_owned())),
            Err(Mismatch),
        ),
        (
            "a field taken away",
            |_, s| s.components.push("content-type"),
            |s| s.headers.retain(|(name, _)| *name != "content-type"),
            Err(ComponentMissing),
        ),
        (
            "the end of a field",
            |sent, signing| {
                sent.headers.push(("x-a", "1, 2".to_owned()));
                signing.components.push("x-a");
            },
            |s| *s.header("x-a") = "1,2".to_owned(),
            Err(Mismatch),
        ),
        ("created", SAME, |s| replace(s, &NOW.to_string(), &(NOW + 1).to_string()), Err(Mismatch)),
        ("nonce", SAME, |s| replace(s, NONCE, "0123456789abcdeg"), Err(Mismatch)),
        ("key", SAME, |s| replace(s, "hmac-key", "ed-key"), Err(Mismatch)),
        (
            "order of the components",
            SAME,
            |s| replace(s, "\"@method\" \"@authority\"", "\"@authority\" \"@method\""),
            Err(Mismatch),
        ),
        (
            "a component less",
            |_, s| s.components.push("content-type"),
            |s| replace(s, " \"content-type\"", ""),
            Err(Mismatch),
        ),
        (
            "a component more",
            SAME,
            |s| replace(s, "\"@path\"", "\"@path\" \"content-type\""),
            Err(Mismatch),
        ),
        (
            "a parameter more",
            SAME,
            |s| s.header("signature-input").push_str(";tag=\"x\""),
            Err(Mismatch),
        ),
        (
            "a parameter less",
            |_, s| s.parameters += ";tag=\"x\"",
            |s| replace(s, ";tag=\"x\"", ""),
            Err(Mismatch),
        ),
        ("an empty value", SAME, |s| *s.header("signature") = "sig1=::".to_owned(), Err(Mismatch)),
        (
            "half of the value",
            SAME,
            |s| *s.header("signature") = "sig1=:AAAAAAAAAAAAAAAAAAAAAA==:".to_owned(),
            Err(Mismatch),
        ),
    ]);
}

fn replace(sent: &mut Sent, from: &str, to: &str) {
    let input = sent.header("signature-input");
    assert!(input.contains(from), "{input}");
    *input = input.replace(from, to);
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn what_is_not_understood_or_not_enough_is_refused() {
    run(&[
        ("no value", SAME, |s| s.headers.retain(|(name, _)| *name != "signature"), Err(Unpaired)),
        (
            "no description",
            SAME,
            |s| s.headers.retain(|(name, _)| *name != "signature-input"),
            Err(Unpaired),
        ),
        ("unreadable", SAME, |s| s.header("signature").push(':'), Err(Unreadable)),
        ("not ASCII", SAME, |s| s.header("signature").push('é'), Err(Unreadable)),
        ("too long", SAME, |s| *s.header("signature") += &" ".repeat(9000), Err(TooLong)),
        (
            "another label",
            SAME,
            |s| *s.header("signature") = s.header("signature").replace("sig1", "sig2"),
            Err(NoValue),
        ),
        ("a value of another type", SAME, |s| *s.header("signature") = "sig1=1".into(), Err(Value)),
        ("a value with parameters", SAME, |s| s.header("signature").push_str(";x"), Err(Value)),
        ("an unknown key", SAME, |s| replace(s, "hmac-key", "no-key"), Err(KeyUnknown)),
        ("no key", |_, s| replace_parameter(s, ";keyid=\"KEY\"", ""), UNTOUCHED, Err(KeyUnknown)),
        (
            "a key of another type",
            |_, s| replace_parameter(s, "\"KEY\"", "hmac-key"),
            UNTOUCHED,
            Err(KeyUnknown),
        ),
        (
            "two signatures that could count",
            SAME,
            |s| {
                *s.header("signature-input") += ", b=();keyid=\"ed-key\"";
                *s.header("signature") += ", b=:AA==:";
            },
            Err(KeyRepeated),
        ),
        (
            "the same twice",
            SAME,
            |s| {
                let again = s.header("signature-input").clone();
                *s.header("signature-input") = format!("{again}, {again}");
            },
            Err(LabelRepeated),
        ),
        ("nothing covered", |_, s| s.components.clear(), UNTOUCHED, Err(NotCovered)),
        (
            "no list",
            SAME,
            |s| *s.header("signature-input") = "sig1;keyid=\"hmac-key\"".into(),
            Err(KeyUnknown),
        ),
        (
            "without method",
            |_, s| s.components.retain(|n| *n != "@method"),
            UNTOUCHED,
            Err(NotCovered),
        ),
        (
            "without host",
            |_, s| s.components.retain(|n| *n != "@authority"),
            UNTOUCHED,
            Err(NotCovered),
        ),
        ("without path", |_, s| s.components.retain(|n| *n != "@path"), UNTOUCHED, Err(NotCovered)),
        (
            "without query",
            |_, s| s.components.retain(|n| *n != "@query"),
            UNTOUCHED,
            Err(NotCovered),
        ),
        ("a component twice", |_, s| s.components.push("@path"), UNTOUCHED, Err(ComponentRepeated)),
        (
            "a component of responses",
            |_, s| s.components.push("@status"),
            UNTOUCHED,
            Err(ComponentUnknown),
        ),
        (
            "an unknown component",
            |_, s| s.components.push("@new"),
            UNTOUCHED,
            Err(ComponentUnknown),
        ),
        (
            "a field in capitals",
            |_, s| s.components.push("Content-Type"),
            UNTOUCHED,
            Err(ComponentUnknown),
        ),
        ("itself", |_, s| s.components.push("signature-input"), UNTOUCHED, Err(ComponentUnknown)),
        (
            "a field that is not there",
            |_, s| s.components.push("x-none"),
            UNTOUCHED,
            Err(ComponentMissing),
        ),
        (
            "a field that is not ASCII",
            |sent, signing| {
                sent.headers.push(("x-a", "é".to_owned()));
                signing.components.push("x-a");
            },
            UNTOUCHED,
            Err(ComponentValue),
        ),
        ("a query that is not ASCII", |s, _| s.query = Some("é"), UNTOUCHED, Err(ComponentValue)),
        (
            "a number for a component",
            SAME,
            |s| replace(s, "\"@path\"", "\"@path\" 7"),
            Err(ComponentUnknown),
        ),
        (
            "`sf`",
            SAME,
            |s| replace(s, "\"@path\"", "\"@path\" \"date\";sf"),
            Err(ComponentParameter),
        ),
        ("`bs`", SAME, |s| replace(s, "\"@path\"", "\"@path\";bs"), Err(ComponentParameter)),
        (
            "`key`",
            SAME,
            |s| replace(s, "\"@path\"", "\"x\";key=\"a\" \"@path\""),
            Err(ComponentParameter),
        ),
        ("`req`", SAME, |s| replace(s, "\"@path\"", "\"@path\";req"), Err(ComponentParameter)),
        ("`tr`", SAME, |s| replace(s, "\"@path\"", "\"@path\";tr"), Err(ComponentParameter)),
        (
            "`name`",
            SAME,
            |s| replace(s, "\"@path\"", "\"@query-param\";name=\"a\""),
            Err(ComponentParameter),
        ),
        ("another algorithm", |_, s| s.parameters += ";alg=\"ed25519\"", UNTOUCHED, Err(Algorithm)),
        ("no algorithm at all", |_, s| s.parameters += ";alg=\"none\"", UNTOUCHED, Err(Algorithm)),
        (
            "an algorithm of another type",
            |_, s| s.parameters += ";alg=hmac-sha256",
            UNTOUCHED,
            Err(Parameter),
        ),
        ("an unknown parameter", |_, s| s.parameters += ";x=1", UNTOUCHED, Err(Parameter)),
        (
            "a parameter twice",
            |_, s| s.parameters = parameters(NOW, ";created=1"),
            UNTOUCHED,
            Err(Parameter),
        ),
        ("the key twice", |_, s| s.parameters += ";keyid=\"hmac-key\"", UNTOUCHED, Err(Parameter)),
        (
            "a time with a fraction",
            |_, s| replace_parameter(s, &format!("{NOW}"), &format!("{NOW}.5")),
            UNTOUCHED,
            Err(Parameter),
        ),
        (
            "a time as text",
            |_, s| replace_parameter(s, &format!("{NOW}"), &format!("\"{NOW}\"")),
            UNTOUCHED,
            Err(Parameter),
        ),
        (
            "a time as date",
            |_, s| replace_parameter(s, &format!("{NOW}"), &format!("@{NOW}")),
            UNTOUCHED,
            Err(Parameter),
        ),
        (
            "no time",
            |_, s| replace_parameter(s, &format!(";created={NOW}"), ""),
            UNTOUCHED,
            Err(NoCreated),
        ),
        (
            "no nonce",
            |_, s| replace_parameter(s, &format!(";nonce=\"{NONCE}\""), ""),
            UNTOUCHED,
            Err(NoNonce),
        ),
        ("a short nonce", |_, s| replace_parameter(s, NONCE, &NONCE[1..]), UNTOUCHED, Err(Nonce)),
        (
            "a long nonce",
            |_, s| replace_parameter(s, NONCE, &"x".repeat(257)),
            UNTOUCHED,
            Err(Nonce),
        ),
        (
            "the longest nonce",
            |_, s| replace_parameter(s, NONCE, &"x".repeat(256)),
            UNTOUCHED,
            Ok(()),
        ),
        (
            "a nonce with a space",
            |_, s| replace_parameter(s, "4567", "4 67"),
            UNTOUCHED,
            Err(Nonce),
        ),
        (
            "a nonce of another type",
            |_, s| replace_parameter(s, "\"0123456789abcdef\"", "n123456789abcdef"),
            UNTOUCHED,
            Err(Parameter),
        ),
        ("a path with dots", |s, _| s.path = "/orders/./7", UNTOUCHED, Err(Path)),
        ("a path with escapes", |s, _| s.path = "/order%73/7", UNTOUCHED, Err(Path)),
        ("a path with small digits", |s, _| s.path = "/%c3%a9", UNTOUCHED, Err(Path)),
        ("the same in normal form", |s, _| s.path = "/%C3%A9", UNTOUCHED, Ok(())),
        ("a path with two slashes", |s, _| s.path = "//orders/7", UNTOUCHED, Err(Path)),
        (
            "the path before it was signed in normal form",
            |s, _| s.path = "/orders/7",
            |s| s.path = "/x/../orders/7",
            Err(Path),
        ),
    ]);
}

#[test]
fn a_body_needs_a_digest_that_is_covered() {
    run(&[
        (
            "not covered",
            |_, s| s.components.retain(|n| *n != "content-digest"),
            UNTOUCHED,
            Err(DigestNotCovered),
        ),
        (
            "no digest",
            |s, g| {
                without_body(s, g);
                s.headers.push(("content-length", "1".into()));
            },
            UNTOUCHED,
            Err(DigestNotCovered),
        ),
        (
            "chunked",
            |s, g| {
                without_body(s, g);
                s.headers.push(("transfer-encoding", "chunked".into()));
            },
            UNTOUCHED,
            Err(DigestNotCovered),
        ),
        (
            "a body put in",
            without_body,
            |s| s.headers.push(("content-length", "5".into())),
            Err(DigestNotCovered),
        ),
        (
            "a digest put in",
            without_body,
            |s| s.headers.push(("content-digest", DIGEST.into())),
            Err(DigestNotCovered),
        ),
        (
            "an unknown algorithm",
            |s, _| *s.header("content-digest") = "md5=:AA==:".into(),
            UNTOUCHED,
            Err(DigestUnreadable),
        ),
        (
            "no digest at all",
            |s, _| *s.header("content-digest") = "x y".into(),
            UNTOUCHED,
            Err(DigestUnreadable),
        ),
    ]);
}

fn replace_parameter(signing: &mut Signing, from: &str, to: &str) {
    assert!(signing.parameters.contains(from));
    signing.parameters = signing.parameters.replace(from, to);
}

#[test]
fn one_flipped_byte_anywhere_is_refused() {
    let parties = Parties::new();
    let signers = parties.signers("");
    for key in ["hmac-key", "ed-key", "ec-key"] {
        let (mut sent, mut signing) = good();
        signing.key = key;
        sent.sign(&parties, &signing);
        assert!(sent.caller(&signers, now()).is_ok());
        for name in ["signature-input", "signature", "content-digest"] {
            for at in 0..sent.header(name).len() {
                let mut broken = sent.clone();
                flip(broken.header(name), at);
                let outcome = broken.caller(&signers, now());
                assert!(outcome.is_err(), "{key} {name}: {}", broken.header(name));
            }
        }
    }
}

#[test]
fn components_are_bounded() {
    let parties = Parties::new();
    let signers = parties.signers("");
    for (count, expected) in [(COMPONENTS_MAX, Ok(())), (COMPONENTS_MAX + 1, Err(ComponentCount))] {
        let (mut sent, mut signing) = good();
        for number in signing.components.len()..count {
            let name: &'static str = Box::leak(format!("x-{number}").into_boxed_str());
            sent.headers.push((name, "v".to_owned()));
            signing.components.push(name);
        }
        sent.sign(&parties, &signing);
        assert_eq!(sent.caller(&signers, now()).map(drop), expected, "{count}");
    }
}

#[test]
fn a_signature_counts_within_its_window_on_both_sides_of_each_bound() {
    let parties = Parties::new();
    let signers = parties.signers("messageSignatures: {maxAge: 60s, clockToleranceSeconds: 5}");
    let last_ms = |seconds: u64| Moment { unix_ms: after(seconds).unix_ms + 999, ..after(seconds) };
    let at = |created: i64, more: &str, now: Moment| {
        let (mut sent, mut signing) = good();
        signing.parameters = parameters(created, more);
        sent.sign(&parties, &signing);
        sent.verify(&signers, now)
    };
    let outcome = |created, more: &str, now| at(created, more, now).map(drop);
    assert_eq!(outcome(NOW + 5, "", now()), Ok(()));
    assert_eq!(outcome(NOW + 6, "", now()), Err(Future));
    assert_eq!(outcome(NOW + 6, "", last_ms(0)), Err(Future));
    assert_eq!(outcome(NOW, "", last_ms(65)), Ok(()));
    assert_eq!(outcome(NOW, "", after(66)), Err(TooOld));
    assert_eq!(outcome(0, "", now()), Err(TooOld));
    assert_eq!(outcome(-999_999_999_999_999, "", now()), Err(TooOld));
    assert_eq!(outcome(999_999_999_999_999, "", now()), Err(Future));
    let expires = |seconds: i64| format!(";expires={}", NOW + seconds);
    assert_eq!(outcome(NOW, &expires(10), last_ms(14)), Ok(()));
    assert_eq!(outcome(NOW, &expires(10), after(15)), Err(Expired));
    assert_eq!(outcome(NOW, &expires(1000), after(66)), Err(TooOld), "it cannot be prolonged");
    assert_eq!(outcome(NOW, &expires(0), now()), Ok(()));
    assert_eq!(outcome(NOW, &expires(-1), now()), Err(Parameter), "over before it began");
    assert_eq!(outcome(NOW, ";expires=\"x\"", now()), Err(Parameter));
    // Its nonce is remembered beyond the last moment of a node that is 5 s late.
    let remembered = |created, now| at(created, "", now).unwrap().nonce.unwrap().remember.as_secs();
    assert_eq!(remembered(NOW, now()), 60 + 2 * 5 + 1);
    assert_eq!(remembered(NOW, after(65)), 5 + 1);
    assert_eq!(remembered(NOW + 5, now()), 60 + 3 * 5 + 1);
}

#[test]
fn nonces_are_named_by_key_and_nonce() {
    let parties = Parties::new();
    let signers = parties.signers("");
    let name = |key: &'static str, nonce: &str, label: &'static str| {
        let (mut sent, mut signing) = good();
        (signing.key, signing.label) = (key, label);
        replace_parameter(&mut signing, NONCE, nonce);
        sent.sign(&parties, &signing);
        sent.verify(&signers, now()).unwrap().nonce.unwrap().hash
    };
    let one = name("hmac-key", NONCE, "sig1");
    assert_eq!(one, name("hmac-key", NONCE, "other"), "a label is nobody's word");
    assert_ne!(one, name("ed-key", NONCE, "sig1"));
    assert_ne!(one, name("hmac-key", "0123456789abcdeg", "sig1"));
}

#[test]
fn nonces_may_be_left_out_where_the_rules_say_so_and_still_count_where_they_come() {
    let parties = Parties::new();
    let signers = parties.signers("messageSignatures: {requireNonce: false}");
    let (mut sent, mut signing) = good();
    sent.sign(&parties, &signing);
    assert!(sent.verify(&signers, now()).unwrap().nonce.is_some());
    replace_parameter(&mut signing, &format!(";nonce=\"{NONCE}\""), "");
    let (mut sent, _) = good();
    sent.sign(&parties, &signing);
    assert!(sent.verify(&signers, now()).unwrap().nonce.is_none());
}

#[test]
fn further_components_are_needed_where_the_rules_name_them() {
    let parties = Parties::new();
    let signers = parties
        .signers("messageSignatures: {components: ['@method', '@target-uri', content-type]}");
    let with = |components: &[&'static str]| {
        let (mut sent, mut signing) = good();
        signing.components = components.to_vec();
        sent.sign(&parties, &signing);
        sent.caller(&signers, now()).map(drop)
    };
    assert_eq!(with(&["@method", "@target-uri", "content-type", "content-digest"]), Ok(()));
    assert_eq!(with(&["@method", "@target-uri", "content-digest"]), Err(NotCovered));
    assert_eq!(with(&["@method", "@path", "content-type", "content-digest"]), Err(NotCovered));
}

#[test]
fn what_a_party_is_comes_from_the_configuration() {
    let parties = Parties::new();
    let signers = parties.signers("");
    let (mut sent, signing) = good();
    sent.sign(&parties, &signing);
    let caller = sent.caller(&signers, now()).unwrap();
    assert_eq!((&*caller.provider, &*caller.subject), ("signers", "hmac"));
    assert_eq!(caller.client_id.as_deref(), Some("hmac"));
    assert_eq!(caller.tenant_id.as_deref(), Some("acme"));
    assert_eq!(caller.tenant_status.as_deref(), Some("ACTIVE"));
    assert_eq!(caller.plan.as_deref(), Some("gold"));
    assert_eq!(caller.scopes.iter().map(|s| &**s).collect::<Vec<_>>(), ["orders:read"]);
    assert_eq!(caller.products.iter().map(|s| &**s).collect::<Vec<_>>(), ["orders"]);
    assert_eq!(caller.roles.iter().map(|s| &**s).collect::<Vec<_>>(), ["partner"]);
    assert!(caller.headers.iter().any(|(name, value)| name == "x-user-id" && value == "hmac"));
}
