//! Kept answers, as operators see and purge them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Live;
use crate::cache::{self, By, CachePlan, Note, Tagged, Target, Verdict};
use crate::clock::{self, Moment};
use crate::edge::unhex;
use crate::model::Problems;

/// The cache of this node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheReport {
    /// Answers in memory, variants counted singly.
    pub entries: i64,
    /// What they weigh, in bytes.
    pub bytes: u64,
    /// Tags whose last purge is known.
    pub purged_tags: usize,
    /// Number of the last purge that is known; 0 for none.
    pub last_purge: u64,
    /// Purges of this node that the others have not been told.
    pub pending_purges: usize,
    /// Whether nodes share their purges.
    pub shared: bool,
    /// Whether this node knows what the others have purged.
    pub caught_up: bool,
    /// What the cache did for each route that has one.
    pub routes: Vec<RouteReport>,
}

/// What the cache did for a route, since this process began to serve it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteReport {
    /// The route.
    pub route: Arc<str>,
    /// Requests that an entry answered, fresh or stale.
    pub hits: u64,
    /// Requests that looked for an entry.
    pub lookups: u64,
    /// Their share; none without requests.
    pub hit_ratio: Option<f64>,
}

/// One entry of this node's memory.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryReport {
    /// Its key.
    pub key: String,
    /// Its status.
    pub status: u16,
    /// What it weighs, in bytes.
    pub bytes: usize,
    /// Seconds since the service made or confirmed it.
    pub age_seconds: u64,
    /// Until when it is fresh by its own terms, RFC 3339.
    pub fresh_until: String,
    /// Whether it is.
    pub fresh: bool,
    /// For how many seconds it may be used stale while it is fetched anew.
    pub stale_while_revalidate: u32,
    /// For how many seconds it may be used stale while the service fails.
    pub stale_if_error: u32,
    /// Request headers by which there are several answers; this is the one kept first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vary: Option<String>,
    /// Entries under the key, with this one: as many as variants are known; 0 while the first is
    /// still arriving.
    pub variants: usize,
    /// What the purges say: `keep`, `stale`, `confirm` or `gone`.
    pub purged: &'static str,
    /// When it was purged softly, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<String>,
    /// The number of the last purge that was known when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purges_seen: Option<u64>,
    /// What it can be purged by, as hashes.
    pub tags: Vec<String>,
}

/// What is to be purged.
#[derive(Clone, Debug, Default)]
pub struct PurgeOrder {
    /// Tags of the configuration and of services.
    pub tags: Vec<String>,
    /// Keys, 64 hexadecimal digits each.
    pub keys: Vec<String>,
    /// Absolute URLs.
    pub urls: Vec<String>,
    /// Host and path.
    pub prefixes: Vec<String>,
    /// Names of routes.
    pub routes: Vec<String>,
    /// Tenants, with all that is theirs alone.
    pub tenants: Vec<String>,
    /// Everything.
    pub everything: bool,
    /// Only what is this tenant's alone.
    pub tenant: Option<String>,
    /// Entries become stale, instead of being gone.
    pub soft: bool,
}

/// What became of a purge. It is in force on this node in any case.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Purged {
    /// Its number; none while Redis has not given it one.
    pub number: Option<u64>,
    /// Tags that it names.
    pub tags: usize,
    /// Nodes that heard of it at once, this one included; none where nobody could be told.
    pub told: Option<u64>,
    /// Whether other nodes are yet to be told, because Redis does not answer.
    pub pending: bool,
}

/// Everything that is wrong with an order.
#[derive(Debug)]
pub struct NotPurged(pub Vec<String>);

/// Most targets of one order.
const TARGETS_MAX: usize = 1_000;
/// Longest target, in bytes.
const TARGET_BYTES_MAX: usize = 8 * 1024;

impl Live {
    /// The cache of this node.
    #[must_use]
    pub fn cache_report(&self) -> CacheReport {
        let purges = self.cache.purges.report();
        let snapshot = self.snapshot();
        let routes = snapshot.routes.iter().filter(|route| route.cache.is_some());
        CacheReport {
            entries: self.metrics.cache_entries.get(),
            bytes: self.cache.memory.weight(),
            purged_tags: purges.records,
            last_purge: purges.last,
            pending_purges: purges.pending,
            shared: purges.shared,
            caught_up: purges.caught_up,
            routes: routes.map(|route| route_report(route)).collect(),
        }
    }

    /// An entry of this node's memory; none where there is no such entry, or no such key. Looking
    /// at it is no use of it.
    #[must_use]
    pub fn cache_entry(&self, key: &str) -> Option<EntryReport> {
        let hash = unhex(key)?;
        let plan = CachePlan::of(hash);
        let place = plan.pingora_key();
        let (meta, hit) = self.cache.memory.peek(&place)?;
        let note = cache::note_of(&hit).or_else(|| Note::of(&meta)).cloned();
        if note.as_ref().is_some_and(|note| note.key != hash) {
            return None;
        }
        let verdict = note.as_ref().map_or(Verdict::Keep, |note| self.cache.purges.look(note));
        let now = UNIX_EPOCH + Duration::from_millis(clock::now().unix_ms);
        let (purged, stale_ms) = match verdict {
            Verdict::Keep => ("keep", None),
            Verdict::Stale(ms) => ("stale", Some(ms)),
            Verdict::Confirm => ("confirm", None),
            Verdict::Gone => ("gone", None),
        };
        let vary = meta.headers().get(http::header::VARY);
        Some(EntryReport {
            key: plan.digest(),
            status: meta.response_header().status.as_u16(),
            bytes: hit.get_eviction_weight(),
            age_seconds: now.duration_since(meta.epoch()).unwrap_or_default().as_secs(),
            fresh_until: rfc3339(meta.fresh_until()),
            fresh: meta.fresh_until() > now,
            stale_while_revalidate: meta.stale_while_revalidate_sec(),
            stale_if_error: meta.stale_if_error_sec(),
            vary: vary.and_then(|value| value.to_str().ok()).map(ToOwned::to_owned),
            variants: self.cache.memory.variants(&place),
            purged,
            stale_since: stale_ms.map(|ms| rfc3339(UNIX_EPOCH + Duration::from_millis(ms))),
            purges_seen: note.as_ref().and_then(|note| self.cache.purges.export(note.seen)),
            tags: note
                .iter()
                .flat_map(|note| &note.tags)
                .map(|tag| format!("{:016x}", tag.bits()))
                .collect(),
        })
    }

