//! An answer, read to its end.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::{Context, Error, Result};

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Header fields, names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// The body, decoded from chunks where it came in chunks.
    pub body: Vec<u8>,
    /// Time from sending the first byte of the request to the last byte of the response.
    pub took: Duration,
}

impl Response {
    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a header that must be there.
    pub fn required(&self, name: &str) -> Result<&str> {
        self.header(name).context(format_args!("no {name} in {self}"))
    }

    /// A header that must be there and be a whole number.
    pub fn number(&self, name: &str) -> Result<u64> {
        let value = self.required(name)?;
        value.parse().context(format_args!("{name}: {value:?} is no whole number"))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).context(format_args!("JSON expected in {self}"))
    }

    /// Checks the status.
    pub fn expect(self, status: u16) -> Result<Self> {
        if self.status == status {
            Ok(self)
        } else {
            Err(Error::new(format!("expected status {status}, got {self}")))
        }
    }

    /// Checks that this is the gateway's own refusal with this status and this code: a body of
    /// `application/problem+json` with all members that every refusal has. Returns the body.
    pub fn problem(&self, status: u16, code: &str) -> Result<Value> {
        let whole = || format!("expected {status} {code}, got {self}");
        if self.status != status || self.header("content-type") != Some("application/problem+json")
        {
            return Err(Error::new(whole()));
        }
        let body = self.json()?;
        let sound = body["code"] == code
            && body["status"] == status
            && ["type", "title", "error", "request_id"]
                .iter()
                .all(|name| body[*name].as_str().is_some_and(|text| !text.is_empty()))
            && body["request_id"].as_str() == self.header("x-request-id");
        if sound { Ok(body) } else { Err(Error::new(whole())) }
    }

    /// A request header as an origin's echo reports it.
    pub fn echoed(&self, name: &str) -> Result<Option<String>> {
        let echo = self.json()?;
        let headers = echo["headers"].as_array().context("an echo of headers")?;
        let found = headers.iter().find(|field| field[0] == name);
        Ok(found.and_then(|field| field[1].as_str()).map(str::to_owned))
    }

    /// Name of the origin that answered.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.header("x-origin")
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        let text = self.text();
        let shown: String = text.chars().take(2000).collect();
        write!(f, "\n{shown}")
    }
}
