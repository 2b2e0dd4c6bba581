//! Medians and the table.

use std::fmt::Write;
use std::process::Command;

use crate::options::Options;
use crate::process::{Cores, CpuTime};
use crate::target::Kind;
use crate::wrk::Tally;

/// One run of one target.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The target.
    pub kind: Kind,
    /// In which round.
    pub round: u32,
    /// What wrk saw.
    pub tally: Tally,
    /// What the process used.
    pub cpu: CpuTime,
}

impl Sample {
    /// Processor time per request in microseconds: user and system.
    #[must_use]
    pub fn per_request_us(&self) -> (f64, f64) {
        per_request_us(&self.tally, self.cpu)
    }

    fn total_us(&self) -> f64 {
        let (user, system) = self.per_request_us();
        user + system
    }

    fn requests_per_second(&self) -> f64 {
        per_second(&self.tally)
    }
}

/// Processor time per request in microseconds: user and system.
#[must_use]
pub fn per_request_us(tally: &Tally, cpu: CpuTime) -> (f64, f64) {
    let requests = as_float(tally.requests.max(1));
    let us = |time: std::time::Duration| time.as_secs_f64() * 1e6 / requests;
    (us(cpu.user), us(cpu.system))
}

/// Answers per second.
#[must_use]
pub fn per_second(tally: &Tally) -> f64 {
    as_float(tally.requests) * 1e6 / as_float(tally.duration_us.max(1))
}

/// A row of the table: all runs of one target.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The target.
    pub kind: Kind,
    /// Answers in all rounds.
    pub requests: u64,
    /// Answers per second, median.
    pub per_second: f64,
    /// Microseconds in its own code per request, median.
    pub user_us: f64,
    /// Microseconds in the kernel per request, median.
    pub system_us: f64,
    /// Microseconds per request: smallest, median, largest.
    pub total_us: (f64, f64, f64),
    /// Cost as a multiple of the yardstick in the same round, median; none without a yardstick.
    pub ratio: Option<f64>,
    /// Latency under full load, medians over the rounds, in milliseconds: p50 and p99.
    pub latency_ms: (f64, f64),
    /// Answers and connections that should not have been, in all rounds.
    pub errors: u64,
}

impl Row {
    /// Sums up the runs of one target.
    #[must_use]
    pub fn of(kind: Kind, samples: &[Sample]) -> Self {
        let own: Vec<&Sample> = samples.iter().filter(|sample| sample.kind == kind).collect();
        let median_of = |figure: &dyn Fn(&Sample) -> f64| {
            median(own.iter().map(|sample| figure(sample)).collect()).unwrap_or(0.0)
        };
        let totals = || own.iter().map(|sample| sample.total_us());
        let ratios = own.iter().filter_map(|sample| {
            let yardstick = samples
                .iter()
                .find(|other| other.kind == kind.yardstick() && other.round == sample.round)?;
            Some(sample.total_us() / yardstick.total_us())
        });
        Self {
            kind,
            requests: own.iter().map(|sample| sample.tally.requests).sum(),
            per_second: median_of(&Sample::requests_per_second),
            user_us: median_of(&|sample| sample.per_request_us().0),
            system_us: median_of(&|sample| sample.per_request_us().1),
            total_us: (
                totals().reduce(f64::min).unwrap_or(0.0),
                median_of(&Sample::total_us),
                totals().reduce(f64::max).unwrap_or(0.0),
            ),
            ratio: median(ratios.collect()),
            latency_ms: (
                median_of(&|sample| as_float(sample.tally.p50_us) / 1e3),
                median_of(&|sample| as_float(sample.tally.p99_us) / 1e3),
            ),
            errors: own.iter().map(|sample| sample.tally.errors()).sum(),
        }
    }
}

/// The table, in Markdown.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| target | requests | requests/s | user µs | system µs | total µs | min–max \
         | × bare | p50 ms | p99 ms | errors |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in rows {
        let (least, total, most) = row.total_us;
        let beside = match row.kind.yardstick() {
            Kind::Bare => String::new(),
            other => format!(" × {other}"),
        };
        let ratio = row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}{beside}"));
        let (p50, p99) = row.latency_ms;
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {:.2} | {:.2} | {total:.2} | {least:.2}–{most:.2} | {ratio} \
             | {p50:.2} | {p99:.2} | {} |",
            row.kind, row.requests, row.per_second, row.user_us, row.system_us, row.errors,
        );
    }
    text
}

