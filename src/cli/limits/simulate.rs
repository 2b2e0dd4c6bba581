//! `tidegate limits simulate`: from a log and a policy to what would have happened.

mod print;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use crate::auth;
use crate::cli::args::SimulateArgs;
use crate::cli::{done, err};
use crate::edge::IdentityFacts;
use crate::limit::simulate::{Field, Judged, Line, Order, Trial};
use crate::limit::{Imagined, LimitRule};
use crate::model::{Config, KeyPart, Loaded, OneOrMany, Problems, RateLimit, load_file};
use crate::telemetry::Metrics;

/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Lines that cannot be read and are shown.
const BROKEN_SHOWN: usize = 5;

/// Everything that is found out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    log: LogReport,
    /// The share of requests below which a limit may refuse.
    refuse_under: f64,
    limits: Vec<Judged>,
    /// Limits that a log says nothing about.
    skipped: Vec<Skipped>,
}

/// What was read.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct LogReport {
    lines: u64,
    /// Lines that are none.
    broken: u64,
    /// The first of them.
    broken_lines: Vec<Broken>,
    /// Requests that were refused before limits are asked.
    refused_before: u64,
    /// Lines that came too late for their place in time.
    late: u64,
    /// Requests of a log that does not say plan or API key, where a limit counts by them.
    without_field: u64,
    /// When the first request began, and the last, in milliseconds since the Unix epoch.
    first_ms: Option<u64>,
    last_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Broken {
    line: u64,
    why: String,
}

#[derive(Debug, Serialize)]
struct Skipped {
    limit: String,
    why: String,
}

pub(super) fn simulate(args: &SimulateArgs) -> ExitCode {
    done(tell(args))
}

fn tell(args: &SimulateArgs) -> Result<String, String> {
    let loaded = load_file(&args.policy);
    let Some(config) = loaded.config.clone().filter(|_| !loaded.problems.has_errors()) else {
        return Err(loaded.render(&loaded.problems));
    };
    let (trials, skipped) = trials(args, &config, &loaded)?;
    if let (true, Some(first)) = (trials.is_empty(), skipped.first()) {
        return Err(format!("`{}` cannot be simulated: {}\n", first.limit, first.why));
    }
    let mut replay = Replay::new(&config, trials);
    let name = args.log.display();
    let read = match args.log.to_str() {
        Some("-") => replay.read(&mut io::stdin().lock()),
        _ => open(&args.log).and_then(|mut log| replay.read(&mut log)),
    };
    read.map_err(|error| format!("{name}: the log cannot be read: {error}\n"))?;
    let (log, trials) = replay.finish();
    if trials.iter().all(|on| on.trial.tally.requests == 0) {
        let first = log.broken_lines.first().map(|broken| format!(": {}", broken.why));
        return Err(format!(
            "{name}: none of {} lines is a request that the limits count{}\n",
            log.lines,
            first.unwrap_or_default()
        ));
    }
    let limits = trials.iter().map(|on| on.trial.judge(args.refuse_under, args.top)).collect();
    let report = Report { log, refuse_under: args.refuse_under, limits, skipped };
    if args.json {
        let json = serde_json::to_string_pretty(&report).map_err(|error| format!("{error}\n"))?;
        return Ok(json + "\n");
    }
    Ok(print::text(&report))
}

fn open(path: &Path) -> io::Result<BufReader<File>> {
    Ok(BufReader::with_capacity(1 << 18, File::open(path)?))
}

/// A limit on trial, and the requests that it counts.
struct OnTrial {
    trial: Trial,
    /// The routes that name it, with their costs; none where it counts every request.
    routes: Option<HashMap<String, Option<u64>>>,
    needs_field: bool,
    needs_service: bool,
}

fn trials(
    args: &SimulateArgs,
    config: &Config,
    loaded: &Loaded,
) -> Result<(Vec<OnTrial>, Vec<Skipped>), String> {
    let limits = wanted(args, config)?;
    let (mut trials, mut skipped) = (Vec::new(), Vec::new());
    let mut problems = Problems::default();
    for (name, model) in limits {
        let metrics = || Metrics::new().map_err(|error| format!("{error}\n"));
        let path = format!("rateLimits.{name}");
        let Some(rule) = LimitRule::compile(name, model, &path, &metrics()?, &mut problems) else {
            if !problems.has_errors() {
                let why = "its algorithm cannot be replayed".to_owned();
                skipped.push(Skipped { limit: name.clone(), why });
            }
            continue;
        };
        match Trial::of(Arc::new(rule), model, metrics()?) {
            Ok(trial) => trials.push(OnTrial {
                trial,
                routes: routes(config, name),
                needs_field: !model.plans.is_empty()
                    || model.key.iter().any(|p| matches!(p, KeyPart::Plan | KeyPart::ApiKey)),
                needs_service: model.key.contains(&KeyPart::Service),
            }),
            Err(unfit) => skipped.push(Skipped { limit: name.clone(), why: unfit.to_string() }),
        }
    }
    loaded.place(&mut problems);
    let told = loaded.render(&problems);
    if problems.has_errors() {
        return Err(told);
    }
    if !problems.0.is_empty() {
        err(&told);
    }
    Ok((trials, skipped))
}

