//! One timer for all deadlines of a connection.

use std::pin::Pin;
use std::task::Context;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is made when a client is first waited for, and kept.
///
/// It is set anew only for an earlier deadline: most deadlines are met, so a timer that was set
/// for one of before goes off too early now and then and is set anew then. Waiting for the next
/// request of a busy connection touches no timer wheel.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether `deadline` has passed; if not, the task is woken when it has.
    pub(super) fn passed(&mut self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return true;
            }
            sleep.as_mut().reset(deadline);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_deadline_passes_when_it_has_and_not_before() {
        let mut alarm = Alarm::default();
        let began = Instant::now();
        let (near, far) = (began + Duration::from_millis(30), began + Duration::from_millis(60));
        // Set for the far one, then asked for the near one, then for the far one again.
        poll_fn(|cx| {
            assert!(!alarm.passed(far, cx));
            Poll::Ready(())
        })
        .await;
        for deadline in [near, far] {
            poll_fn(|cx| if alarm.passed(deadline, cx) { Poll::Ready(()) } else { Poll::Pending })
                .await;
            assert!(Instant::now() >= deadline);
        }
    }
}
