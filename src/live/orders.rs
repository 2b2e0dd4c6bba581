//! Orders of operators to reload, on their way to whoever reloads, and what became of them.
//!
//! An order takes the way of SIGHUP, on the thread that stands back for those that serve; it only
//! waits for the outcome.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::{Applied, Live};
use crate::model::Problems;

/// A configuration that came into force.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reloaded {
    /// What is in force now.
    #[serde(flatten)]
    pub applied: Arc<Applied>,
    /// Keys that changed and take effect only at the next restart or upgrade.
    pub needs_restart: Vec<&'static str>,
    /// What may not be as it was meant.
    pub warnings: Problems,
}

/// Why an order did not lead to another configuration.
#[derive(Clone, Debug)]
pub enum NotReloaded {
    /// The file is refused for these problems; the running configuration stays in force.
    Refused(Problems),
    /// Nobody reloads: the process has not begun to, or is on its way out, or too many orders
    /// wait.
    Busy,
}

/// What became of a reload.
pub type Outcome = Result<Reloaded, NotReloaded>;

/// An order: where its outcome is told.
pub(super) type Order = oneshot::Sender<Outcome>;

/// Orders that may wait; more are turned away.
const WAITING: usize = 16;

/// The way from those who order to the one who reloads.
pub(super) struct Orders {
    sender: mpsc::Sender<Order>,
    receiver: Mutex<Option<mpsc::Receiver<Order>>>,
}

impl Default for Orders {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }
}

impl Orders {
    /// The end where orders arrive; it is there once.
    pub(super) fn take(&self) -> Option<mpsc::Receiver<Order>> {
        self.receiver.lock().take()
    }
}

impl Live {
    /// Has the file read again and put in force, as on SIGHUP, and waits for what becomes of it.
    ///
    /// # Errors
    /// Every problem of the file, or that nobody reloads at the moment.
    pub async fn order_reload(&self) -> Outcome {
        let (order, outcome) = oneshot::channel();
        self.orders.sender.try_send(order).map_err(|_| NotReloaded::Busy)?;
        outcome.await.unwrap_or(Err(NotReloaded::Busy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_wait_and_one_end_takes_them() {
        let orders = Orders::default();
        let receiver = orders.take();
        assert!(receiver.is_some() && orders.take().is_none());
        let send = || orders.sender.try_send(oneshot::channel().0);
        assert!((0..WAITING).all(|_| send().is_ok()));
        assert!(send().is_err(), "the line has an end");
        drop(receiver);
        assert!(send().is_err(), "nobody reloads any more");
    }
}
