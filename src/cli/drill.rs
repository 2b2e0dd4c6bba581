//! `tidegate drill`: switches a fault on at a running staging node, watches what clients get,
//! and holds it against the failure table.

mod expect;
mod probe;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::{DrillArgs, ExplainArgs};
use super::client::{Client, Method, reachable};
use super::page::table;
use super::{done, err, explain, out};
use crate::clock;
use crate::drill::Point;
use crate::model::{Config, Listener, Span, load_file};
use expect::{Drill, Expected};
use probe::{Outcome, Prober, Seen};
use report::{Moved, PathReport, Report};

/// How long requests are sent before a drill, to know what is usual.
const BEFORE: Duration = Duration::from_secs(2);
/// What is left of a drill when metrics are read for the last time within it.
const ROOM: Duration = Duration::from_millis(400);
/// Rounds in a row that must be as before.
const ROUNDS: u32 = 3;

pub(super) fn drill(args: &DrillArgs) -> ExitCode {
    if args.list {
        return done(Ok(list(args.running.json)));
    }
    match run(args) {
        Ok(reports) => {
            let good = reports.iter().all(Report::is_good);
            if args.running.json {
                let all: Vec<Value> = reports.iter().map(Report::json).collect();
                out(&format!("{:#}\n", json!({ "good": good, "drills": all })));
            }
            if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            err(&why);
            ExitCode::FAILURE
        }
    }
}

fn list(as_json: bool) -> String {
    if as_json {
        let all: Vec<Value> = Point::ALL
            .iter()
            .map(|point| json!({"name": point.name, "what": point.what}))
            .collect();
        return format!("{:#}\n", Value::from(all));
    }
    let row = |point: &Point| vec![point.name.to_owned(), point.what.to_owned()];
    let rows: Vec<Vec<String>> = Point::ALL.iter().map(row).collect();
    table(&["DRILL", "WHAT IT DOES"], &rows)
}

/// Runs the drills that are asked for, and tells of each as it ends.
fn run(args: &DrillArgs) -> Result<Vec<Report>, String> {
    let name = args.name.as_deref().unwrap_or_default();
    let scene = Scene::of(args)?;
    let points = match (name, Point::named(name)) {
        ("all", _) => Point::ALL.to_vec(),
        (_, Some(point)) => vec![point],
        (_, None) => return Err(format!("there is no drill `{name}`; --list prints them\n")),
    };
    let is_all = points.len() > 1;
    let mut reports = Vec::new();
    for point in points {
        if let Err(why) = expect::depends(&scene.config, point).and_then(|()| scene.fits(point)) {
            if is_all {
                err(&format!("{}: left out, {why}\n", point.name));
                continue;
            }
            return Err(format!("{}: nothing to see, {why}\n", point.name));
        }
        err(&format!("{}: under way, {}\n", point.name, point.what));
        let report = scene.drill(point)?;
        if !args.running.json {
            out(&report.text());
            if is_all {
                out("\n");
            }
        }
        reports.push(report);
    }
    Ok(reports)
}

/// A running gateway, its configuration, and what it is asked.
struct Scene<'a> {
    args: &'a DrillArgs,
    config: Config,
    client: Client,
    prober: Prober,
    routes: Vec<Option<String>>,
    length: Duration,
    recover: Duration,
}

impl<'a> Scene<'a> {
    fn of(args: &'a DrillArgs) -> Result<Self, String> {
        let Some(file) = &args.running.config else {
            return Err("drill needs --config FILE: what should happen follows from it\n".into());
        };
        let loaded = load_file(file);
        let Some(config) = loaded.config.clone().filter(|_| !loaded.problems.has_errors()) else {
            return Err(loaded.render(&loaded.problems));
        };
        let url = match &args.url {
            Some(url) => url.clone(),
            None => url_of(&config.listeners)?,
        };
        let headers = probe::headers(&args.headers, args.host.as_deref())?;
        let prober = Prober::new(&url, &args.paths, &args.method, headers, args.insecure)?;
        let routes =
            args.paths.iter().map(|path| route(args, &url, path)).collect::<Result<_, _>>()?;
        Ok(Self {
            config,
            client: Client::of(&args.running)?,
            prober,
            routes,
            length: span("--for", &args.length)?,
            recover: span("--recover", &args.recover)?,
            args,
        })
    }

