//! What a process should know before it takes the place of one that knows it already.

use super::Live;

impl Live {
    /// What this process does not know yet, for people; nothing once it is warm. Key sets,
    /// revocations and the health of endpoints come with time: without them callers would be
    /// refused, or let in, whom the process before would not.
    #[must_use]
    pub fn is_cold(&self) -> Vec<String> {
        let keys = self.auth.keys.waiting();
        let keys = keys.iter().map(|provider| format!("the key set of `{provider}`"));
        let health = self.upstreams.unasked();
        let health = health.iter().map(|service| format!("the health of `{service}`"));
        let shares = self.started_with.redis.is_some();
        let revocations = (shares && self.metrics.revocations_age.get() < 0)
            .then(|| "the shared list of revocations".to_owned());
        keys.chain(health).chain(revocations).collect()
    }
}
