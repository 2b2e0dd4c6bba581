//! `tidegate token`: tokens for development, signed with a provider's `developmentKeyFile`.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value};

use super::args::TokenArgs;
use super::done;
use crate::auth::{DevelopmentKey, mint, new_development_key};
use crate::clock;
use crate::model::{self, Config, IdentityProvider, Problems, Span};

/// Longest life of a token made here, in seconds: 30 days.
const LIFETIME_SECONDS_MAX: u64 = 30 * 86_400;

/// Claims that follow from the configuration and from options of their own.
const OWN: [&str; 7] = ["iss", "aud", "sub", "exp", "nbf", "iat", "jti"];

pub(super) fn token(args: &TokenArgs) -> ExitCode {
    let told = match &args.new_key {
        Some(file) => new_key(file).map(|()| String::new()),
        None => make(args, clock::now().unix_seconds()).map(|token| token + "\n"),
    };
    done(told.map_err(|why| format!("{}\n", why.trim_end())))
}

/// Writes a new key to a file that does not exist yet, readable for its owner alone.
fn new_key(file: &Path) -> Result<(), String> {
    let pem = new_development_key()?;
    let place = file.display();
    let mut opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map_err(|error| format!("`{place}` cannot be made: {error}"))?;
    opened
        .write_all(pem.as_bytes())
        .and_then(|()| opened.sync_all())
        .map_err(|error| format!("`{place}` cannot be written: {error}"))
}

/// The token that the arguments describe.
fn make(args: &TokenArgs, now: u64) -> Result<String, String> {
    let file = args.config.as_deref().ok_or("name a configuration: --config FILE")?;
    let loaded = model::load_file(file);
    let config = loaded.config.as_ref().filter(|_| !loaded.problems.has_errors());
    let config = config.ok_or_else(|| loaded.render(&loaded.problems))?;
    let (name, provider) = provider(config, args.provider.as_deref())?;
    let key_file = provider.development_key_file.as_deref().ok_or_else(|| {
        format!(
            "tokens of `{name}` are its issuer's to make: it has no \
                                `developmentKeyFile`"
        )
    })?;
    let pem = std::fs::read(key_file)
        .map_err(|error| format!("the key `{key_file}` cannot be read: {error}"))?;
    let key = DevelopmentKey::read(&pem).map_err(|why| format!("`{key_file}`: {why}"))?;
    mint(&key, claims(args, provider, now)?)
}

/// The provider of this name, or the one that has a key for development.
fn provider<'a>(
    config: &'a Config,
    name: Option<&str>,
) -> Result<(&'a str, &'a IdentityProvider), String> {
    let all = &config.identity_providers;
    if let Some(name) = name {
        let found = all.get_key_value(name);
        return found.map(|(name, provider)| (name.as_str(), provider)).ok_or_else(|| {
            let help = Problems::did_you_mean(name, all.keys().map(String::as_str));
            let help = help.map(|help| format!("; {help}")).unwrap_or_default();
            format!("there is no identity provider `{name}`{help}")
        });
    }
    let mut with_key = all.iter().filter(|(_, one)| one.development_key_file.is_some());
    match (with_key.next(), with_key.next()) {
        (Some((name, provider)), None) => Ok((name, provider)),
        (Some((first, _)), Some((second, _))) => {
            Err(format!("`{first}` and `{second}` have keys for development: name one, --provider"))
        }
        (None, _) => match all.keys().next() {
            Some(name) => Err(format!(
                "tokens of `{name}` are its issuer's to make: no provider has a \
                 `developmentKeyFile`"
            )),
            None => Err("the configuration has no identity provider".to_owned()),
        },
    }
}

fn claims(
    args: &TokenArgs,
    provider: &IdentityProvider,
    now: u64,
) -> Result<Map<String, Value>, String> {
    let lifetime = seconds("--expires", &args.expires)?;
    if !(1..=LIFETIME_SECONDS_MAX).contains(&lifetime) {
        return Err(format!("--expires {}: between 1s and 30d", args.expires));
    }
    let audience = args.audience.as_ref().or_else(|| provider.audience.0.first());
    let audience = audience.ok_or("the provider has no audience: --audience")?;
    let mut claims = Map::new();
    let mut put = |name: &str, value: Value| {
        let before = claims.insert(name.to_owned(), value);
        before.is_none().then_some(()).ok_or_else(|| format!("the claim `{name}` is given twice"))
    };
    put("iss", provider.issuer.as_str().into())?;
    put("aud", audience.as_str().into())?;
    put("iat", now.into())?;
    put("exp", (now + lifetime).into())?;
    if let Some(delay) = &args.not_before {
        put("nbf", (now + seconds("--not-before", delay)?).into())?;
    }
    match args.jti.as_deref() {
        Some("auto") => put("jti", format!("{:032x}", fastrand::u128(..)).into())?,
        Some(id) => put("jti", id.into())?,
        None => {}
    }
    let names = &provider.claims;
    let sub = args.sub.as_deref().filter(|sub| !sub.is_empty()).ok_or("whose token? --sub NAME")?;
    put("sub", sub.into())?;
    if names.subject != "sub" {
        put(&names.subject, sub.into())?;
    }
    for (name, value) in
        [(&names.tenant_id, &args.tenant), (&names.scopes, &args.scope), (&names.plan, &args.plan)]
    {
        if let Some(value) = value {
            put(name, value.as_str().into())?;
        }
    }
    if !args.roles.is_empty() {
        put(&names.roles, args.roles.clone().into())?;
    }
    for written in &args.claims {
        let (name, value) = claim(written)?;
        put(name, value)?;
    }
    Ok(claims)
}

/// Reads `name=text` or `name:=json`.
fn claim(written: &str) -> Result<(&str, Value), String> {
    let (name, text) = written
        .split_once('=')
        .ok_or_else(|| format!("--claim {written}: write `name=text` or `name:=json`"))?;
    let (name, value) = match name.strip_suffix(':') {
        None => (name, Value::from(text)),
        Some(name) => {
            let value = serde_json::from_str(text)
                .map_err(|error| format!("--claim {name}: this is not JSON: {error}"))?;
            (name, value)
        }
    };
    if name.is_empty() {
        return Err(format!("--claim {written}: a claim needs a name"));
    }
    if OWN.contains(&name) {
        return Err(format!("--claim {name}: it follows from the configuration or has an option"));
    }
    Ok((name, value))
}

/// A span as the configuration writes it, in whole seconds.
fn seconds(option: &str, text: &str) -> Result<u64, String> {
    let span: Result<Span, _> = serde_json::from_value(text.into());
    let span = span.map_err(|_| format!("{option} {text}: write a span such as 30m, 12h or 7d"))?;
    Ok(span.get().as_secs())
}

#[cfg(test)]
mod tests;
