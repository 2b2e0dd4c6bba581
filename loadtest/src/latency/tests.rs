use super::*;

fn outcome(ms: u64) -> Outcome {
    let mut outcome = Outcome::new().unwrap();
    for _ in 0..100 {
        outcome.latency.note(Duration::from_millis(ms));
    }
    outcome.due = 100;
    outcome
}

#[test]
fn what_is_added_is_the_median_of_the_rounds() {
    let measured = Measured {
        target: Target::Plain,
        peak: Some(1000.0),
        rate: 500,
        direct: outcome(2),
        through: outcome(5),
        rounds: vec![
            (outcome(2), outcome(5)),
            (outcome(2), outcome(40)),
            (outcome(9), outcome(11)),
        ],
        busy: 0.5,
    };
    assert!((measured.added_ms(50.0) - 3.0).abs() < 0.05);
    assert!((measured.worst_ms(50.0) - 38.0).abs() < 0.5);
    let [direct, through] = measured.ways_ms(50.0);
    assert!((direct - 2.0).abs() < 0.05 && (through - 11.0).abs() < 0.05);
    let value = measured.to_json();
    assert!((value["addedMs"]["p99.9"].as_f64().unwrap() - 3.0).abs() < 0.05);
    assert_eq!(value["through"]["requests"], 100);
    assert_eq!(value["rounds"].as_array().unwrap().len(), 3);
}

#[test]
fn budgets_are_read_with_their_unit() {
    let budget = Budget::read("p99.9=250us").unwrap();
    assert_eq!(budget.name, "p99.9");
    assert!((budget.most_ms - 0.25).abs() < 1e-9);
    let mut all = Budget::DEFAULT.to_vec();
    Budget::read("p99=7ms").unwrap().replace(&mut all);
    assert_eq!(all.len(), 2);
    assert!(all.iter().any(|budget| budget.name == "p99" && budget.most_ms > 6.9));
    for bad in ["p99", "p98=1ms", "p99=1", "p99=0ms", "p99=-1ms", "p99=NaNms"] {
        assert!(Budget::read(bad).is_err(), "{bad}");
    }
}

#[test]
fn half_of_a_peak_is_a_whole_number() {
    assert_eq!(half(35_001.0).unwrap(), 17_500);
    assert_eq!(half(0.2).unwrap(), 1);
}