    /// Whether `--service` goes together with a drill.
    fn fits(&self, point: Point) -> Result<(), &'static str> {
        let is_of_services = point.dependency == crate::drill::Dependency::Upstream;
        if self.args.service.is_some() && !is_of_services {
            return Err("it is not about services (--service)");
        }
        Ok(())
    }

    /// One drill from the time before to the time after.
    fn drill(&self, point: Point) -> Result<Report, String> {
        let before = self.prober.ask_for(BEFORE);
        if let Some((path, outcome)) = self.fails_already(&before) {
            return Err(format!(
                "{path} fails without a drill ({outcome}): there is nothing to learn, and no drill \
                 was begun\n"
            ));
        }
        let alarms = expect::alarms(point);
        let first = self.read(alarms.0)?;
        let order = json!({ "for": format!("{}ms", self.length.as_millis()) });
        let mut order = order;
        if let (Some(service), Some(order)) = (&self.args.service, order.as_object_mut()) {
            order.insert("service".to_owned(), service.as_str().into());
        }
        let began = clock::now().tick.instant();
        self.client.send_json(&format!("/admin/drills/{}", point.name), &order)?;
        let (during, second) = std::thread::scope(|scope| {
            let length = self.length.saturating_sub(ROOM);
            let asking = scope.spawn(move || self.prober.ask_for(length));
            std::thread::sleep(length.saturating_sub(began.elapsed()));
            let second = self.read(alarms.0);
            (asking.join().ok(), second)
        });
        let during = during.ok_or("asking ended by a defect: nothing was learnt\n")?;
        std::thread::sleep(self.length.saturating_sub(began.elapsed()));
        self.is_over(point)?;
        let (after, back) = self.wait_until_back(&before);
        let third = self.read(alarms.0)?;
        let metrics: Vec<Moved> = first
            .into_iter()
            .zip(second?)
            .zip(third)
            .map(|(((name, a), (_, b)), (_, c))| Moved { name, values: [a, b, c] })
            .collect();
        let has_moved = |one: &Moved| {
            let [before, during, _] = one.values;
            (before - during).abs() > f64::EPSILON
        };
        let silent = alarms.1 && !metrics.iter().any(has_moved);
        let phases = before.into_iter().zip(during).zip(after).enumerate();
        let paths = phases.map(|(at, ((before, during), (after, is_back)))| {
            let route = self.routes.get(at).cloned().flatten();
            let expected = self.expected(point, route.as_deref());
            PathReport {
                path: self.args.paths.get(at).cloned().unwrap_or_default(),
                wrong: judge(&expected, &before, &during, !self.args.expect.is_empty()),
                says: expected.says,
                route,
                before,
                during,
                after,
                is_back,
            }
        });
        let paths = paths.collect();
        Ok(Report { point, length: self.length, paths, metrics, silent, back })
    }

    /// A path that fails before anything was done, and how.
    fn fails_already<'b>(&'b self, before: &'b [Seen]) -> Option<(&'b str, &'b Outcome)> {
        let mut paths = self.args.paths.iter().zip(before);
        paths.find_map(|(path, seen)| {
            let failed = |outcome: &&Outcome| outcome.status == 0 || outcome.status >= 500;
            Some((path.as_str(), seen.0.keys().find(failed)?))
        })
    }

    fn expected(&self, point: Point, route: Option<&str>) -> Expected {
        let given: Vec<Outcome> = self.args.expect.iter().map(|text| outcome(text)).collect();
        if !given.is_empty() {
            return Expected { says: self.args.expect.join(" or "), may: given, must: true };
        }
        let route = route.and_then(|name| self.config.routes.iter().find(|r| r.name == name));
        let service = self.args.service.as_deref();
        expect::expected(&self.config, route, Drill { point, length: self.length, service })
    }

    /// Waits for the drill's own end; one that is late is called off, and that is an error.
    fn is_over(&self, point: Point) -> Result<(), String> {
        let path = format!("/admin/drills/{}", point.name);
        for _ in 0..20 {
            let told = self.client.ask(Method::Get, "/admin/drills")?;
            let drills = told.get("drills").and_then(Value::as_array);
            let mut drills = drills.into_iter().flatten();
            let is_active = drills.any(|one| {
                one.get("name") == Some(&point.name.into())
                    && one.get("active") == Some(&Value::Bool(true))
            });
            if !is_active {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.client.ask(Method::Delete, &path);
        Err(format!("{} did not end by itself; it was called off\n", point.name))
    }

    /// Asks until everything is as before, some rounds in a row. Returns what was seen, whether
    /// each path was back at last, and after how long all were.
    fn wait_until_back(&self, before: &[Seen]) -> (Vec<(Seen, bool)>, Option<Duration>) {
        let began = clock::now().tick.instant();
        let mut seen: Vec<(Seen, bool)> = vec![(Seen::default(), false); before.len()];
        let mut in_a_row = 0;
        let mut since = Duration::ZERO;
        loop {
            let asked = began.elapsed();
            for ((seen, is_back), (round, before)) in
                seen.iter_mut().zip(self.prober.ask_for(probe::EVERY).into_iter().zip(before))
            {
                let known = |outcome: &Outcome| is_usual(outcome, before);
                *is_back = !round.0.is_empty() && round.0.keys().all(known);
                seen.join(round);
            }
            if seen.iter().all(|(_, is_back)| *is_back) {
                since = if in_a_row == 0 { asked } else { since };
                in_a_row += 1;
            } else {
                in_a_row = 0;
            }
            if in_a_row == ROUNDS {
                return (seen, Some(since));
            }
            if began.elapsed() > self.recover {
                return (seen, None);
            }
            std::thread::sleep(probe::EVERY);
        }
    }

    /// Sums of metrics, by name and the part of their labels that counts.
    fn read(&self, wanted: &[(&str, &str)]) -> Result<Vec<(String, f64)>, String> {
        let text = self.client.text("/metrics")?;
        let sum = |(name, label): &(&str, &str)| {
            let shown = match *label {
                "" => (*name).to_owned(),
                label => format!("{name}{{{}}}", label.replace('"', "")),
            };
            (shown, sum(&text, name, label))
        };
        Ok(wanted.iter().map(sum).collect())
    }
}

/// Whether an answer is one that there was before. A limit that is used up by the questions
/// themselves does what it is there for.
fn is_usual(outcome: &Outcome, before: &Seen) -> bool {
    before.0.contains_key(outcome) || *outcome == Outcome::new(429, "limit.exceeded")
}

/// What is wrong with what was seen during a drill. What is expected by name (`strict`) takes
/// the place of what was before.
fn judge(expected: &Expected, before: &Seen, during: &Seen, strict: bool) -> Option<String> {
    let is_right = |outcome: &Outcome| {
        expected.may.contains(outcome) || (!strict && is_usual(outcome, before))
    };
    let others: Vec<String> =
        during.0.keys().filter(|outcome| !is_right(outcome)).map(ToString::to_string).collect();
    if !others.is_empty() {
        return Some(format!("the table does not say {}", others.join(", ")));
    }
    let is_seen = during.0.keys().any(|outcome| expected.may.contains(outcome));
    (expected.must && !is_seen).then(|| "nothing of what the table says was seen".to_owned())
}

/// The sum of the series of a metric whose labels hold a text.
fn sum(text: &str, name: &str, label: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        let is_it = labels.is_empty() || labels.starts_with('{');
        if is_it && labels.contains(label) { value.parse::<f64>().ok() } else { None }
    };
    text.lines()
        .filter_map(value)
        .filter(|value| value.is_finite())
        .fold(0.0, |sum, value| sum + value)
}

