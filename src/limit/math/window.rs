//! A sliding window, counted by sixtieths of it. `lua/sliding_window.lua` does the same sums.

use smallvec::SmallVec;

use super::{State, Sums};

/// Cells of a window. Two (this window's count and the share of the last one's) are the textbook;
/// they take what was taken in a window as spread evenly over it, and let up to half as many again
/// pass where it came in bursts. `tests/accuracy.rs` has the figures by which this was chosen.
const CELLS: u64 = 60;

/// What was taken in the cells of a window, oldest first. One cell needs no memory of its own:
/// most clients of a flood have no more.
pub type Cells = SmallVec<[Cell; 1]>;

/// Length of the cells of a window, in milliseconds; of the window too.
#[must_use]
pub const fn cell_ms(window_ms: u64) -> u64 {
    window_ms.div_ceil(CELLS)
}

/// What was taken in a cell of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// It begins so many cells after the origin of time.
    pub index: u64,
    /// How much was taken in it.
    pub count: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Window {
    limit: u64,
    length_ms: u64,
    cell_ms: u64,
    now_ms: u64,
    /// Now, or the begin of the newest cell while the clock is behind that.
    at_ms: u64,
    used: u64,
    /// Oldest first; at most two more than a window has.
    cells: Cells,
}

impl Window {
    /// Bytes of its list.
    pub(super) fn list_bytes(&self) -> usize {
        if self.cells.spilled() { self.cells.capacity() * size_of::<Cell>() } else { 0 }
    }

    /// The window at `clock_us`.
    pub(super) fn open(limit: u64, window_ms: u64, stored: Option<State>, clock_us: u64) -> Self {
        let (length_ms, now_ms) = (window_ms.max(1), clock_us / 1000);
        let cell_ms = cell_ms(length_ms);
        let cells = match stored {
            Some(State::Cells(cells)) => cells,
            Some(State::Window { start_ms, current, previous }) => {
                let begin_ms = start_ms.saturating_sub(length_ms);
                let mut cells = spread(begin_ms, start_ms, previous, cell_ms);
                for cell in spread(start_ms, now_ms.max(start_ms + 1), current, cell_ms) {
                    add(&mut cells, cell);
                }
                cells
            }
            _ => Cells::new(),
        };
        let newest = cells.last().map_or(0, |cell| cell.index * cell_ms);
        let at_ms = now_ms.max(newest);
        let mut window = Self { limit, length_ms, cell_ms, now_ms, at_ms, used: 0, cells };
        window.tally();
        window
    }

    /// Counts what lies in the window, and drops the rest.
    fn tally(&mut self) {
        let (begin_ms, cell_ms) = (self.at_ms.checked_sub(self.length_ms), self.cell_ms);
        let oldest = begin_ms.map(|begin_ms| begin_ms / cell_ms);
        self.cells.retain(|cell| cell.count > 0 && Some(cell.index) >= oldest);
        self.used = self.cells.iter().map(|cell| cell.count).sum();
        // Only the oldest cell can have begun before the window.
        if let (Some(first), Some(begin_ms)) = (self.cells.first(), begin_ms)
            && Some(first.index) == oldest
        {
            let stays_ms = (first.index + 1) * cell_ms - begin_ms;
            let counts = first.count.saturating_mul(stays_ms).div_ceil(cell_ms);
            self.used = self.used - first.count + counts;
        }
    }
}

/// Adds to the newest cell, or makes that.
fn add(cells: &mut Cells, cell: Cell) {
    match cells.last_mut() {
        Some(last) if last.index >= cell.index => last.count += cell.count,
        _ => cells.push(cell),
    }
}

/// `count` evenly from one millisecond to another, for sketches that know no more.
fn spread(from_ms: u64, to_ms: u64, count: u64, cell_ms: u64) -> Cells {
    let length = to_ms.saturating_sub(from_ms).max(1);
    // Rounded down, so that what is left of it at any time is rounded up.
    let until = |ms: u64| count.saturating_mul(ms.saturating_sub(from_ms)) / length;
    let mut cells = Cells::new();
    for index in from_ms / cell_ms..to_ms.div_ceil(cell_ms) {
        let begin = (index * cell_ms).max(from_ms);
        let end = ((index + 1) * cell_ms).min(to_ms);
        let count = until(end) - until(begin);
        if count > 0 {
            cells.push(Cell { index, count });
        }
    }
    cells
}

impl Sums for Window {
    fn used(&self) -> u64 {
        self.used
    }

    fn wait_ms(&self, amount: u64) -> u64 {
        let mut newer: u64 = self.cells.iter().map(|cell| cell.count).sum();
        for cell in &self.cells {
            newer -= cell.count;
            // So much of the cell may stay in the window.
            let Some(room) = self.limit.saturating_sub(amount).checked_sub(newer) else { continue };
            let stays_ms = room.saturating_mul(self.cell_ms) / cell.count.max(1);
            let opens_ms =
                ((cell.index + 1) * self.cell_ms + self.length_ms).saturating_sub(stays_ms);
            return opens_ms.saturating_sub(self.now_ms);
        }
        0
    }

    fn spend(&mut self, amount: u64, _member: u64) {
        if amount > 0 {
            add(&mut self.cells, Cell { index: self.at_ms / self.cell_ms, count: amount });
            self.used = self.used.saturating_add(amount);
        }
    }

    fn give_back(&mut self, amount: u64, epoch_ms: u64) {
        let cell_ms = self.cell_ms;
        if let Some(cell) = self.cells.iter_mut().find(|cell| cell.index * cell_ms == epoch_ms) {
            cell.count = cell.count.saturating_sub(amount);
        }
        self.tally();
    }

    fn epoch_ms(&self) -> u64 {
        self.at_ms - self.at_ms % self.cell_ms
    }

    fn idle_in_ms(&self) -> u64 {
        let newest =
            self.cells.last().map_or(0, |cell| (cell.index + 1) * self.cell_ms + self.length_ms);
        newest.saturating_sub(self.now_ms)
    }
}

impl From<Window> for State {
    fn from(window: Window) -> Self {
        Self::Cells(window.cells)
    }
}
