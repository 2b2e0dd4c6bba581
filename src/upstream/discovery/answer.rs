//! What a source says.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// One instance, as a source tells of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Its address.
    pub(super) ip: IpAddr,
    /// Its port, where the source knows it.
    pub(super) port: Option<u16>,
    /// The name it was found by, or its address.
    pub(super) host: Arc<str>,
    /// Its share beside the others.
    pub(super) weight: u32,
}

/// What asking once came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The instances, or why there is no answer. The words are for the log; they hold neither
    /// secrets nor more than one line.
    pub(super) places: Result<Vec<Place>, String>,
    /// What it says about the next look-up.
    pub(super) hint: Hint,
}

/// What an answer says about the next look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// Nothing.
    None,
    /// It is good for so long.
    Ttl(Duration),
    /// The source can be asked to answer once something has changed.
    Watch {
        /// Where the changes are counted from; 0 when they cannot be.
        index: u64,
        /// It answered before the time it was asked to wait was half over.
        early: bool,
    },
}

impl Answer {
    /// An answer that is none.
    pub(super) fn failed(why: impl Into<String>) -> Self {
        Self { places: Err(why.into()), hint: Hint::None }
    }
}

/// Most instances of one source; more than that is taken for a mistake.
pub(super) const INSTANCES_MAX: usize = 4096;

/// An error and what caused it, in one line.
pub(super) fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text.replace(['\r', '\n'], " ")
}
