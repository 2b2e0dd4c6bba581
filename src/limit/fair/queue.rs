//! Who waits, and who is next.
//!
//! One line for each tenant, served in turn: deficit round robin in which every request costs
//! one. A tenant that holds less than its share of the places is served before its turn. Every
//! fourth place goes by turn alone, so that a tenant whose share is held by long exchanges does
//! not wait for ever behind newcomers.

use std::collections::{BTreeSet, HashMap, VecDeque};

/// Every so many places go to whose turn it is.
const BY_TURN: u64 = 4;

/// Lines that are looked at for a tenant below its share. Those that are not served move up, so
/// each is looked at in time.
const LOOK_MAX: usize = 64;

/// Number of a tenant's counter.
pub(super) type Slot = u32;

/// The lines. `T` is what is kept for a waiting request.
#[derive(Debug)]
pub(super) struct Queue<T> {
    lines: HashMap<Slot, Line<T>>,
    /// Whose turn it is, the next first. Holds every line once, empty ones until they are met.
    turns: VecDeque<Slot>,
    /// Lines that are not empty, by weight.
    heaviest: BTreeSet<(u32, Slot)>,
    waiting: usize,
    served: u64,
    last_id: u64,
}

#[derive(Debug)]
struct Line<T> {
    requests: VecDeque<(u64, T)>,
    /// Requests that the tenant has here and under way.
    weight: u32,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            turns: VecDeque::new(),
            heaviest: BTreeSet::new(),
            waiting: 0,
            served: 0,
            last_id: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Requests that wait.
    pub(super) const fn len(&self) -> usize {
        self.waiting
    }

    /// Puts a request at the end of its tenant's line; returns its number. `weight` is what the
    /// tenant has now, waiting and under way, this request included.
    pub(super) fn join(&mut self, slot: Slot, weight: u32, request: T) -> u64 {
        self.last_id += 1;
        let line = self.lines.entry(slot).or_insert_with(|| {
            self.turns.push_back(slot);
            Line { requests: VecDeque::new(), weight: 0 }
        });
        line.requests.push_back((self.last_id, request));
        self.waiting += 1;
        self.weigh(slot, weight);
        self.last_id
    }

    /// Takes the request that is next. `is_below` says whether a tenant with so many requests
    /// waiting holds less than its share.
    pub(super) fn next(&mut self, is_below: impl Fn(Slot, usize) -> bool) -> Option<(Slot, T)> {
        let by_turn = self.served % BY_TURN == BY_TURN - 1;
        let below = self.find(|slot, waiting| by_turn || is_below(slot, waiting));
        self.served += 1;
        self.take(below.unwrap_or(0))
    }

    /// Takes the next request of a tenant that holds less than its share, where there is one.
    pub(super) fn next_below(
        &mut self,
        is_below: impl Fn(Slot, usize) -> bool,
    ) -> Option<(Slot, T)> {
        let below = self.find(is_below)?;
        self.take(below)
    }

    /// Looks for a line that will do, and takes empty ones out on the way.
    fn find(&mut self, will_do: impl Fn(Slot, usize) -> bool) -> Option<usize> {
        let mut index = 0;
        while index < self.turns.len().min(LOOK_MAX) {
            let slot = *self.turns.get(index)?;
            let waiting = self.lines.get(&slot).map_or(0, |line| line.requests.len());
            if waiting == 0 {
                self.turns.remove(index);
                self.lines.remove(&slot);
            } else if will_do(slot, waiting) {
                return Some(index);
            } else {
                index += 1;
            }
        }
        None
    }

    /// Takes the first request of the line whose turn is at `index`.
    fn take(&mut self, index: usize) -> Option<(Slot, T)> {
        let slot = self.turns.remove(index)?;
        self.turns.push_back(slot);
        let (_, request) = self.lines.get_mut(&slot)?.requests.pop_front()?;
        self.took(slot);
        Some((slot, request))
    }

    /// Takes the newest request of a tenant.
    pub(super) fn drop_newest(&mut self, slot: Slot) -> Option<T> {
        let (_, request) = self.lines.get_mut(&slot)?.requests.pop_back()?;
        self.took(slot);
        Some(request)
    }

    /// Takes a request that waits no longer; false where it is not in its line any more. Those
    /// who have waited longest are in front, so one that has waited too long is found at once.
    pub(super) fn leave(&mut self, slot: Slot, id: u64) -> bool {
        let Some(line) = self.lines.get_mut(&slot) else { return false };
        let Some(place) = line.requests.iter().position(|(known, _)| *known == id) else {
            return false;
        };
        line.requests.remove(place);
        self.took(slot);
        true
    }

