//! Tokens of people who mean harm, and what each of them is told.
//!
//! One table for two tests: `src/auth/authenticate/tests/hostile.rs` shows every case to the
//! function that decides, `tests/e2e/hostile.rs` sends every case to the real binary. Tokens are
//! made here from keys of this run, so that each has the one flaw that its name says and is
//! sound in everything else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "these are tests")]

mod carriers;
mod claims;
mod forms;
mod headers;
mod keys;
mod signatures;
mod world;

pub(crate) use world::World;

/// What a client is told: the fault's code and the words of the challenge. The status is 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expect {
    /// The fault's code.
    pub(crate) code: &'static str,
    /// `error_description` of the challenge; empty where no credentials were seen.
    pub(crate) words: &'static str,
}

impl Expect {
    /// The value of `WWW-Authenticate`.
    pub(crate) fn challenge(self) -> String {
        let Self { words, .. } = self;
        if words.is_empty() {
            return "Bearer realm=\"tidegate\"".to_owned();
        }
        format!("Bearer realm=\"tidegate\", error=\"invalid_token\", error_description=\"{words}\"")
    }
}

/// One request and what comes of it.
pub(crate) struct Case {
    /// What is wrong with it.
    pub(crate) name: String,
    /// Its headers besides `host`.
    pub(crate) headers: Vec<(&'static str, Vec<u8>)>,
    /// What it is told.
    pub(crate) expect: Expect,
}

/// Cases as they are collected.
#[derive(Default)]
pub(crate) struct Table(pub(crate) Vec<Case>);

impl Table {
    /// All cases.
    pub(crate) fn of(world: &World) -> Self {
        let mut table = Self::default();
        carriers::add(world, &mut table);
        forms::add(world, &mut table);
        headers::add(world, &mut table);
        keys::add(world, &mut table);
        signatures::add(world, &mut table);
        claims::add(world, &mut table);
        table
    }

    /// A bearer token.
    fn token(&mut self, name: impl Into<String>, token: impl AsRef<[u8]>, expect: Expect) {
        let value = [b"Bearer ", token.as_ref()].concat();
        self.request(name, vec![("authorization", value)], expect);
    }

    /// Any headers.
    fn request(
        &mut self,
        name: impl Into<String>,
        headers: Vec<(&'static str, Vec<u8>)>,
        expect: Expect,
    ) {
        let name = name.into();
        assert!(self.0.iter().all(|case| case.name != name), "two cases are called {name}");
        self.0.push(Case { name, headers, expect });
    }
}

/// Declares what clients are told.
macro_rules! expectations {
    ($($name:ident $code:literal $words:literal;)+) => {
        $(const $name: Expect = Expect { code: $code, words: $words };)+
    };
}

expectations! {
    MISSING "auth.credentials_missing" "";
    REPEATED "auth.token_malformed" "more than one Authorization header was sent";
    TOO_LONG "auth.token_malformed" "the token is longer than 8 KiB";
    NOT_COMPACT "auth.token_malformed" "the token is not three parts separated by dots";
    ENCRYPTED "auth.token_malformed" "encrypted tokens are not accepted";
    JSON_FORM "auth.token_malformed" "tokens in JSON form are not accepted";
    UNSIGNED "auth.token_malformed" "the token is not signed";
    ENCODING "auth.token_malformed" "a part of the token is not base64url without padding";
    HEADER_TOO_LONG "auth.token_malformed" "the header of the token is longer than 2 KiB";
    HEADER "auth.token_malformed" "the header of the token could not be read";
    PAYLOAD "auth.token_malformed" "the payload of the token is not a JSON object";
    REPETITION "auth.token_malformed" "a name comes twice in the token";
    NESTING "auth.token_malformed" "the token is nested too deeply or holds too many values";
    KEY_NAME "auth.token_malformed" "the key id of the token is too long or not printable";
    CRITICAL "auth.token_untrusted" "the token has critical extensions that are not known here";
    UNENCODED "auth.token_untrusted" "tokens with an unencoded payload are not accepted";
    COMPRESSED "auth.token_untrusted" "compressed tokens are not accepted";
    NESTED "auth.token_untrusted" "tokens within tokens are not accepted";
    TYPE "auth.token_untrusted" "this type of token is not accepted";
    ALGORITHM "auth.token_untrusted" "the algorithm of the token is not accepted";
    ISSUER "auth.token_untrusted" "the issuer of the token is not accepted here";
    KEY_UNKNOWN "auth.token_untrusted" "the key of the token is not known";
    KEY_UNFIT "auth.token_untrusted" "the key of the token is not for its algorithm";
    SIGNATURE "auth.token_untrusted" "the signature of the token is not valid";
    NO_EXPIRY "auth.token_malformed" "the token has no expiry time";
    TIME "auth.token_malformed" "a time in the token is not a number of seconds since 1970";
    EXPIRED "auth.token_expired" "the token has expired";
    NOT_YET_VALID "auth.token_not_yet_valid" "the token is not valid yet";
    ISSUED_LATER "auth.token_not_yet_valid" "the token was issued in the future";
    AUDIENCE "auth.token_audience" "the token is meant for another audience";
    NO_SUBJECT "auth.token_malformed" "the token has no subject";
    INCOMPLETE "auth.token_malformed" "the access token lacks a claim that RFC 9068 requires";
    PROOF_KEY "auth.token_untrusted" "tokens that are bound to a DPoP key are not accepted";
    BOUND "auth.token_untrusted" "the token is bound to its sender in a way that is not checked";
    CERTIFICATE "auth.token_untrusted" "the token is bound to another client certificate";
    UNSENDABLE "auth.token_untrusted" "a claim of the token cannot be passed on as a header";
}