    /// Purges, on this node at once and on all others within a second.
    ///
    /// # Errors
    /// Everything that is wrong with the order; then nothing is purged.
    pub async fn purge(&self, order: &PurgeOrder, now: Moment) -> Result<Purged, NotPurged> {
        let tags = self.tags(order)?;
        let mut tagged = Tagged::default();
        for tag in &tags {
            tagged.add(*tag);
        }
        let orders = if order.soft { tagged.soft() } else { tagged.hard() };
        let purges = self.cache.purges;
        let Some(made) = purges.order(orders, By::Operator, now) else {
            return Err(NotPurged(vec![NO_TARGET.to_owned()]));
        };
        let told = purges.told(made).await;
        let cache::Told { number, told, pending } = told;
        Ok(Purged { number, tags: tags.len(), told, pending })
    }

    fn tags(&self, order: &PurgeOrder) -> Result<Vec<cache::Tag>, NotPurged> {
        let lists =
            [&order.tags, &order.keys, &order.urls, &order.prefixes, &order.routes, &order.tenants];
        let mut wrong = Vec::new();
        let count: usize = lists.iter().map(|list| list.len()).sum();
        if count == 0 && !order.everything {
            wrong.push(NO_TARGET.to_owned());
        }
        if count > TARGETS_MAX {
            wrong.push(format!("at most {TARGETS_MAX} targets at once, there are {count}"));
            return Err(NotPurged(wrong));
        }
        if lists.into_iter().flatten().any(|text| text.is_empty() || text.len() > TARGET_BYTES_MAX)
        {
            wrong.push(format!("a target has 1 to {TARGET_BYTES_MAX} bytes"));
        }
        let tenant = order.tenant.as_deref();
        if tenant.is_some_and(str::is_empty) {
            wrong.push("`tenant` is empty".to_owned());
        }
        if tenant.is_some() && !order.tenants.is_empty() {
            wrong.push("`tenant` limits the others: give it or `tenants`".to_owned());
        }
        let mut tags = Vec::new();
        let snapshot = self.snapshot();
        let policies = || snapshot.routes.iter().filter_map(|route| route.cache.as_ref());
        let mut take = |read: Result<Vec<cache::Tag>, String>| match read {
            Ok(read) => tags.extend(read),
            Err(why) => wrong.push(why),
        };
        for text in &order.tags {
            take(Ok(vec![Target::Text(text.as_bytes()).tag(tenant)]));
        }
        for text in &order.keys {
            let key = unhex(text).ok_or_else(|| format!("`{text}` is no key"));
            take(key.map(|key| vec![Target::Key(&key).tag(tenant)]));
        }
        for text in &order.urls {
            take(cache::url_tags(text, policies(), tenant));
        }
        for text in &order.prefixes {
            take(cache::prefix_tag(text, tenant).map(|tag| vec![tag]));
        }
        for name in &order.routes {
            let known = || snapshot.routes.iter().map(|route| &*route.name);
            take(if known().any(|route| route == name) {
                Ok(vec![Target::Route(name).tag(tenant)])
            } else {
                let help = Problems::did_you_mean(name, known()).unwrap_or_default();
                Err(format!("there is no route `{name}` {help}").trim_end().to_owned())
            });
        }
        for tenant in &order.tenants {
            take(Ok(vec![Target::Everything.tag(Some(tenant))]));
        }
        if order.everything {
            take(Ok(vec![Target::Everything.tag(tenant)]));
        }
        if wrong.is_empty() { Ok(tags) } else { Err(NotPurged(wrong)) }
    }
}

fn route_report(route: &crate::snapshot::Route) -> RouteReport {
    use cache::CacheStatus as Status;
    let count = |status: Status| route.meters.cached_count(status as usize, status.as_str());
    let hits = count(Status::Hit) + count(Status::Stale);
    let others = [Status::Miss, Status::Revalidated, Status::Expired].map(count);
    let lookups = hits + others.iter().sum::<u64>();
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    let ratio = (lookups > 0).then(|| hits as f64 / lookups as f64);
    RouteReport { route: Arc::clone(&route.name), hits, lookups, hit_ratio: ratio }
}

/// A key as it is shown: 64 hexadecimal digits.
fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

const NO_TARGET: &str = "name something to purge: `tags`, `keys`, `urls`, `prefixes`, `routes`, \
                         `tenants` or `everything`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_64_digits() {
        let text = "00ff".repeat(16);
        assert_eq!(unhex::<32>(&text).map(|key| [key[0], key[1], key[31]]), Some([0, 255, 255]));
        assert_eq!(CachePlan::of(unhex(&text).unwrap()).digest(), text);
        for wrong in ["", &text[2..], &("+1".to_owned() + &text[2..]), &(text.clone() + "00")] {
            assert_eq!(unhex::<32>(wrong), None, "{wrong}");
        }
    }
}
