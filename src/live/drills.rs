//! Drills: which faults are switched on, since when, and that each of them ends.
//!
//! Without `admin.drills` none can be begun. A drill belongs to its process: it ends by itself,
//! when it is called off, and when the process begins its way out, so that neither a restart nor
//! an upgrade carries one over.

use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use super::{Judged, Live};
use crate::clock::{Moment, Tick};
use crate::drill::{self, Dependency, Point, Trouble};
use crate::model::Problem;
use crate::telemetry::Metrics;

/// Longest drill.
pub const DRILL_MAX: Duration = Duration::from_mins(10);

/// The drills of a process.
pub struct Drills {
    are_allowed: bool,
    under_way: Mutex<UnderWay>,
    gauge: prometheus::IntGaugeVec,
}

#[derive(Default)]
struct UnderWay {
    /// How many were ever begun.
    begun: u64,
    running: Vec<Running>,
}

struct Running {
    number: u64,
    point: Point,
    service: Option<String>,
    ends: Tick,
}

/// Why a drill was not begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBegun {
    /// The configuration does not allow any.
    #[error(
        "drills are off: `admin.drills: true` allows them, on staging nodes, from a restart on"
    )]
    Off,
    /// There is no such drill.
    #[error("there is no drill `{0}`; there are {names}", names = names())]
    Unknown(String),
    /// Too short or too long.
    #[error("a drill takes 1s to 10m")]
    Length,
    /// The dependency is being drilled already.
    #[error("`{0}` is under way; one drill at a time for each dependency")]
    Busy(&'static str),
    /// A service is named where none can be meant, or one that there is not.
    #[error("{0}")]
    Service(String),
    /// The process ends, or has no socket left.
    #[error("not now: {0}")]
    Unable(String),
}

/// A drill that was begun.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// Which it is, to end this one and no later one.
    number: u64,
    point: Point,
}

/// A drill, as operators see it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillReport {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// Whether it is under way.
    pub active: bool,
    /// The one service whose endpoints it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Seconds until it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_in_seconds: Option<f64>,
}

impl Drills {
    /// None is under way. `are_allowed` is `admin.drills`.
    #[must_use]
    pub fn new(are_allowed: bool, metrics: &Metrics) -> Self {
        let gauge = metrics.drill_active.clone();
        if are_allowed {
            tracing::warn!("drills are allowed on this node (`admin.drills`): it is for staging");
            for point in Point::ALL {
                gauge.with_label_values(&[point.name]).set(0);
            }
        }
        Self { are_allowed, under_way: Mutex::default(), gauge }
    }

    /// Every drill there is, and how it stands; none where they are not allowed.
    #[must_use]
    pub fn listed(&self, now: Moment) -> Option<Vec<DrillReport>> {
        if !self.are_allowed {
            return None;
        }
        let under_way = self.under_way.lock();
        Some(Point::ALL.iter().map(|point| under_way.report(*point, now)).collect())
    }

    fn begin(
        &self,
        point: Point,
        service: Option<&str>,
        length: Duration,
        now: Moment,
    ) -> Result<Begun, NotBegun> {
        let mut under_way = self.under_way.lock();
        let same = |running: &&Running| running.point.dependency == point.dependency;
        if let Some(other) = under_way.running.iter().find(same) {
            return Err(NotBegun::Busy(other.point.name));
        }
        drill::on(point, service).map_err(|error| NotBegun::Unable(error.to_string()))?;
        under_way.begun += 1;
        let number = under_way.begun;
        let ends = now.tick.plus(length);
        let service = service.map(str::to_owned);
        under_way.running.push(Running { number, point, service, ends });
        self.gauge.with_label_values(&[point.name]).set(1);
        Ok(Begun { number, point })
    }

    /// Ends those that `is_meant` says; returns them.
    fn end(&self, why: &str, is_meant: impl Fn(&Running) -> bool) -> Vec<Point> {
        let mut under_way = self.under_way.lock();
        let (ended, left) = under_way.running.drain(..).partition(is_meant);
        under_way.running = left;
        let ended: Vec<Running> = ended;
        for running in &ended {
            drill::off(running.point.dependency);
            self.gauge.with_label_values(&[running.point.name]).set(0);
            tracing::warn!(drill = running.point.name, why, "the drill has ended");
        }
        ended.into_iter().map(|running| running.point).collect()
    }

    /// Ends all of them: the process is on its way out.
    pub(super) fn end_all(&self) {
        self.end("the process is on its way out", |_| true);
    }
}

impl UnderWay {
    fn report(&self, point: Point, now: Moment) -> DrillReport {
        let running = self.running.iter().find(|running| running.point == point);
        DrillReport {
            name: point.name,
            what: point.what,
            active: running.is_some(),
            service: running.and_then(|running| running.service.clone()),
            ends_in_seconds: running.map(|running| running.ends.since(now.tick).as_secs_f64()),
        }
    }
}

