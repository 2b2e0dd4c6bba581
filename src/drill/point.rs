//! What can be drilled: each dependency, and what may be wrong with it.

use std::fmt;

/// What the gateway depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dependency {
    /// Redis, for everybody who shares something through it.
    Redis,
    /// Issuers of tokens, as far as their keys are fetched.
    Idp,
    /// Issuers that are asked about opaque tokens.
    Introspection,
    /// The database of API keys and tenants.
    Database,
    /// The DNS, Consul, or a file that says where endpoints are.
    Registry,
    /// Endpoints of services.
    Upstream,
    /// The disk: access log, and what survives a restart.
    Disk,
    /// Whoever writes the configuration file.
    ControlPlane,
}

impl Dependency {
    /// How many there are.
    pub(super) const COUNT: usize = 8;
}

/// What is wrong with a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// It cannot be reached.
    Down,
    /// It answers after everybody's time limit, or not at all.
    Slow,
    /// It answers, and not with what was asked for.
    Wrong,
}

/// A fault that can be switched on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Its name, as operators write it.
    pub name: &'static str,
    /// What is in trouble.
    pub dependency: Dependency,
    /// In which.
    pub trouble: Trouble,
    /// What happens at the place where the outside is called.
    pub what: &'static str,
}

macro_rules! points {
    ($($name:literal $dependency:ident $trouble:ident $what:literal;)+) => {
        impl Point {
            /// Every point there is, in the order in which `drill all` takes them.
            pub const ALL: &'static [Self] = &[$(Self {
                name: $name,
                dependency: Dependency::$dependency,
                trouble: Trouble::$trouble,
                what: $what,
            },)+];
        }
    };
}

points! {
    "redis-down" Redis Down "calls to Redis fail at once, and subscriptions are lost";
    "redis-slow" Redis Slow "calls to Redis take all of their time limit and bring nothing";
    "redis-wrong" Redis Wrong "Redis answers what nobody understands";
    "idp-down" Idp Down "key sets and discovery documents cannot be fetched";
    "idp-slow" Idp Slow "fetching a key set takes all of its time limit and brings nothing";
    "idp-wrong" Idp Wrong "the issuer sends a page instead of a key set";
    "introspection-down" Introspection Down "questions about opaque tokens fail at once";
    "introspection-slow" Introspection Slow "questions about opaque tokens are not answered";
    "introspection-wrong" Introspection Wrong "questions about tokens are answered with a page";
    "database-down" Database Down "look-ups in the database fail at once";
    "database-slow" Database Slow "look-ups in the database take all of their time limit";
    "database-wrong" Database Wrong "the database refuses each statement";
    "registry-down" Registry Down "look-ups of endpoints fail at once";
    "registry-slow" Registry Slow "look-ups of endpoints are not answered in time";
    "registry-empty" Registry Wrong "look-ups of endpoints find none";
    "upstream-down" Upstream Down "endpoints refuse connections";
    "upstream-slow" Upstream Slow "endpoints take connections and never answer";
    "upstream-wrong" Upstream Wrong "every answer of a service is a 500";
    "disk-full" Disk Down "the access log, key sets and revocations cannot be written";
    "disk-slow" Disk Slow "writing to the disk takes 2 s each time";
    "control-plane-off" ControlPlane Down "the configuration file cannot be read";
    "control-plane-wrong" ControlPlane Wrong "the configuration file has an error";
}

impl Point {
    /// The point of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|point| point.name == name).copied()
    }
}

impl fmt::Debug for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_has_a_name_and_a_trouble_of_its_own() {
        for (at, point) in Point::ALL.iter().enumerate() {
            assert_eq!(Point::named(point.name), Some(*point));
            let same = |other: &&Point| {
                other.name == point.name
                    || (other.dependency, other.trouble) == (point.dependency, point.trouble)
            };
            assert_eq!(Point::ALL.iter().filter(same).count(), 1, "{point:?}");
            assert!((point.dependency as usize) < Dependency::COUNT, "{at}");
        }
        assert_eq!(Point::named("redis"), None);
        let last = Point::ALL.iter().map(|point| point.dependency as usize).max();
        assert_eq!(last, Some(Dependency::COUNT - 1));
    }
}