/// What a reader needs to judge the figures: machine, versions, settings.
#[must_use]
pub fn circumstances(options: &Options, cores: Cores) -> String {
    let redis = said("redis-server", &["--version"]);
    let settings = format!(
        "{} connections, {} thread(s), {} rounds of {} s, bodies of {} bytes, {} clients",
        options.load.connections,
        options.load.threads,
        options.rounds,
        options.seconds,
        options.body_bytes,
        options.clients
    );
    format!("{}- redis: {redis}\n- settings: {settings}\n", machine(cores))
}

/// The same without what only some runs use and have: when, what, on which machine.
#[must_use]
pub fn machine(cores: Cores) -> String {
    let facts = facts(cores);
    facts.iter().fold(String::new(), |text, (key, value)| format!("{text}- {key}: {value}\n"))
}

/// When, what, on which machine: names and values.
#[must_use]
pub fn facts(cores: Cores) -> Vec<(&'static str, String)> {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, model)| model.trim());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let build = if cfg!(debug_assertions) { "DEBUG: not a measurement" } else { "release" };
    vec![
        ("date", said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"])),
        ("commit", said("git", &["describe", "--always", "--dirty"])),
        ("build", build.to_owned()),
        ("machine", format!("{model}, {processors} processors")),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("load before", read("/proc/loadavg").trim().to_owned()),
        ("processors", cores.describe()),
        ("wrk", said("wrk", &["-v"])),
    ]
}

/// The first line that a program says, on standard output or, where that is empty, on the other.
#[must_use]
pub fn said(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        return "unknown".to_owned();
    };
    let words = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let text = String::from_utf8_lossy(&words).into_owned();
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}

/// Everything that a program says when it is given this argument, on both outputs.
#[must_use]
pub fn everything_said(program: &std::path::Path, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else { return String::new() };
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The figure in the middle; none of none.
#[must_use]
pub fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let upper = *figures.get(figures.len() / 2)?;
    if figures.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *figures.get(figures.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}

#[expect(clippy::cast_precision_loss, reason = "counts and times of a run are below 2^53")]
pub(crate) const fn as_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sample(kind: Kind, round: u32, requests: u64, user_ms: u64, system_ms: u64) -> Sample {
        Sample {
            kind,
            round,
            tally: Tally {
                requests,
                duration_us: 2_000_000,
                status_errors: u64::from(round),
                ..Tally::default()
            },
            cpu: CpuTime {
                user: Duration::from_millis(user_ms),
                system: Duration::from_millis(system_ms),
            },
        }
    }

    fn near(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-6, "{left} {right}");
    }

    #[test]
    fn a_target_is_compared_with_the_yardstick_of_its_round() {
        // The machine is half as fast in the last round; the ratio does not notice.
        let samples = [
            sample(Kind::Bare, 0, 100_000, 1000, 1000),
            sample(Kind::Full, 0, 100_000, 1600, 1400),
            sample(Kind::Bare, 1, 100_000, 1000, 1000),
            sample(Kind::Full, 1, 100_000, 1600, 1400),
            sample(Kind::Bare, 2, 100_000, 2000, 2000),
            sample(Kind::Full, 2, 100_000, 3200, 2800),
        ];
        let row = Row::of(Kind::Full, &samples);
        near(row.ratio.unwrap(), 1.5);
        near(row.total_us.0, 30.0);
        near(row.total_us.1, 30.0);
        near(row.total_us.2, 60.0);
        near(row.user_us, 16.0);
        near(row.system_us, 14.0);
        near(row.per_second, 50_000.0);
        assert_eq!((row.requests, row.errors), (300_000, 3));
        near(Row::of(Kind::Bare, &samples).ratio.unwrap(), 1.0);
        assert!(table(&[row]).contains("| full | 300000 | 50000 | 16.00 | 14.00 | 30.00 |"));
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(vec![]), None);
        near(median(vec![3.0, 1.0, 2.0]).unwrap(), 2.0);
        near(median(vec![4.0, 1.0, 2.0, 3.0]).unwrap(), 2.5);
    }
}
