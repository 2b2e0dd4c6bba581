//! Corrections of a local counter after a request was decided.

use super::super::Take;
use super::super::math::Counter;
use super::{Local, Opened, find, row, share};
use crate::clock::Moment;

impl Local {
    /// Changes the counter of a take.
    pub(in super::super) fn adjust(
        &self,
        take: &Take,
        nodes: u32,
        now: Moment,
        change: impl FnOnce(&mut Counter),
    ) {
        let (now_us, numbers) = (self.unix.us(now), share(take, nodes, now));
        let mut tables = self.lock(std::slice::from_ref(take));
        let before = tables.iter().map(|(_, table)| table.len()).sum();
        let opened = self.open(&mut tables, take, numbers, nodes, now_us);
        let Opened::Counter(mut counter) = opened else { return };
        change(&mut counter);
        let reply = counter.reply(counter.has_enough(take.cost), 0, take.cost);
        let row = row(counter, take, &reply, (nodes, numbers), now_us);
        if let Some(table) = find(&mut tables, self.index(&take.key)) {
            self.put(table, take.key, row, now_us);
        }
        self.note_size(before, tables.iter().map(|(_, table)| table.len()).sum());
    }
}
