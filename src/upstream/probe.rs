//! Looks after endpoints beside the requests: brings those back that take connections again,
//! without a client's request having to try them first, and asks the active checks.
//!
//! What took an unreachable endpoint out were failed connections, so a connection is what brings
//! it back. That check itself is Pingora's.

use std::sync::Arc;
use std::time::Duration;

use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::{HealthCheck, TcpHealthCheck};
use tokio::task::JoinSet;

use super::check::Rounds;
use super::{EndpointHealth, HealthBoard, Upstreams};
use crate::clock::Moment;

/// Time between two rounds over the endpoints that are out.
const ROUND: Duration = Duration::from_secs(1);

/// Endpoints that are tried at once; a service that is down as a whole must not cost a
/// descriptor for each of its endpoints.
const AT_ONCE: usize = 32;

impl Upstreams {
    /// Looks after endpoints for as long as it is polled.
    pub async fn look_after(&self, clock: fn() -> Moment) {
        tokio::join!(self.health.probe(clock), self.check(clock));
    }

    /// Follows the configuration in force and the endpoints that discovery finds; active checks
    /// run in tasks that end with this.
    async fn check(&self, clock: fn() -> Moment) {
        let mut rounds = Rounds::new(clock);
        loop {
            rounds.follow(self.in_force().checked());
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }
}

impl HealthBoard {
    /// Tries endpoints that take no connection, once a second; one that takes a connection is up
    /// again at once.
    async fn probe(&self, clock: fn() -> Moment) {
        let check: Arc<TcpHealthCheck> = Arc::from(TcpHealthCheck::new());
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            self.forget_unused();
            let mut running = JoinSet::new();
            for health in self.unreachable() {
                if running.len() >= AT_ONCE {
                    running.join_next().await;
                }
                running.spawn(attempt(Arc::clone(&check), health, clock));
            }
            running.join_all().await;
        }
    }
}

/// Tries one endpoint; the check has a time limit of its own, one second.
async fn attempt(check: Arc<TcpHealthCheck>, health: Arc<EndpointHealth>, clock: fn() -> Moment) {
    let Ok(backend) = Backend::new(&health.address.to_string()) else { return };
    if check.check(&backend).await.is_ok() {
        health.connected(clock());
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::upstream::FAILURES_TO_OUT;
    use crate::upstream::fixtures::at;

    #[tokio::test]
    async fn an_endpoint_that_listens_again_is_up_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstreams = Upstreams::default();
        let health = upstreams.health.of("orders", address);
        let now = at(1);
        for _ in 0..FAILURES_TO_OUT {
            health.connect_failed(now);
        }
        assert!(!health.is_up(now));
        tokio::select! {
            () = upstreams.look_after(|| at(1)) => {}
            accepted = listener.accept() => { accepted.unwrap(); }
        }
        // The connection was there; the outcome is noted right behind it.
        let noted = async {
            tokio::select! {
                () = upstreams.look_after(|| at(1)) => {}
                () = async { while !health.is_up(now) { tokio::task::yield_now().await } } => {}
            }
        };
        tokio::time::timeout(Duration::from_secs(5), noted).await.unwrap();
    }
}
