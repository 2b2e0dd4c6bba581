//! Answers that need no service: redirects and fixed responses.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::redirect::Redirect;
use super::respond::Respond;
use crate::edge::RequestView;
use crate::fault::Reject;
use crate::model::{self, Problems};

/// A compiled answer.
#[derive(Debug)]
pub enum Local {
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// The client gets a fixed answer.
    Respond(Respond),
}

/// What a client is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status, never 1xx.
    pub status: StatusCode,
    /// Headers, without those of framing.
    pub headers: HeaderMap,
    /// The body; empty for statuses that have none.
    pub body: Bytes,
}

impl Local {
    /// Compiles `redirect` of a route; problems carry `path` (`routes[3].redirect`). `matches`
    /// is what the route takes: a redirect that leads back to it is refused where that is sure.
    pub fn redirect(
        model: &model::Redirect,
        matches: &model::Match,
        path: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        Redirect::compile(model, matches, path, problems).map(Self::Redirect)
    }

    /// Compiles `respond` of a route; problems carry `path` (`routes[3].respond`). `identity`
    /// are the headers that tell services who calls.
    pub fn respond<'a>(
        model: &model::Respond,
        identity: impl Iterator<Item = &'a str>,
        path: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        Respond::compile(model, identity, path, problems).map(Self::Respond)
    }

    /// What the client is answered.
    ///
    /// # Errors
    /// 500 where a redirect would lead to the request itself.
    pub fn answer(&self, view: &RequestView<'_>) -> Result<Answer, Reject> {
        match self {
            Self::Redirect(redirect) => redirect.answer(view),
            Self::Respond(respond) => Ok(respond.answer()),
        }
    }

    /// What it does, in a word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Redirect(_) => "redirect",
            Self::Respond(_) => "respond",
        }
    }
}
