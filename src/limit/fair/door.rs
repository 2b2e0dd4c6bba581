//! The places of this node.

use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Relaxed, SeqCst},
};
use std::time::Duration;

use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::oneshot;

use super::Overload;
use super::queue::{Queue, Slot};
use crate::edge::Facts;
use crate::fault::{Fault, Reject};
use crate::telemetry::Metrics;

/// Counters of tenants. Tenants are spread over them by a hash with a key of this process; two
/// that meet in one are taken for one. 256 KiB, however many tenants there are.
const SLOTS: u64 = 65_536;

/// One place of so many is kept for tenants below their share, so that they need not wait for
/// one of those who hold more.
const KEPT: u32 = 16;

/// What a refused client is told to wait. Overload ends soon or not at all.
const RETRY: Duration = Duration::from_secs(1);

/// The places of a process. Lives as long as it: places that are held outlive configurations.
#[derive(Debug)]
pub struct Door(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Places that there are.
    most: AtomicU32,
    /// Places that are held.
    in_flight: AtomicU32,
    /// Requests that wait. Raised before a waiting request looks for a place, and read after
    /// one is given back: whichever comes second sees the other.
    waiting: AtomicU32,
    /// Tenants with requests here.
    active: AtomicU32,
    /// Requests of each tenant, waiting and under way. Made with the first request that counts.
    tenants: OnceCell<Box<[AtomicU32]>>,
    hasher: RandomState,
    /// Locked only while this node is full.
    queue: Mutex<Queue<oneshot::Sender<Place>>>,
    /// Whether there is too little memory for more requests.
    no_memory: AtomicBool,
    queue_full: IntCounter,
    timed_out: IntCounter,
    memory: IntCounter,
}

/// A request's place, for as long as it lives.
#[derive(Debug)]
pub struct Place {
    shared: Arc<Shared>,
    slot: Slot,
    /// Whether it is given back when it is dropped.
    held: bool,
}

impl Door {
    /// A door with as many places as anybody asks for.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let shed = |reason| metrics.overload_shed.with_label_values(&[reason]);
        Self(Arc::new(Shared {
            most: AtomicU32::new(u32::MAX),
            in_flight: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            active: AtomicU32::new(0),
            tenants: OnceCell::new(),
            hasher: RandomState::new(),
            queue: Mutex::default(),
            no_memory: AtomicBool::new(false),
            queue_full: shed("queue_full"),
            timed_out: shed("timeout"),
            memory: shed("memory"),
        }))
    }

    /// Takes the number of places of a new configuration. Places that are held stay held; more
    /// places go to those who wait at once, fewer come about as requests end.
    pub fn configure(&self, overload: Option<&Overload>) {
        let most = overload.and_then(|overload| overload.max_in_flight).unwrap_or(u32::MAX);
        self.0.most.store(most, SeqCst);
        self.0.serve();
    }

    /// Lets nobody in any more because memory is short, or everybody again. Those who wait for a
    /// place get theirs all the same: what they weigh is here already.
    pub fn close_for_memory(&self, is_short: bool) {
        self.0.no_memory.store(is_short, Relaxed);
    }

    /// Places that are held.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.0.in_flight.load(SeqCst)
    }

    /// Requests that wait for one.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.0.waiting.load(SeqCst)
    }

    /// A place, at once or after a while: no longer than `overload` lets a request wait, nor
    /// than `left`, which is what it has left of its time.
    ///
    /// # Errors
    /// 503 with `Retry-After` when it has waited in vain, or may not wait, or memory is short.
    pub async fn enter(
        &self,
        overload: &Overload,
        facts: &Facts<'_>,
        left: Duration,
    ) -> Result<Place, Reject> {
        let shared = &self.0;
        if shared.no_memory.load(Relaxed) && overload.max_memory.is_some() {
            return Err(shed(&shared.memory));
        }
        if overload.max_in_flight.is_none() {
            return Ok(Place { shared: Arc::clone(shared), slot: 0, held: false });
        }
        let who = overload.who(facts, &shared.hasher);
        let slot = Slot::try_from(who % SLOTS).unwrap_or(0);
        if shared.waiting.load(SeqCst) == 0 && shared.take_for(slot) {
            shared.arrive(slot);
            return Ok(shared.place(slot));
        }
        // Boxed: those who need not wait should not carry the room for it.
        Box::pin(shared.wait(slot, overload, left)).await
    }
}

impl Shared {
    /// Places that anybody may take; the rest is kept for those below their share.
    fn open(&self) -> u32 {
        let most = self.most.load(SeqCst);
        most - most / KEPT
    }

    /// Takes a place for a tenant of which nobody waits, where one is free for it.
    fn take_for(&self, slot: Slot) -> bool {
        self.take(self.open()) || (self.is_below(slot, 0) && self.take(self.most.load(SeqCst)))
    }

    /// Takes a place, where fewer than that are held.
    fn take(&self, most: u32) -> bool {
        let one_more = |held: u32| (held < most).then(|| held.saturating_add(1));
        self.in_flight.fetch_update(SeqCst, SeqCst, one_more).is_ok()
    }

    fn place(self: &Arc<Self>, slot: Slot) -> Place {
        Place { shared: Arc::clone(self), slot, held: true }
    }

    fn tenant(&self, slot: Slot) -> Option<&AtomicU32> {
        let make = || (0..SLOTS).map(|_| AtomicU32::new(0)).collect();
        self.tenants.get_or_init(make).get(usize::try_from(slot).ok()?)
    }

