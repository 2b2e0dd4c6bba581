//! The switches themselves: one for each dependency.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::stand_in;
use super::{Dependency, Point, Trouble};

/// 0 while nothing is wrong, else [`number`] of the trouble.
static SWITCHES: [AtomicU8; Dependency::COUNT] = [const { AtomicU8::new(0) }; Dependency::COUNT];

/// How long a slow disk takes.
const DISK_TAKES: Duration = Duration::from_secs(2);

/// Wakes those who hold something that a drill takes away.
static BEGUN: Notify = Notify::const_new();

/// What is wrong with a dependency on purpose; almost always nothing. One relaxed load.
#[inline]
#[must_use]
pub fn of(dependency: Dependency) -> Option<Trouble> {
    match switch(dependency).load(Ordering::Relaxed) {
        0 => None,
        number => trouble(number),
    }
}

/// Stands before whatever is written to the disk. Blocks during a drill of a slow one.
///
/// # Errors
/// That there is no room, during a drill.
#[inline]
pub fn disk() -> std::io::Result<()> {
    match of(Dependency::Disk) {
        None => Ok(()),
        // Whoever writes does so where it may block.
        Some(Trouble::Slow) => {
            std::thread::sleep(DISK_TAKES);
            Ok(())
        }
        Some(_) => Err(std::io::ErrorKind::StorageFull.into()),
    }
}

/// Switches a fault on; whatever else was wrong with the same dependency ends. `service` limits
/// a fault of endpoints to those of one service.
///
/// # Errors
/// When there is no socket to stand in for an endpoint.
pub fn on(point: Point, service: Option<&str>) -> std::io::Result<()> {
    if point.dependency == Dependency::Upstream {
        stand_in::prepare(point.trouble, service)?;
    }
    switch(point.dependency).store(number(point.trouble), Ordering::Release);
    BEGUN.notify_waiters();
    Ok(())
}

/// Switches whatever is wrong with a dependency off.
pub fn off(dependency: Dependency) {
    switch(dependency).store(0, Ordering::Release);
}

/// Waits until a dependency cannot be reached on purpose: whoever holds a connection to it has
/// lost it. For ever where that never happens.
pub async fn taken_away(dependency: Dependency) {
    loop {
        let mut begun = std::pin::pin!(BEGUN.notified());
        // Listening begins before looking, or a drill could begin unseen.
        begun.as_mut().enable();
        if of(dependency) == Some(Trouble::Down) {
            return;
        }
        begun.await;
    }
}

fn switch(dependency: Dependency) -> &'static AtomicU8 {
    let [redis, idp, introspection, database, registry, upstream, disk, control_plane] = &SWITCHES;
    match dependency {
        Dependency::Redis => redis,
        Dependency::Idp => idp,
        Dependency::Introspection => introspection,
        Dependency::Database => database,
        Dependency::Registry => registry,
        Dependency::Upstream => upstream,
        Dependency::Disk => disk,
        Dependency::ControlPlane => control_plane,
    }
}

const fn number(trouble: Trouble) -> u8 {
    match trouble {
        Trouble::Down => 1,
        Trouble::Slow => 2,
        Trouble::Wrong => 3,
    }
}

#[cold]
const fn trouble(number: u8) -> Option<Trouble> {
    match number {
        1 => Some(Trouble::Down),
        2 => Some(Trouble::Slow),
        3 => Some(Trouble::Wrong),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The control plane, because no unit test reloads: switches are the process's, and other
    /// tests run beside this one.
    #[tokio::test]
    async fn a_switch_is_on_until_it_is_off_and_those_who_wait_are_told() {
        let point = |name| Point::named(name).unwrap();
        let dependency = Dependency::ControlPlane;
        assert_eq!(of(dependency), None);
        let waiting = tokio::spawn(taken_away(dependency));
        on(point("control-plane-wrong"), None).unwrap();
        assert_eq!(of(dependency), Some(Trouble::Wrong));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "it can still be reached");
        on(point("control-plane-off"), None).unwrap();
        assert_eq!(of(dependency), Some(Trouble::Down));
        waiting.await.unwrap();
        taken_away(dependency).await;
        off(dependency);
        assert_eq!(of(dependency), None);
        assert_eq!(of(Dependency::Disk), None, "each has a switch of its own");
    }
}
