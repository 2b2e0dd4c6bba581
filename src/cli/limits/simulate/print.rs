//! What a simulation found out, for people.

use std::fmt::Write;

use super::Report;
use crate::cli::page::table;
use crate::limit::simulate::{Judged, Judgement, Smallest};

/// Lays a report out.
pub(super) fn text(report: &Report) -> String {
    let mut page = String::with_capacity(4096);
    // Writing into a string cannot fail.
    let _ = write_log(&mut page, report);
    for limit in &report.limits {
        let _ = write_limit(&mut page, limit, report.refuse_under);
    }
    for skipped in &report.skipped {
        let _ = writeln!(page, "\n{}: cannot be simulated: {}", skipped.limit, skipped.why);
    }
    page
}

fn write_log(page: &mut String, report: &Report) -> std::fmt::Result {
    let log = &report.log;
    writeln!(page, "{} lines, from {} to {}", log.lines, time(log.first_ms), time(log.last_ms))?;
    for (count, what) in [
        (log.refused_before, "requests were refused before limits are asked"),
        (log.late, "lines came too late for their place in time"),
        (log.without_field, "lines lack something that a limit counts by"),
        (log.broken, "lines could not be read"),
    ] {
        if count > 0 {
            writeln!(page, "{count} {what}")?;
        }
    }
    for broken in &log.broken_lines {
        writeln!(page, "  line {}: {}", broken.line, broken.why)?;
    }
    Ok(())
}

fn write_limit(page: &mut String, limit: &Judged, under: f64) -> std::fmt::Result {
    let (tally, refused) = (&limit.tally, limit.refused);
    writeln!(page, "\n{} ({})", limit.limit, limit.algorithm)?;
    writeln!(
        page,
        "{} requests of {} keys, {refused} refused ({})",
        tally.requests,
        limit.keys,
        share(refused, tally.requests)
    )?;
    if tally.lacking > 0 {
        writeln!(page, "{} more refused for lacking a part of the key", tally.lacking)?;
    }
    if tally.beyond_memory > 0 {
        writeln!(page, "{} more not simulated: take a shorter log", tally.beyond_memory)?;
    }
    let under = format!("SMALLEST UNDER {}%", under * 100.0);
    let mut rows = Vec::new();
    for judgement in &limit.algorithms {
        rows.extend(judgement_rows(judgement, tally.requests));
    }
    let titles = ["ALGORITHM", "REFUSED", "SHARE", "KEYS", "PLAN", "LIMIT", &under, "REFUSES"];
    write!(page, "\n{}", table(&titles, &rows))?;
    if limit.top.is_empty() {
        return Ok(());
    }
    let rows = limit.top.iter().map(|top| {
        let parts: Vec<String> =
            top.parts.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let share = share(top.refused, top.requests);
        let plan = top.plan.clone().unwrap_or_else(|| "-".to_owned());
        vec![top.refused.to_string(), top.requests.to_string(), share, plan, parts.join(" ")]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    write!(page, "\n{}", table(&["REFUSED", "REQUESTS", "SHARE", "PLAN", "WHO"], &rows))
}

fn judgement_rows(judgement: &Judgement, requests: u64) -> Vec<Vec<String>> {
    let word = judgement.algorithm.to_owned();
    let Some(refused) = judgement.refused else {
        let why = judgement.unfit.clone().unwrap_or_default();
        return vec![vec![word, "-".to_owned(), format!("does not fit: {why}")]];
    };
    let keys = judgement.keys_refused.unwrap_or(0).to_string();
    let mut head = vec![word, refused.to_string(), share(refused, requests), keys];
    let mut rows = Vec::new();
    for smallest in &judgement.smallest {
        head.extend(smallest_cells(smallest));
        rows.push(std::mem::replace(&mut head, vec![String::new(); 4]));
    }
    if rows.is_empty() { vec![head] } else { rows }
}

fn smallest_cells(smallest: &Smallest) -> [String; 4] {
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
    [
        smallest.plan.clone().unwrap_or_else(|| "-".to_owned()),
        number(smallest.now),
        number(smallest.limit),
        smallest.refused.map_or_else(
            || "-".to_owned(),
            |refused| format!("{refused} of {}", smallest.requests),
        ),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    format!("{:.2}%", part as f64 * 100.0 / whole as f64)
}

fn time(ms: Option<u64>) -> String {
    let at = ms.map(|ms| std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms));
    at.map_or_else(|| "-".to_owned(), |at| humantime::format_rfc3339_millis(at).to_string())
}