fn outcome(text: &str) -> Outcome {
    let (status, code) = text.split_once(':').unwrap_or((text, ""));
    Outcome::new(status.parse().unwrap_or(0), code)
}

/// The route that takes a request, as `tidegate explain` finds it.
fn route(args: &DrillArgs, url: &str, path: &str) -> Result<Option<String>, String> {
    let Some(file) = args.running.config.clone() else { return Ok(None) };
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| format!("`{url}` is not a URL such as http://127.0.0.1:8080\n"))?;
    let of_url = rest.split(['/', '?']).next().unwrap_or(rest);
    let request = ExplainArgs {
        file,
        method: args.method.clone(),
        host: args.host.clone().unwrap_or_else(|| of_url.to_owned()),
        path: path.to_owned(),
        headers: args.headers.clone(),
        token: None,
        caller: None,
        client: std::net::Ipv4Addr::LOCALHOST.into(),
        all: false,
        json: false,
    };
    let told = explain::explained(&request, scheme == "https")?;
    Ok(told.route.map(|route| route.to_string()))
}

/// Where requests are sent without `--url`.
fn url_of(listeners: &[Listener]) -> Result<String, String> {
    let usable = || listeners.iter().filter(|listener| listener.proxy_protocol.is_none());
    let plain = usable().find(|listener| listener.tls.is_none());
    match plain.or_else(|| usable().next()) {
        Some(one) => {
            let scheme = if one.tls.is_some() { "https" } else { "http" };
            Ok(format!("{scheme}://{}", reachable(&one.address)))
        }
        None => Err("the configuration has no listener to ask; give one by --url\n".to_owned()),
    }
}