    /// A tenant has one request more; returns how many.
    fn arrive(&self, slot: Slot) -> u32 {
        let Some(tenant) = self.tenant(slot) else { return 0 };
        let before = tenant.fetch_add(1, SeqCst);
        if before == 0 {
            self.active.fetch_add(1, SeqCst);
        }
        before.saturating_add(1)
    }

    /// A tenant has one request less; returns how many.
    fn depart(&self, slot: Slot) -> u32 {
        let Some(tenant) = self.tenant(slot) else { return 0 };
        let before = tenant.fetch_sub(1, SeqCst);
        if before == 1 {
            self.active.fetch_sub(1, SeqCst);
        }
        before.saturating_sub(1)
    }

    /// Whether a tenant of which so many requests wait holds less than its share of the places. A
    /// tenant that is alone shares with whoever comes next.
    fn is_below(&self, slot: Slot, waiting: usize) -> bool {
        let requests = self.tenant(slot).map_or(0, |tenant| tenant.load(SeqCst));
        let held = u64::from(requests).saturating_sub(waiting as u64);
        held * u64::from(self.active.load(SeqCst).max(2)) < u64::from(self.most.load(SeqCst))
    }

    async fn wait(
        self: &Arc<Self>,
        slot: Slot,
        overload: &Overload,
        left: Duration,
    ) -> Result<Place, Reject> {
        let longest = overload.queue_timeout.min(left);
        let (mut ticket, mut place) = self.queue_up(slot, overload.queue_limit)?;
        self.serve();
        let Ok(served) = tokio::time::timeout(longest, &mut place).await else {
            ticket.leave();
            // It may have come in the very moment.
            place.close();
            return place.try_recv().map_err(|_| shed(&self.timed_out));
        };
        ticket.waits = false; // Whoever told has taken it out of its line.
        served.map_err(|_| shed(&self.queue_full))
    }

    /// Puts a request in its line. Where no more may wait, somebody has to go: the newest of
    /// whoever has most, which may be this one.
    fn queue_up(
        &self,
        slot: Slot,
        limit: usize,
    ) -> Result<(Ticket<'_>, oneshot::Receiver<Place>), Reject> {
        let (tell, place) = oneshot::channel();
        let mut queue = self.queue.lock();
        self.waiting.fetch_add(1, SeqCst);
        let weight = self.arrive(slot);
        // Whoever finds a place free although others came first has found one of theirs.
        let below = self.is_below(slot, 1);
        let most = if below { self.most.load(SeqCst) } else { self.open() };
        let free = queue.len() == 0 && self.in_flight.load(SeqCst) < most;
        if queue.len() >= limit && !free {
            match queue.heaviest() {
                Some((most, heavy)) if most > weight && heavy != slot => {
                    // Its receiver learns of it by losing this.
                    drop(queue.drop_newest(heavy));
                    self.waiting.fetch_sub(1, SeqCst);
                    let left = self.depart(heavy);
                    queue.weigh(heavy, left);
                }
                _ => {
                    self.waiting.fetch_sub(1, SeqCst);
                    self.depart(slot);
                    return Err(shed(&self.queue_full));
                }
            }
        }
        let id = queue.join(slot, weight, tell);
        Ok((Ticket { shared: self, slot, id, waits: true }, place))
    }

    /// Gives free places to those who wait.
    fn serve(self: &Arc<Self>) {
        while self.waiting.load(SeqCst) > 0 {
            let next = {
                let mut queue = self.queue.lock();
                if queue.len() == 0 {
                    return;
                }
                let anybody = self.take(self.open());
                if !anybody && !self.take(self.most.load(SeqCst)) {
                    return;
                }
                let is_below = |slot, waiting| self.is_below(slot, waiting);
                let next = if anybody { queue.next(is_below) } else { queue.next_below(is_below) };
                if next.is_some() {
                    self.waiting.fetch_sub(1, SeqCst);
                } else {
                    self.in_flight.fetch_sub(1, SeqCst);
                }
                next
            };
            let Some((slot, tell)) = next else { return };
            if let Err(mut place) = tell.send(self.place(slot)) {
                // Nobody is there any more: to the next one, here rather than by dropping it,
                // which would come back to this line.
                place.held = false;
                self.release(slot);
            }
        }
    }

    /// Takes a place back.
    fn release(&self, slot: Slot) {
        let left = self.depart(slot);
        self.in_flight.fetch_sub(1, SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.queue.lock().weigh(slot, left);
        }
    }
}

fn shed(counter: &IntCounter) -> Reject {
    counter.inc();
    Reject::new(Fault::OverloadShed).with_retry_after(RETRY)
}

impl Place {
    /// Whether more than half of the node's places are held: then each should be given back soon.
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        let Shared { in_flight, most, .. } = &*self.shared;
        self.held && in_flight.load(Relaxed) > most.load(Relaxed) / 2
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.held {
            self.shared.release(self.slot);
            self.shared.serve();
        }
    }
}

/// A request's place in its line. Whoever gives up takes it along.
struct Ticket<'a> {
    shared: &'a Shared,
    slot: Slot,
    id: u64,
    waits: bool,
}

impl Ticket<'_> {
    /// Waits no longer.
    fn leave(&mut self) {
        if !std::mem::take(&mut self.waits) {
            return;
        }
        let mut queue = self.shared.queue.lock();
        if queue.leave(self.slot, self.id) {
            self.shared.waiting.fetch_sub(1, SeqCst);
            let left = self.shared.depart(self.slot);
            queue.weigh(self.slot, left);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
