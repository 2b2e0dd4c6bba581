use super::*;

/// Milliseconds since the epoch of a time with its offset.
fn at(time: &str) -> u64 {
    let timestamp: Timestamp = time.parse().unwrap();
    u64::try_from(timestamp.as_millisecond()).unwrap()
}

fn calendar(period: Period, zone: &str) -> Calendar {
    Calendar::new(period, Some(zone)).unwrap()
}

#[track_caller]
fn assert_bounds(calendar: &Calendar, now: &str, expected: [&str; 4]) {
    assert_eq!(calendar.bounds(at(now)), expected.map(at), "{now}");
}

#[test]
fn days_begin_at_midnight_of_the_zone_and_are_as_long_as_they_are() {
    let berlin = calendar(Period::Day, "Europe/Berlin");
    // Clocks go forward on 29 March 2026 (23 hours) and back on 25 October (25 hours).
    let spring = [
        "2026-03-28T00:00:00+01:00",
        "2026-03-29T00:00:00+01:00",
        "2026-03-30T00:00:00+02:00",
        "2026-03-31T00:00:00+02:00",
    ];
    assert_eq!(at(spring[2]) - at(spring[1]), 23 * 3_600_000);
    for now in [spring[1], "2026-03-29T12:00:00+02:00", "2026-03-29T23:59:59.999+02:00"] {
        assert_bounds(&berlin, now, spring);
    }
    let autumn = [
        "2026-10-24T00:00:00+02:00",
        "2026-10-25T00:00:00+02:00",
        "2026-10-26T00:00:00+01:00",
        "2026-10-27T00:00:00+01:00",
    ];
    assert_eq!(at(autumn[2]) - at(autumn[1]), 25 * 3_600_000);
    assert_bounds(&berlin, "2026-10-25T02:30:00+01:00", autumn);
    // One millisecond before midnight it is still the day before.
    assert_eq!(berlin.bounds(at("2026-10-24T23:59:59.999+02:00"))[2], at(autumn[1]));
}

#[test]
fn months_and_weeks_are_those_of_the_calendar() {
    let utc = Calendar::new(Period::Month, None).unwrap();
    let february = [
        "2028-01-01T00:00:00Z",
        "2028-02-01T00:00:00Z",
        "2028-03-01T00:00:00Z",
        "2028-04-01T00:00:00Z",
    ];
    assert_eq!(at(february[2]) - at(february[1]), 29 * 86_400_000, "a leap year");
    assert_bounds(&utc, "2028-02-29T23:59:59.999Z", february);
    assert_bounds(&utc, "2028-02-01T00:00:00Z", february);

    // New York is behind: the month of Tokyo and UTC has already begun.
    let york = calendar(Period::Month, "America/New_York");
    assert_eq!(york.bounds(at("2026-12-01T04:59:59Z"))[1], at("2026-11-01T04:00:00Z"));
    assert_eq!(york.bounds(at("2026-12-01T05:00:00Z"))[1], at("2026-12-01T05:00:00Z"));

    let week = calendar(Period::Week, "Asia/Kolkata");
    let monday = "2026-11-16T00:00:00+05:30";
    for now in [monday, "2026-11-22T23:59:59+05:30"] {
        assert_eq!(week.bounds(at(now))[1], at(monday), "{now}");
    }
    assert_eq!(week.bounds(at("2026-11-23T00:00:00+05:30"))[1], at("2026-11-23T00:00:00+05:30"));
}

#[test]
fn an_hour_that_is_there_twice_counts_twice_and_one_that_is_not_counts_not() {
    let berlin = calendar(Period::Hour, "Europe/Berlin");
    assert_bounds(
        &berlin,
        "2026-10-25T02:30:00+02:00",
        [
            "2026-10-25T01:00:00+02:00",
            "2026-10-25T02:00:00+02:00",
            "2026-10-25T02:00:00+01:00",
            "2026-10-25T03:00:00+01:00",
        ],
    );
    assert_eq!(berlin.bounds(at("2026-10-25T02:30:00+01:00"))[1], at("2026-10-25T02:00:00+01:00"));
    assert_bounds(
        &berlin,
        "2026-03-29T01:30:00+01:00",
        [
            "2026-03-29T00:00:00+01:00",
            "2026-03-29T01:00:00+01:00",
            "2026-03-29T03:00:00+02:00",
            "2026-03-29T04:00:00+02:00",
        ],
    );
    // Half an hour off, and a zone that moves its clocks by half an hour.
    let kolkata = calendar(Period::Hour, "Asia/Kolkata");
    assert_eq!(kolkata.bounds(at("2026-11-22T10:29:59Z"))[1], at("2026-11-22T09:30:00Z"));
    let howe = calendar(Period::Hour, "Australia/Lord_Howe");
    for hours in 0..2_000 {
        let bounds = howe.bounds(at("2026-03-01T00:17:00Z") + hours * 3_600_000);
        assert!(bounds.is_sorted() && bounds[2] - bounds[1] <= 5_400_000, "{bounds:?}");
    }
}

#[test]
fn every_instant_lies_in_one_period_whatever_was_asked_before() {
    // The two bounds that neighbours share are the same: nothing is counted twice.
    for zone in ["Europe/Berlin", "America/Havana", "Pacific/Apia", "Africa/Casablanca", "UTC"] {
        for period in [Period::Hour, Period::Day, Period::Week, Period::Month] {
            let calendar = calendar(period, zone);
            let mut now = at("2011-12-01T00:00:00Z");
            let mut before = calendar.bounds(now);
            while now < at("2012-06-01T00:00:00Z") {
                now = before[2];
                let bounds = calendar.bounds(now);
                assert_eq!(bounds[..3], before[1..], "{zone} {period:?} {now}");
                assert!(bounds.windows(2).all(|two| two[0] < two[1]), "{zone} {bounds:?}");
                assert_eq!(calendar.reckon(bounds[2] - 1), Some(bounds), "{zone}");
                before = bounds;
            }
        }
    }
}

#[test]
fn a_clock_that_is_far_off_is_no_reason_to_stop() {
    let berlin = calendar(Period::Day, "Europe/Berlin");
    for now in [0, 1, 86_400_000, u64::MAX / 4] {
        let bounds = berlin.bounds(now);
        assert!(bounds[1] <= now && now < bounds[2], "{now}: {bounds:?}");
    }
}

#[test]
fn an_unknown_zone_is_answered_with_the_nearest() {
    let near = |zone| Calendar::new(Period::Day, Some(zone)).unwrap_err();
    assert_eq!(near("Europe/Berlni")[0], "Europe/Berlin");
    assert!(near("Berlin").contains(&"Europe/Berlin".to_owned()));
    assert_eq!(near("xxxxxxxxxxxxxxxxxxxx"), Vec::<String>::new());
    assert!(Calendar::new(Period::Day, Some("europe/berlin")).is_ok(), "capitals do not matter");
}