impl Live {
    /// Begins a drill of `length`; whoever begins it sees to it that [`Live::drill_is_over`] is
    /// called when that has passed.
    ///
    /// # Errors
    /// Why it was not begun.
    pub fn begin_drill(
        &self,
        name: &str,
        service: Option<&str>,
        length: Duration,
        now: Moment,
    ) -> Result<(Begun, DrillReport), NotBegun> {
        if !self.drills.are_allowed {
            return Err(NotBegun::Off);
        }
        let point = Point::named(name).ok_or_else(|| NotBegun::Unknown(name.to_owned()))?;
        if length < Duration::from_secs(1) || length > DRILL_MAX {
            return Err(NotBegun::Length);
        }
        self.check_service(point, service)?;
        if self.is_draining() {
            return Err(NotBegun::Unable("the process is on its way out".to_owned()));
        }
        let begun = self.drills.begin(point, service, length, now)?;
        tracing::warn!(
            drill = name,
            seconds = length.as_secs_f64(),
            service,
            "a drill has begun: {}",
            point.what
        );
        self.tell(point.dependency, now);
        let report = self.drills.under_way.lock().report(point, now);
        Ok((begun, report))
    }

    /// Ends a drill whose time is over, unless it has ended before.
    pub fn drill_is_over(&self, begun: Begun, now: Moment) {
        let ended = self.drills.end("its time is over", |running| running.number == begun.number);
        if !ended.is_empty() {
            self.tell(begun.point.dependency, now);
        }
    }

    /// Calls a drill off; `false` if it is not under way.
    ///
    /// # Errors
    /// When there is no such drill, or none are allowed.
    pub fn call_drill_off(&self, name: &str, now: Moment) -> Result<bool, NotBegun> {
        if !self.drills.are_allowed {
            return Err(NotBegun::Off);
        }
        let point = Point::named(name).ok_or_else(|| NotBegun::Unknown(name.to_owned()))?;
        let ended = self.drills.end("it was called off", |running| running.point == point);
        for point in &ended {
            self.tell(point.dependency, now);
        }
        Ok(!ended.is_empty())
    }

    /// Whether a drill is about what reloads depend on: they are then tried at its beginning and
    /// its end, since nothing else may do so for weeks.
    #[must_use]
    pub fn drill_wants_reload(name: &str) -> bool {
        Point::named(name).is_some_and(|point| point.dependency == Dependency::ControlPlane)
    }

    /// Asks what is asked seldom once more, so that a drill is noticed while it lasts, and its
    /// end too.
    fn tell(&self, dependency: Dependency, now: Moment) {
        if dependency == Dependency::Idp {
            self.auth.keys.renew_soon(now.tick);
        }
    }

    fn check_service(&self, point: Point, service: Option<&str>) -> Result<(), NotBegun> {
        let Some(service) = service else { return Ok(()) };
        if point.dependency != Dependency::Upstream {
            let why = format!("`{}` is not about services: leave `service` out", point.name);
            return Err(NotBegun::Service(why));
        }
        if !self.services().iter().any(|known| *known.service == *service) {
            return Err(NotBegun::Service(format!("there is no service `{service}`")));
        }
        Ok(())
    }
}

/// A file as it is offered during a drill of the control plane; otherwise as it is.
pub(super) fn offered(mut judged: Judged) -> Judged {
    let problem = match drill::of(Dependency::ControlPlane) {
        None => return judged,
        Some(Trouble::Wrong) => Problem::error("drill", "admin.drills", "a drill: an error"),
        Some(_) => Problem::error("file.read", "", "a drill: the file cannot be read"),
    };
    judged.candidate = None;
    judged.problems.push(problem);
    judged
}

fn names() -> String {
    Point::ALL.iter().map(|point| point.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// With a dependency that no other unit test looks at: switches are the process's.
    #[test]
    fn one_at_a_time_for_each_dependency_and_each_ends() {
        let drills = Drills::new(true, &Metrics::new().unwrap());
        let point = Point::named("introspection-wrong").unwrap();
        let other = Point::named("introspection-slow").unwrap();
        let now = clock::now();
        let begin = |point| drills.begin(point, None, Duration::from_secs(30), now);
        let first = begin(point).unwrap();
        assert_eq!(begin(other).unwrap_err(), NotBegun::Busy("introspection-wrong"));
        let listed = drills.listed(now.plus(Duration::from_secs(10))).unwrap();
        let active: Vec<_> = listed.iter().filter(|report| report.active).collect();
        assert_eq!(active.len(), 1);
        assert_eq!((active[0].name, active[0].ends_in_seconds), (point.name, Some(20.0)));
        assert_eq!(drills.gauge.with_label_values(&[point.name]).get(), 1);

        drills.end_all();
        assert_eq!(drill::of(Dependency::Introspection), None);
        assert_eq!(drills.gauge.with_label_values(&[point.name]).get(), 0);
        let second = begin(other).unwrap();
        assert_ne!(first.number, second.number, "the end of the first is not that of the second");
        let ended = drills.end("test", |running| running.number == first.number);
        assert_eq!(ended, []);
        assert_eq!(drills.end("test", |running| running.number == second.number), [other]);
    }

    #[test]
    fn where_they_are_not_allowed_there_are_none() {
        assert!(Drills::new(false, &Metrics::new().unwrap()).listed(clock::now()).is_none());
    }
}
