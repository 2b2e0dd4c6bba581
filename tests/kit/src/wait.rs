//! Waiting with a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::{Error, Result};

/// Longest wait for anything that should happen soon. Generous, because machines that run many
/// tests at once are slow; a passing test never waits this long.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Time between two looks.
const POLL: Duration = Duration::from_millis(10);

/// Looks again and again until `look` gives something.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if start.elapsed() > DEADLINE {
            return Err(Error::new(format!("waited {DEADLINE:?} in vain for {what}")));
        }
        sleep(POLL).await;
    }
}

/// Waits for a future, but not for ever.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    timeout(DEADLINE, future)
        .await
        .map_err(|_| Error::new(format!("waited {DEADLINE:?} in vain for {what}")))
}
