//! Clients of every kind, without a pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tidegate_kit::{MixedClient, MixedKind, MixedPlace, Result, wait};
use tokio::task::JoinHandle;

/// One client of each kind.
pub(super) struct Load {
    clients: Vec<(Arc<AtomicU64>, JoinHandle<()>)>,
    failures: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    pub(super) fn start(place: &MixedPlace) -> Self {
        let (failures, stop) = (Arc::<Mutex<Vec<String>>>::default(), Arc::default());
        let clients = MixedKind::ALL.into_iter().map(|kind| {
            let served = Arc::<AtomicU64>::default();
            let (count, failures) = (Arc::clone(&served), Arc::clone(&failures));
            let (stop, mut client) =
                (Arc::<AtomicBool>::clone(&stop), MixedClient::new(kind, place.clone()));
            let task = tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    match client.once().await {
                        Ok(()) => {
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(error) => failures.lock().push(format!("{kind:?}: {error}")),
                    }
                }
            });
            (served, task)
        });
        let clients = clients.collect();
        Self { clients, failures, stop }
    }

    /// Waits until every client has had this many answers more, or one of them has failed.
    pub(super) async fn all_served(&self, more: u64) -> Result<()> {
        let now = || self.clients.iter().map(|(served, _)| served.load(Ordering::SeqCst));
        let before: Vec<u64> = now().collect();
        wait::until("every client to be served", async || {
            let done = now().zip(&before).all(|(now, before)| now >= before + more);
            (done || !self.failures.lock().is_empty()).then_some(())
        })
        .await
    }

    /// Ends; what has failed.
    pub(super) async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        for (_, client) in self.clients {
            let _ = client.await;
        }
        self.failures.lock().clone()
    }
}
