//! `tidegate headers`: the contract with services, written from a configuration (R110).

use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

use http::HeaderName;
use serde_json::{Value, json};

use super::args::HeadersArgs;
use super::done;
use crate::auth::{Contract, ContractHeader, ContractSignature};
use crate::live::{Candidate, Missing, judge};
use crate::model::HeaderEncoding;
use crate::telemetry::Metrics;
use crate::upstream::Upstreams;

pub(super) fn headers(args: &HeadersArgs) -> ExitCode {
    done(tell(args))
}

fn tell(args: &HeadersArgs) -> Result<String, String> {
    let metrics = Arc::new(Metrics::new().map_err(|error| format!("{error}\n"))?);
    let judged = judge(&args.file, Missing::Noted, &metrics, &Upstreams::default(), 1);
    let Some(Candidate { snapshot, config, .. }) = judged.candidate else {
        return Err(judged.loaded.render(&judged.problems));
    };
    let contract = snapshot.providers.contract(&config);
    let [_, trusted] = snapshot.unproved.names();
    if args.json {
        return Ok(format!("{:#}\n", as_json(&contract, &trusted)));
    }
    let mut page = String::with_capacity(4096);
    // Writing into a string cannot fail.
    let _ = write_page(&mut page, &contract, &trusted);
    Ok(page)
}

fn as_json(contract: &Contract, trusted: &[&HeaderName]) -> Value {
    let header = |header: &ContractHeader| {
        let sources = header.sources.iter().map(|(by, what)| json!({"provedBy": by, "is": what}));
        json!({
            "name": header.name,
            "fact": header.fact,
            "sources": sources.collect::<Vec<_>>(),
            "encoding": header.encoding.as_str(),
            "separator": header.separator,
        })
    };
    let signature = |signature: &ContractSignature| {
        json!({
            "label": "tidegate",
            "algorithm": "hmac-sha256",
            "components": COVERED,
            "keys": signature.keys,
            "maxAgeSeconds": signature.max_age_seconds,
            "futureSeconds": FUTURE_SECONDS,
        })
    };
    json!({
        "headers": contract.headers.iter().map(header).collect::<Vec<_>>(),
        "stripped": contract.stripped,
        "strippedUnlessFromTrustedProxies":
            trusted.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        "signature": contract.signature.as_ref().map(signature),
    })
}

fn write_page(page: &mut String, contract: &Contract, trusted: &[&HeaderName]) -> std::fmt::Result {
    page.push_str(HEAD);
    if contract.headers.is_empty() {
        page.push_str("Services are told nothing about callers.\n");
    } else {
        page.push_str("| Header | Fact | Comes from | Written as |\n|---|---|---|---|\n");
    }
    for header in &contract.headers {
        let sources: Vec<String> =
            header.sources.iter().map(|(by, what)| format!("{by}: {what}")).collect();
        let sources = if sources.is_empty() { NO_SOURCE.to_owned() } else { sources.join("; ") };
        let (name, fact) = (&header.name, &header.fact);
        writeln!(page, "| `{name}` | `{fact}` | {sources} | {} |", written(header))?;
    }
    page.push_str(ABSENT);
    page.push_str(STRIPPED);
    for name in &contract.stripped {
        writeln!(page, "- `{name}`")?;
    }
    if !trusted.is_empty() {
        page.push_str(TRUSTED);
        for name in trusted {
            writeln!(page, "- `{name}`")?;
        }
    }
    if let Some(signature) = &contract.signature {
        return write_signature(page, signature);
    }
    page.push_str(UNSIGNED);
    Ok(())
}

fn write_signature(page: &mut String, signature: &ContractSignature) -> std::fmt::Result {
    let keys: Vec<String> = signature.keys.iter().map(|id| format!("`{id}`")).collect();
    let first = signature.keys.first().map_or("", String::as_str);
    let age = signature.max_age_seconds;
    page.push_str(SIGNED);
    writeln!(
        page,
        "```text\nSignature-Input: tidegate=({} …);created=UNIX;keyid=\"{first}\";\
         alg=\"hmac-sha256\"\nSignature: tidegate=:BASE64:\n```\n",
        COVERED.map(|name| format!("\"{name}\"")).join(" "),
    )?;
    writeln!(page, "Keys, the first of which signs: {}.\n", keys.join(", "))?;
    page.push_str(VERIFY);
    writeln!(
        page,
        "4. `created` is at most {age} seconds ago, and at most {FUTURE_SECONDS} seconds ahead."
    )?;
    page.push_str(VERIFY_REST);
    Ok(())
}

/// How a value is written, in words.
fn written(header: &ContractHeader) -> String {
    let list = match header.separator {
        Some(' ') => ", items joined by a space",
        Some(_) if header.fact.starts_with("claim:") => ", items of a list joined by `,`",
        Some(_) => ", items joined by `,`",
        None => "",
    };
    match header.encoding {
        HeaderEncoding::Percent => format!("text{list}"),
        HeaderEncoding::Base64 => format!("base64 of UTF-8 text{list}"),
        HeaderEncoding::Json => "JSON in ASCII".to_owned(),
    }
}

/// What every signature covers.
const COVERED: [&str; 4] = ["@method", "@path", "@query", "x-request-id"];

/// How far ahead a signature may be: clocks differ.
const FUTURE_SECONDS: u64 = 5;

const NO_SOURCE: &str = "nothing that is configured: it is always absent";

const HEAD: &str = "# Identity headers

The contract between the gateway and the services behind it, written by `tidegate headers` from the
configuration. On routes that ask for callers, each request carries what is known of its caller:

";

const ABSENT: &str = "
A header is absent where the caller's credentials do not say so, and all are on routes with
`auth: none`. None is ever sent empty or twice. A caller with a value that cannot be written, or is
longer than 4096 bytes, is refused. *Text* is visible ASCII; in it `%`, characters beyond ASCII and
spaces at the ends are written as `%XX`, byte by byte of their UTF-8. An item of a list never holds
what joins the items: such a caller is refused.

";

const STRIPPED: &str = "## What clients cannot send

These headers are removed from every request, on every route, before anything reads them, in any
case and with `_` in place of `-` too:

";

const TRUSTED: &str = "
These are removed unless a trusted proxy sends them:

";

const UNSIGNED: &str = "
## Signature

Requests are not signed (`identitySignature`): whoever can reach a service without passing through
the gateway can claim to be anybody.
";

const SIGNED: &str = "
## Signature

Every request to a service is signed (RFC 9421), with and without a caller; each attempt anew, over
the request as the service sees it. `…` are the names of the identity headers that the request has,
in their order. Signatures of clients are removed. `Host` and the body are not covered.

";

const VERIFY: &str = "A request is the gateway's only if all of this holds:

1. Both headers are there once each, in exactly this form.
2. Every header that clients cannot send and that the request has is covered. One that is there
   and not covered was added on the way.
3. Every covered header is there exactly once; case does not count, and `_` counts as `-`.
";

const VERIFY_REST: &str = "5. `keyid` is one of the keys above.
6. The HMAC over the signature base is right, compared in constant time.

`contrib/verify-identity` has verifiers for Go, Java, Node, Python and Rust.
";