fn wanted<'a>(
    args: &SimulateArgs,
    config: &'a Config,
) -> Result<BTreeMap<&'a String, &'a RateLimit>, String> {
    let known = &config.rate_limits;
    let file = args.policy.display();
    if known.is_empty() {
        return Err(format!("{file}: there are no `rateLimits` in it\n"));
    }
    let Some(name) = &args.limit else { return Ok(known.iter().collect()) };
    known.get_key_value(name).map(|pair| BTreeMap::from([pair])).ok_or_else(|| {
        let help = Problems::did_you_mean(name, known.keys().map(String::as_str));
        let help = help.unwrap_or_else(|| {
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            format!("known limits: {}", names.join(", "))
        });
        format!("{file}: there is no limit `{name}`; {help}\n")
    })
}

/// The routes that name a limit, with the cost that each says; none where none does.
fn routes(config: &Config, limit: &str) -> Option<HashMap<String, Option<u64>>> {
    let (names, cost) = (&config.policies.rate_limit, config.policies.rate_limit_cost);
    let names_it = |names: &Option<OneOrMany<String>>| {
        names.as_ref().is_some_and(|names| names.0.iter().any(|name| name == limit))
    };
    let routes = config.routes.iter().filter_map(|route| {
        let own = &route.policies;
        let applies =
            if own.rate_limit.is_some() { names_it(&own.rate_limit) } else { names_it(names) };
        let cost = own.rate_limit_cost.or(cost).map(u64::from);
        applies.then(|| (route.name.clone(), cost))
    });
    let routes: HashMap<String, Option<u64>> = routes.collect();
    (!routes.is_empty()).then_some(routes)
}

/// What matters of a line, until its turn comes.
struct Waiting {
    caller: IdentityFacts,
    client: Option<IpAddr>,
    route: String,
    service: Option<String>,
    lacks_field: bool,
}

/// A log on its way through the limits.
struct Replay {
    order: Order<Waiting>,
    trials: Vec<OnTrial>,
    /// The service of each route, by the policy or by what the log has said.
    services: HashMap<String, String>,
    log: LogReport,
}

impl Replay {
    fn new(config: &Config, trials: Vec<OnTrial>) -> Self {
        let service = |route: &crate::model::Route| {
            Some((route.name.clone(), route.upstream.as_ref()?.service.clone()))
        };
        Self {
            order: Order::default(),
            trials,
            services: config.routes.iter().filter_map(service).collect(),
            log: LogReport::default(),
        }
    }

    fn read(&mut self, log: &mut impl BufRead) -> io::Result<()> {
        let mut line = Vec::with_capacity(1024);
        loop {
            line.clear();
            if (&mut *log).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            self.log.lines += 1;
            if line.last() != Some(&b'\n') && line.len() as u64 == LINE_BYTES_MAX {
                skip_line(log)?;
                self.broken("longer than any line of an access log".to_owned());
                continue;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            if let Err(why) = self.take_line(&line) {
                self.broken(why);
            }
            while let Some((at_ms, waiting)) = self.order.due() {
                self.record(at_ms, waiting);
            }
        }
        while let Some((at_ms, waiting)) = self.order.rest() {
            self.record(at_ms, waiting);
        }
        Ok(())
    }

    fn broken(&mut self, why: String) {
        self.log.broken += 1;
        if self.log.broken_lines.len() < BROKEN_SHOWN {
            self.log.broken_lines.push(Broken { line: self.log.lines, why });
        }
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), String> {
        let line = Line::read(line).map_err(|error| error.to_string())?;
        let at_ms = line.began_ms().map_err(|error| error.to_string())?;
        let first = self.log.first_ms.map_or(at_ms, |first| first.min(at_ms));
        let last = self.log.last_ms.map_or(at_ms, |last| last.max(at_ms));
        (self.log.first_ms, self.log.last_ms) = (Some(first), Some(last));
        let Some(route) = line.route.as_deref().filter(|_| line.reached_limits()) else {
            self.log.refused_before += 1;
            return Ok(());
        };
        let waiting = Waiting {
            caller: line.caller(),
            client: line.client_ip,
            route: route.to_owned(),
            service: line.upstream.as_deref().map(ToOwned::to_owned),
            lacks_field: line.plan == Field::Absent || line.api_key == Field::Absent,
        };
        self.order.push(at_ms, waiting);
        Ok(())
    }

    fn record(&mut self, at_ms: u64, waiting: Waiting) {
        let Waiting { caller, client, route, service, lacks_field } = waiting;
        if let Some(service) = service
            && !self.services.contains_key(&route)
        {
            self.services.insert(route.clone(), service);
        }
        let service = self.services.get(&route).map(String::as_str);
        let mut is_without = false;
        for on in &mut self.trials {
            let cost = match &on.routes {
                None => None,
                Some(routes) => match routes.get(&route) {
                    Some(cost) => *cost,
                    None => continue,
                },
            };
            is_without |= (on.needs_field && lacks_field)
                || (on.needs_service && service.is_none())
                || client.is_none();
            let request = Imagined {
                caller: copy(&caller),
                client: client.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
                route: &route,
                service: service.unwrap_or_default(),
                ..Imagined::default()
            };
            on.trial.record(at_ms, request, cost, auth::imagine);
        }
        self.log.without_field += u64::from(is_without);
    }

    fn finish(mut self) -> (LogReport, Vec<OnTrial>) {
        self.log.late = self.order.late;
        (self.log, self.trials)
    }
}

/// The facts that a log holds.
fn copy(caller: &IdentityFacts) -> IdentityFacts {
    IdentityFacts {
        subject: Arc::clone(&caller.subject),
        tenant_id: caller.tenant_id.clone(),
        plan: caller.plan.clone(),
        api_key: caller.api_key.clone(),
        ..IdentityFacts::default()
    }
}

/// Reads up to the end of a line and keeps nothing.
fn skip_line(log: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = log.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |end| end + 1);
        log.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
