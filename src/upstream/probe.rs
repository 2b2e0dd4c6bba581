//! Brings endpoints back without a client's request having to try them first.
//!
//! What took an endpoint out were failed connections, so a connection is what brings it back.
//! The check itself is Pingora's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::{HealthCheck, TcpHealthCheck};
use tokio::task::JoinSet;

use super::{EndpointHealth, HealthBoard};

/// Time between two rounds over the endpoints that are out.
const ROUND: Duration = Duration::from_secs(1);

/// Endpoints that are tried at once; a service that is down as a whole must not cost a
/// descriptor for each of its endpoints.
const AT_ONCE: usize = 32;

impl HealthBoard {
    /// Tries endpoints that are out, once a second, for as long as it is polled; one that takes
    /// a connection is up again at once.
    pub async fn probe(&self) {
        let check: Arc<TcpHealthCheck> = Arc::from(TcpHealthCheck::new());
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let mut running = JoinSet::new();
            for (address, health) in self.out() {
                if running.len() >= AT_ONCE {
                    running.join_next().await;
                }
                running.spawn(attempt(Arc::clone(&check), address, health));
            }
            running.join_all().await;
        }
    }
}

/// Tries one endpoint; the check has a time limit of its own, one second.
async fn attempt(check: Arc<TcpHealthCheck>, address: SocketAddr, health: Arc<EndpointHealth>) {
    let Ok(backend) = Backend::new(&address.to_string()) else { return };
    if check.check(&backend).await.is_ok() {
        health.connected();
        tracing::info!(%address, "endpoint is up again");
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::clock::{Moment, Tick};
    use crate::upstream::FAILURES_TO_OUT;

    #[tokio::test]
    async fn an_endpoint_that_listens_again_is_up_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let board = HealthBoard::default();
        let health = board.of("orders", address);
        let now = Moment { tick: Tick::from_nanos(1), unix_ms: 0 };
        for _ in 0..FAILURES_TO_OUT {
            health.failed(now);
        }
        assert!(!health.is_up(now));
        tokio::select! {
            () = board.probe() => {}
            accepted = listener.accept() => { accepted.unwrap(); }
        }
        // The connection was there; the outcome is noted right behind it.
        let noted = async {
            tokio::select! {
                () = board.probe() => {}
                () = async { while !health.is_up(now) { tokio::task::yield_now().await } } => {}
            }
        };
        tokio::time::timeout(Duration::from_secs(5), noted).await.unwrap();
    }
}
