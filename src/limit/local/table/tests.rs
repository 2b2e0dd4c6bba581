use super::*;

fn row(heat: u16, limited_until: u32) -> Row {
    Row {
        kept: Kept::State(State::Bucket { debt: 0, at_us: 0 }),
        touched: Coarse(0),
        idle_at: Coarse(1_000),
        limited_until: Coarse(limited_until),
        used: 1,
        heat,
        nodes: 1,
        weight: 1,
        class: 0,
        window_ms: 0,
    }
}

fn key(number: u128) -> CounterKey {
    CounterKey::numbered(number)
}

fn put(table: &mut Table, number: u128, row: Row, now: u32) -> Vec<CounterKey> {
    let mut gone = Vec::new();
    table.put(key(number), row, Coarse(now), |key, _| gone.push(key));
    gone
}

#[test]
fn who_is_used_up_goes_only_where_all_are() {
    let mut table = Table::new(100, Mix::new());
    for number in 0..99 {
        assert!(put(&mut table, number, row(u16::MAX, 50), 0).is_empty());
    }
    // One place is left, and a flood passes through it.
    for number in 1_000..11_000 {
        put(&mut table, number, row(1, 0), 49);
    }
    assert_eq!(table.len(), 100);
    assert!((0..99).all(|number| table.get_mut(&key(number)).is_some()));
    // Once they have got something back they go like others.
    for number in 20_000..30_000 {
        put(&mut table, number, row(1, 0), 50);
    }
    assert!((0..99).any(|number| table.get_mut(&key(number)).is_none()));
    assert_eq!(table.len(), 100);
}

#[test]
fn where_all_are_used_up_one_of_them_goes() {
    let mut table = Table::new(10, Mix::new());
    for number in 0..10 {
        put(&mut table, number, row(u16::MAX, 50), 0);
    }
    let gone = put(&mut table, 10, row(u16::MAX, 60), 0);
    assert_eq!((gone.len(), table.len()), (1, 10));
}

#[test]
fn the_groups_hold_what_they_say_through_all_changes() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut table = Table::new(64, Mix::new());
    for step in 0..20_000_u32 {
        let number = random.u128(0..200);
        let now = step / 100;
        match random.u8(0..8) {
            0 => drop(table.remove(&key(number))),
            1..4 => drop(put(&mut table, number, row(9, now + random.u32(1..30)), now)),
            _ => drop(put(&mut table, number, row(random.u16(..), 0), now)),
        }
        let limited = |row: &Row| row.is_limited(Coarse(now));
        let cold = table.rows.values().skip(table.hot);
        assert_eq!(cold.filter(|row| limited(row)).count(), 0);
        assert_eq!(table.weight, table.rows.len());
        assert!(table.len() <= 64);
    }
}

#[test]
fn idle_rows_and_then_those_with_the_least_use_go_first() {
    // As many rows as are drawn cannot all be missed often: 8 draws of 2 miss one in 256 cases.
    let mut idle = 0;
    let mut least = 0;
    for _ in 0..1_000 {
        let mut table = Table::new(2, Mix::new());
        put(&mut table, 1, row(60_000, 0), 0);
        put(&mut table, 2, Row { idle_at: Coarse(5), ..row(65_000, 0) }, 0);
        idle += usize::from(put(&mut table, 3, row(1, 0), 5) == [key(2)]);
        least += usize::from(put(&mut table, 4, row(1, 0), 5) == [key(3)]);
    }
    assert!(idle > 900 && least > 900, "{idle} {least}");
}

#[test]
fn use_comes_down_in_a_straight_line() {
    let row = row(40_000, 0);
    assert_eq!(row.heat(Coarse(0)), 40_000);
    assert_eq!(row.heat(Coarse(500)), 20_000);
    assert_eq!(row.heat(Coarse(1_000)), 0);
    assert_eq!(row.heat(Coarse(2_000)), 0);
}

#[test]
fn a_heavy_row_pushes_out_others_and_never_itself() {
    let mut table = Table::new(10, Mix::new());
    for number in 0..10 {
        put(&mut table, number, row(1, 0), 0);
    }
    let mut big = row(1, 0);
    big.kept = Kept::Taken;
    put(&mut table, 5, big, 0);
    assert_eq!(put(&mut table, 5, Row { weight: 4, ..row(1, 0) }, 0).len(), 3);
    assert_eq!((table.len(), table.weight), (7, 10));
    table.get_mut(&key(5)).unwrap().kept = Kept::Taken;
    // Heavier than the table: alone.
    assert_eq!(put(&mut table, 5, Row { weight: 40, ..row(1, 0) }, 0).len(), 6);
    assert_eq!((table.len(), table.weight), (1, 40));
    table.remove(&key(5));
    assert_eq!((table.len(), table.weight), (0, 0));
}

#[test]
fn who_is_in_use_stays() {
    let mut table = Table::new(1, Mix::new());
    let held = Row { kept: Kept::Taken, ..row(1, 0) };
    put(&mut table, 1, held, 0);
    assert!(put(&mut table, 2, row(1, 0), 0).is_empty(), "one more than fits");
    assert_eq!(put(&mut table, 3, row(1, 0), 0), [key(2)]);
    assert!(table.get_mut(&key(1)).is_some());
}

#[test]
fn a_row_weighs_what_is_said() {
    // Hash and row in the list, and in the index 8 bytes and one at a load of 7/16 at least.
    let bucket = 8 + size_of::<CounterKey>() + size_of::<Row>();
    assert!(bucket.next_multiple_of(8) + 9 * 16 / 7 <= ROW_BYTES, "{bucket}");
}