    /// The tenant that has most, of those that wait: what it has, and who it is.
    pub(super) fn heaviest(&self) -> Option<(u32, Slot)> {
        self.heaviest.last().copied()
    }

    /// Notes what a tenant has now.
    pub(super) fn weigh(&mut self, slot: Slot, weight: u32) {
        let Some(line) = self.lines.get_mut(&slot) else { return };
        self.heaviest.remove(&(line.weight, slot));
        line.weight = weight;
        if !line.requests.is_empty() {
            self.heaviest.insert((weight, slot));
        }
    }

    /// A request has left the line.
    fn took(&mut self, slot: Slot) {
        self.waiting = self.waiting.saturating_sub(1);
        if let Some(line) = self.lines.get(&slot).filter(|line| line.requests.is_empty()) {
            self.heaviest.remove(&(line.weight, slot));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody(_: Slot, _: usize) -> bool {
        false
    }

    fn order(queue: &mut Queue<u32>, is_below: impl Fn(Slot, usize) -> bool) -> Vec<u32> {
        std::iter::from_fn(|| queue.next(&is_below).map(|(_, request)| request)).collect()
    }

    #[test]
    fn lines_are_served_in_turn_each_in_its_order() {
        let mut queue = Queue::default();
        for (slot, request) in [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30), (2, 21)] {
            queue.join(slot, 1, request);
        }
        assert_eq!(queue.len(), 6);
        assert_eq!(order(&mut queue, nobody), [10, 20, 30, 11, 21, 12]);
        assert_eq!(queue.len(), 0);
        assert!(queue.lines.is_empty() && queue.turns.is_empty() && queue.heaviest.is_empty());
    }

    #[test]
    fn who_holds_less_than_its_share_comes_first_but_every_fourth_place_goes_by_turn() {
        let mut queue = Queue::default();
        for n in 0..4 {
            queue.join(1, 9, 10 + n);
        }
        for n in 0..4 {
            queue.join(2, 1, 20 + n);
        }
        let is_below = |slot, _| slot == 2;
        assert_eq!(order(&mut queue, is_below), [20, 21, 22, 10, 23, 11, 12, 13]);
    }

    #[test]
    fn a_place_that_is_kept_goes_to_nobody_else() {
        let mut queue = Queue::default();
        queue.join(1, 9, 10);
        queue.join(2, 1, 20);
        assert_eq!(queue.next_below(nobody), None);
        assert_eq!(queue.next_below(|slot, _| slot == 2), Some((2, 20)));
        assert_eq!(order(&mut queue, nobody), [10]);
    }

    #[test]
    fn the_heaviest_is_known_and_its_newest_goes() {
        let mut queue = Queue::default();
        assert_eq!(queue.heaviest(), None);
        queue.join(1, 1, 10);
        queue.join(2, 5, 20);
        queue.join(2, 6, 21);
        assert_eq!(queue.heaviest(), Some((6, 2)));
        assert_eq!(queue.drop_newest(2), Some(21));
        queue.weigh(2, 5);
        assert_eq!(queue.heaviest(), Some((5, 2)));
        queue.weigh(1, 7);
        assert_eq!(queue.heaviest(), Some((7, 1)));
        assert_eq!(queue.drop_newest(1), Some(10));
        assert_eq!(queue.heaviest(), Some((5, 2)), "who does not wait cannot be refused");
        assert_eq!(queue.drop_newest(1), None);
        assert_eq!(order(&mut queue, nobody), [20]);
    }

    #[test]
    fn who_leaves_is_not_served_and_loses_no_turn_to_another() {
        let mut queue = Queue::default();
        let first = queue.join(1, 1, 10);
        queue.join(1, 2, 11);
        let other = queue.join(2, 1, 20);
        queue.join(3, 1, 30);
        assert!(queue.leave(1, first));
        assert!(!queue.leave(1, first), "once");
        assert!(queue.leave(2, other));
        assert_eq!(queue.len(), 2);
        // Back before its empty line was met: it has one turn, not two.
        queue.join(2, 1, 21);
        queue.join(2, 2, 22);
        assert_eq!(order(&mut queue, nobody), [11, 21, 30, 22]);
        assert!(queue.turns.is_empty());
    }

    #[test]
    fn a_tenant_below_its_share_is_found_among_many_lines_in_time() {
        let mut queue = Queue::default();
        for slot in 0..1000 {
            queue.join(slot, 1, slot);
            queue.join(slot, 2, slot);
        }
        let served = order(&mut queue, |slot, _| slot == 500);
        let place = served.iter().position(|request| *request == 500).unwrap();
        assert!(place <= 500 - LOOK_MAX + 1, "{place}");
        assert_eq!(served.len(), 2000);
    }
}
