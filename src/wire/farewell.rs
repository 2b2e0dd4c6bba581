//! Tells tunnels that they are to end.
//!
//! A tunnel waits for its client and its service, for as long as both like. When its grace is over
//! it has to hear of it while it waits, and there may be many: so they register once, when they
//! first wait, and are all woken by one word.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use tokio::sync::Notify;

/// The last word to the tunnels of a process.
#[derive(Debug, Default)]
pub struct Farewell {
    said: AtomicBool,
    told: Notify,
}

impl Farewell {
    /// Tells all tunnels, those too that come later.
    pub fn say(&self) {
        self.said.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    /// Whether it has been said.
    pub(super) fn is_said(&self) -> bool {
        self.said.load(Ordering::Acquire)
    }

    async fn heard(self: Arc<Self>) {
        // Made before it is looked: what is said in between reaches it.
        let told = self.told.notified();
        if !self.is_said() {
            told.await;
        }
    }
}

type Heard = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// A tunnel's ear. Whose task has registered is not registered again.
#[derive(Default)]
pub(super) struct Ear(Option<(Waker, Heard)>);

impl Ear {
    /// Whether the farewell has been said; if not, the task is woken when it is.
    pub(super) fn hears(&mut self, farewell: &Arc<Farewell>, cx: &mut Context<'_>) -> bool {
        let same = |(waker, _): &(Waker, _)| waker.will_wake(cx.waker());
        if !self.0.as_ref().is_some_and(same) {
            let mut heard: Heard = Box::pin(Arc::clone(farewell).heard());
            if heard.as_mut().poll(cx).is_ready() {
                return true;
            }
            self.0 = Some((cx.waker().clone(), heard));
        }
        farewell.is_said()
    }
}

impl fmt::Debug for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ear").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    fn hear(farewell: &Arc<Farewell>) -> tokio::task::JoinHandle<()> {
        let (farewell, mut ear) = (Arc::clone(farewell), Ear::default());
        tokio::spawn(poll_fn(move |cx| {
            if ear.hears(&farewell, cx) { Poll::Ready(()) } else { Poll::Pending }
        }))
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_and_whoever_comes_later_need_not_wait() {
        let farewell = Arc::new(Farewell::default());
        let (one, two) = (hear(&farewell), hear(&farewell));
        tokio::task::yield_now().await;
        assert!(!one.is_finished() && !two.is_finished() && !farewell.is_said());
        farewell.say();
        one.await.unwrap();
        two.await.unwrap();
        hear(&farewell).await.unwrap();
    }
}
