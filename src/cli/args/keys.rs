//! What can be typed about API keys and tenants.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum KeysCommand {
    /// Make a key and print it, this one time.
    Create(CreateKey),
    /// List keys, without the keys themselves.
    List(ListKeys),
    /// Say everything that is known of one key, and what happened to it.
    Show(OneKey),
    /// Switch a key off, at once and for good.
    Revoke(OneKey),
    /// Make a key that replaces another one, and print it, this one time.
    Rotate(RotateKey),
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum TenantsCommand {
    /// Give a tenant a status, for example `ACTIVE` or `SUSPENDED`.
    Set(SetTenant),
    /// List all tenants with their status.
    List(ListTenants),
    /// Forget a tenant; it is unknown then, not active.
    Remove(OneTenant),
}

/// Where the database is, and how to answer.
#[derive(Debug, Args)]
pub(in crate::cli) struct Stored {
    /// The configuration, whose `database` is meant.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) config: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CreateKey {
    #[command(flatten)]
    pub(in crate::cli) stored: Stored,
    /// Name of the holder: becomes the subject and the client id.
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(in crate::cli) client: String,
    /// The tenant that the holder belongs to.
    #[arg(long, value_name = "ID", value_parser = name)]
    pub(in crate::cli) tenant: Option<String>,
    /// The holder's plan.
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(in crate::cli) plan: Option<String>,
    /// A scope that the key carries; may be repeated.
    #[arg(long = "scope", value_name = "SCOPE", value_parser = word)]
    pub(in crate::cli) scopes: Vec<String>,
    /// A role of the holder; may be repeated.
    #[arg(long = "role", value_name = "ROLE", value_parser = name)]
    pub(in crate::cli) roles: Vec<String>,
    /// A product that the holder may use; may be repeated.
    #[arg(long = "product", value_name = "NAME", value_parser = name)]
    pub(in crate::cli) products: Vec<String>,
    /// How long the key is good (`90d`), or until when (`2027-01-31T00:00:00Z`). Without it, for
    /// good.
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    pub(in crate::cli) expires: Option<Expiry>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListKeys {
    #[command(flatten)]
    pub(in crate::cli) stored: Stored,
    /// Only those of this client.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) client: Option<String>,
    /// Only those of this tenant.
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) tenant: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OneKey {
    #[command(flatten)]
    pub(in crate::cli) stored: Stored,
    /// The key's id, as `list` shows it; never the key itself.
    pub(in crate::cli) id: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RotateKey {
    #[command(flatten)]
    pub(in crate::cli) stored: Stored,
    /// The id of the key to replace, as `list` shows it; never the key itself.
    pub(in crate::cli) id: String,
    /// How long the old key goes on; `0s` ends it at once.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = span)]
    pub(in crate::cli) grace: Duration,
    /// How long the new key is good, or until when. Without it, as long as the old one was made
    /// to be.
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    pub(in crate::cli) expires: Option<Expiry>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SetTenant {
    #[command(flatten)]
    pub(in crate::cli) stored: Stored,
    /// The tenant.
    #[arg(value_parser = name)]
    pub(in crate::cli) id: String,
    /// Its status, compared with `policies.authorization.tenantStatus`.
    #[arg(value_parser = name)]
    pub(in crate::cli) status: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListTenants {
    #[command(flatten)]
    pub(in crate::cli) stored: Stored,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OneTenant {
    #[command(flatten)]
    pub(in crate::cli) stored: Stored,
    /// The tenant.
    pub(in crate::cli) id: String,
}

/// When something ends, as it was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Expiry {
    /// So long from now.
    In(Duration),
    /// At this time, Unix seconds.
    At(u64),
}

fn span(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text).map_err(|_| "not a span of time such as 24h or 7d")
}

fn expiry(text: &str) -> Result<Expiry, &'static str> {
    if let Ok(span) = humantime::parse_duration(text) {
        return Ok(Expiry::In(span));
    }
    let at = humantime::parse_rfc3339(text)
        .map_err(|_| "neither a span such as 90d nor a time such as 2027-01-31T00:00:00Z")?;
    let since = at.duration_since(std::time::UNIX_EPOCH).map_err(|_| "long past")?;
    Ok(Expiry::At(since.as_secs()))
}

/// A name that can be shown in a table and sent in a header.
fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.trim() != text {
        return Err("empty, or with space around it".to_owned());
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(format!("longer than {NAME_BYTES_MAX} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("control characters are not possible".to_owned());
    }
    Ok(text.to_owned())
}

/// A name without spaces: lists of scopes are written with spaces between them.
fn word(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_whitespace) {
        return Err("a scope has no spaces; repeat the option for a further scope".to_owned());
    }
    name(text)
}

/// Longest name.
const NAME_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spans_or_points() {
        assert_eq!(expiry("90d"), Ok(Expiry::In(Duration::from_hours(90 * 24))));
        assert_eq!(expiry("2027-01-31T00:00:00Z"), Ok(Expiry::At(1_801_353_600)));
        for wrong in ["", "90", "tomorrow", "2027-01-31", "-1d", "1901-01-01T00:00:00Z"] {
            assert!(expiry(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_can_be_shown_and_sent() {
        for good in ["a", "Müller & Söhne", "x'; DROP TABLE api_keys; --", &"x".repeat(256)] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for wrong in ["", " ", " a", "a\n", "a\u{1b}[2J", "a\0b", &"x".repeat(257)] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
        assert!(word("orders:read").is_ok() && word("orders:read orders:write").is_err());
    }
}
