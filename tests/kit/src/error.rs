//! What can go wrong in the kit, in words; and how a test reports it.

use std::fmt;
use std::panic::Location;

use crate::evidence;

/// Something that a test relied on did not work.
pub struct Error(String);

/// What most of the kit returns.
pub type Result<T> = std::result::Result<T, Error>;

/// What a test returns.
pub type Outcome = std::result::Result<(), Failure>;

impl Error {
    /// An error with these words.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self(format!("not the expected JSON: {error}"))
    }
}

/// Says what was being done when something failed.
pub trait Context<T> {
    /// Puts words in front of the error.
    fn context(self, words: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, words: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error(format!("{words}: {error}")))
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, words: impl fmt::Display) -> Result<T> {
        self.ok_or_else(|| Error(words.to_string()))
    }
}

/// A failed test: what went wrong, at which `?`, and what the processes wrote meanwhile.
///
/// Not a [`std::error::Error`], so that every error converts into it where the test says `?`.
pub struct Failure(String);

impl<E: std::error::Error> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        Self(format!("{}: {error}\n{}", Location::caller(), evidence::report()))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
