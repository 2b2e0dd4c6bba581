//! An explanation as text.

mod token;

use std::fmt::Write;

use crate::decide::Explanation;
use crate::model::LimitMode;

/// Failed candidates shown unless all are wanted.
const FAILED_SHOWN: usize = 10;

/// Lays an explanation out for people.
pub(super) fn text(told: &Explanation, all: bool) -> String {
    let mut page = String::with_capacity(2048);
    // Writing into a string cannot fail.
    let _ = write_page(&mut page, told, all);
    page
}

fn write_page(page: &mut String, told: &Explanation, all: bool) -> std::fmt::Result {
    if let Some(seen) = &told.request {
        let query = seen.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
        let (method, scheme, host, path) = (&seen.method, seen.scheme, &seen.host, &seen.path);
        writeln!(page, "request    {method} {scheme}://{host}{path}{query} from {}", seen.client)?;
    }
    match &told.refusal {
        None => {
            let (decision, version) = (told.decision, told.config_version);
            writeln!(page, "decision   {decision} (configuration {version})")?;
        }
        Some(refusal) => {
            writeln!(page, "decision   refuse: {} {}", refusal.status, refusal.code)?;
            writeln!(page, "           {}", refusal.title)?;
            if let Some(detail) = &refusal.detail {
                writeln!(page, "           {detail}")?;
            }
            for (name, value) in &refusal.headers {
                writeln!(page, "           {name}: {value}")?;
            }
        }
    }
    writeln!(page, "route      {}", told.route.as_deref().unwrap_or("(none)"))?;
    write_candidates(page, told, all)?;
    write_pairs(page, "policies", &told.policies)?;
    if let Some(report) = &told.token {
        token::write(page, report)?;
    }
    if let Some(caller) = &told.caller {
        let tenant = caller.tenant_id.as_deref().unwrap_or("(none)");
        let (subject, provider) = (&caller.subject, &caller.provider);
        writeln!(page, "caller     {subject}, tenant {tenant}, proved by {provider}")?;
        writeln!(page, "           scopes: {}", caller.scopes.join(" "))?;
    }
    write_limits(page, told)?;
    write_cache(page, told)?;
    write_upstream(page, told)?;
    if let Some(answered) = &told.answered {
        writeln!(page, "answered   {}, {} bytes", answered.status, answered.body_bytes)?;
        for (name, value) in &answered.headers {
            writeln!(page, "           {name}: {value}")?;
        }
    }
    Ok(())
}

fn write_candidates(page: &mut String, told: &Explanation, all: bool) -> std::fmt::Result {
    let mut failed = 0;
    for fared in told.candidates.iter().filter(|fared| fared.verdict != "chosen") {
        failed += usize::from(fared.verdict == "failed");
        if failed > FAILED_SHOWN && !all {
            continue;
        }
        let reason = fared.reason.as_deref().unwrap_or_default();
        writeln!(page, "  not      {}: {reason}", fared.route)?;
    }
    if failed > FAILED_SHOWN && !all {
        writeln!(page, "           … and {} more (--all)", failed - FAILED_SHOWN)?;
    }
    Ok(())
}

fn write_pairs(page: &mut String, title: &str, pairs: &[(String, String)]) -> std::fmt::Result {
    for (index, (key, value)) in pairs.iter().enumerate() {
        let title = if index == 0 { title } else { "" };
        writeln!(page, "{title:<11}{key}: {value}")?;
    }
    Ok(())
}

fn write_limits(page: &mut String, told: &Explanation) -> std::fmt::Result {
    for taken in &told.limits {
        writeln!(page, "limit      {}: {}", taken.name, taken.rule)?;
        match (taken.mode, taken.lease) {
            (LimitMode::Exact, _) => writeln!(page, "           mode exact")?,
            (LimitMode::Leased, lease) => {
                writeln!(page, "           mode leased, nodes hold at most {lease} in advance")?;
            }
        }
        if taken.shadow {
            writeln!(page, "           in shadow: counts, refuses nobody")?;
        }
        writeln!(page, "           key {}", taken.key)?;
        for (name, value) in &taken.parts {
            writeln!(page, "           {name} = {value}")?;
        }
    }
    Ok(())
}

fn write_cache(page: &mut String, told: &Explanation) -> std::fmt::Result {
    let Some(kept) = &told.cache else { return Ok(()) };
    match &kept.key {
        Some(key) => writeln!(page, "cache      key {key}")?,
        None => writeln!(page, "cache      not used for this request")?,
    }
    for factor in &kept.factors {
        writeln!(page, "           {} = {}", factor.name, factor.value)?;
    }
    Ok(())
}

fn write_upstream(page: &mut String, told: &Explanation) -> std::fmt::Result {
    if let Some(goes) = &told.upstream {
        write!(page, "upstream   {} version {}", goes.service, goes.version)?;
        if let (Some(bucket), Some(key)) = (goes.bucket, &goes.split_key) {
            write!(page, ", bucket {bucket} of 10000 by {key}")?;
        }
        writeln!(page)?;
        if !goes.endpoints.is_empty() || goes.looked_up.is_empty() {
            writeln!(page, "           endpoints: {}", goes.endpoints.join(", "))?;
        }
        if !goes.looked_up.is_empty() {
            writeln!(page, "           looked up: {}", goes.looked_up.join(", "))?;
        }
        writeln!(page, "           chosen by {}", goes.algorithm)?;
    }
    let Some(sent) = &told.sent else { return Ok(()) };
    writeln!(page, "sent       {}", sent.target)?;
    for (name, value) in &sent.added {
        writeln!(page, "           + {name}: {value}")?;
    }
    for name in &sent.removed {
        writeln!(page, "           - {name}")?;
    }
    Ok(())
}
