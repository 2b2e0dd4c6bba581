//! What a configuration refers to outside itself, fetched before it is compiled.
//!
//! Compiling does no I/O, so whoever loads a configuration first resolves its references (in
//! `live::resolve`) and hands the results over in one value. What could not be resolved is
//! already reported there; compiling goes on without it.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::Secret;

/// Values of the references in one configuration.
#[derive(Default)]
pub struct Resolved {
    /// Values of secrets.
    pub secrets: HashMap<Secret, String>,
    /// Contents of files.
    pub files: HashMap<String, Vec<u8>>,
    /// Every file that was looked for, whether it could be read or not.
    pub wanted: BTreeSet<String>,
    /// SHA-256 of files whose contents count more than once.
    pub digests: HashMap<String, [u8; 32]>,
    /// When it was resolved, Unix seconds: what certificates are measured by. Compiling has no
    /// clock.
    pub unix_seconds: Option<u64>,
    /// Addresses of host names, where they were looked up beforehand.
    pub hosts: HashMap<String, Vec<IpAddr>>,
}

impl Resolved {
    /// The value of a secret, where it could be had. One that stands in the configuration itself
    /// always is.
    #[must_use]
    pub fn secret<'a>(&'a self, secret: &'a Secret) -> Option<&'a str> {
        match secret {
            Secret::Literal(text) => Some(text),
            _ => self.secrets.get(secret).map(String::as_str),
        }
    }

    /// The contents of a file, where it could be read.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// SHA-256 of a file, where it could be read.
    #[must_use]
    pub fn digest(&self, path: &str) -> Option<[u8; 32]> {
        let known = self.digests.get(path).copied();
        known.or_else(|| self.file(path).map(|bytes| Sha256::digest(bytes).into()))
    }

    /// The addresses of a host: itself where it is an address.
    #[must_use]
    pub fn addresses(&self, host: &str) -> Vec<IpAddr> {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        literal
            .parse()
            .map_or_else(|_| self.hosts.get(host).cloned().unwrap_or_default(), |ip| vec![ip])
    }
}