fn span(option: &str, text: &str) -> Result<Duration, String> {
    let span: Result<Span, _> = serde_json::from_value(text.into());
    span.map(Span::get).map_err(|_| format!("{option} {text}: write a span such as 10s or 2m\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(outcomes: &[(u16, &str)]) -> Seen {
        let each = |(status, code): &(u16, &str)| {
            (Outcome::new(*status, code), vec![Duration::from_millis(1)])
        };
        Seen(outcomes.iter().map(each).collect())
    }

    #[test]
    fn what_was_seen_is_held_against_what_should_be() {
        let wrong = |must, strict, during: &[(u16, &str)]| {
            let may = vec![Outcome::new(503, "limit.unavailable")];
            let expected = Expected { says: String::new(), may, must };
            judge(&expected, &seen(&[(200, "")]), &seen(during), strict).is_some()
        };
        let closed = (503, "limit.unavailable");
        assert!(!wrong(true, false, &[(200, ""), closed]));
        assert!(wrong(true, false, &[(200, "")]), "it never failed");
        assert!(!wrong(false, false, &[(200, "")]));
        assert!(wrong(false, false, &[(503, "")]), "that was somebody else");
        assert!(wrong(false, false, &[(0, ""), closed]));
        assert!(!wrong(false, false, &[(429, "limit.exceeded")]));
        assert!(wrong(true, true, &[(200, ""), closed]), "expected by name");
        assert_eq!(outcome("503:limit.unavailable"), Outcome::new(503, "limit.unavailable"));
        assert_eq!(outcome("204"), Outcome::new(204, ""));
    }

    #[test]
    fn metrics_are_summed_by_name_and_label() {
        let text =
            "# HELP a\na 1\na_b 7\nab{x=\"1\"} 3\na{x=\"1\"} 2\na{x=\"2\"} 5\na{x=\"3\"} NaN\n";
        let near = |value: f64, wanted: f64| (value - wanted).abs() < 1e-9;
        assert!(near(sum(text, "a", ""), 8.0));
        assert!(near(sum(text, "a", "x=\"2\""), 5.0));
        assert!(near(sum(text, "c", ""), 0.0));
    }
}
