use std::sync::Arc;
use std::time::Duration;

use super::{Circuit, CircuitState, Pass};
use crate::model;
use crate::upstream::fixtures::at;

fn circuit() -> Circuit {
    let model = model::CircuitBreaker {
        error_percent: 50,
        min_requests: 4,
        ..model::CircuitBreaker::default()
    };
    Circuit::new(&Arc::from("orders"), &model, &Arc::default()).unwrap()
}

fn opened(second: u64) -> Circuit {
    let circuit = circuit();
    for _ in 0..4 {
        circuit.outcome(true, Pass::Ordinary, at(second));
    }
    circuit
}

#[test]
fn it_opens_at_its_share_and_not_below() {
    let circuit = circuit();
    for failed in [false, false, false, true, true] {
        circuit.outcome(failed, Pass::Ordinary, at(1));
        assert_eq!(circuit.admit(at(1)), Ok(Pass::Ordinary));
    }
    circuit.outcome(true, Pass::Ordinary, at(1));
    assert_eq!(circuit.admit(at(1)), Err(Duration::from_secs(5)), "three of six");
    assert_eq!(circuit.state(at(1)), CircuitState::Open);
}

#[test]
fn few_requests_say_nothing() {
    let circuit = circuit();
    for _ in 0..3 {
        circuit.outcome(true, Pass::Ordinary, at(1));
    }
    assert_eq!(circuit.admit(at(1)), Ok(Pass::Ordinary));
    circuit.outcome(true, Pass::Ordinary, at(12));
    assert_eq!(circuit.admit(at(12)), Ok(Pass::Ordinary), "the others were long ago");
}

#[test]
fn one_trial_passes_after_its_time_and_closes_it() {
    let circuit = opened(10);
    assert_eq!(circuit.admit(at(14)), Err(Duration::from_secs(1)));
    assert_eq!(circuit.state(at(15)), CircuitState::HalfOpen);
    assert_eq!(circuit.admit(at(15)), Ok(Pass::Trial));
    assert_eq!(circuit.admit(at(15)), Err(Duration::from_secs(5)), "one only");
    assert_eq!(circuit.state(at(15)), CircuitState::HalfOpen);
    circuit.outcome(false, Pass::Ordinary, at(15));
    assert!(circuit.admit(at(15)).is_err(), "one that was under way before is no trial");
    circuit.outcome(false, Pass::Trial, at(16));
    assert_eq!(circuit.admit(at(16)), Ok(Pass::Ordinary));
    assert_eq!(circuit.state(at(16)), CircuitState::Closed);
    circuit.outcome(true, Pass::Ordinary, at(16));
    assert_eq!(circuit.admit(at(16)), Ok(Pass::Ordinary), "old failures are forgotten");
    assert_eq!(circuit.opened(), 1);
}

#[test]
fn a_failed_trial_opens_it_anew() {
    let circuit = opened(10);
    assert_eq!(circuit.admit(at(15)), Ok(Pass::Trial));
    circuit.outcome(true, Pass::Trial, at(17));
    assert_eq!(circuit.admit(at(17)), Err(Duration::from_secs(5)));
    assert_eq!(circuit.admit(at(22)), Ok(Pass::Trial));
}

#[test]
fn a_trial_that_never_reports_costs_one_more_pause() {
    let circuit = opened(10);
    assert_eq!(circuit.admit(at(15)), Ok(Pass::Trial));
    assert!(circuit.admit(at(19)).is_err());
    assert_eq!(circuit.admit(at(20)), Ok(Pass::Trial));
}

#[test]
fn without_a_share_there_is_no_circuit() {
    let model = model::CircuitBreaker::default();
    assert!(Circuit::new(&Arc::from("orders"), &model, &Arc::default()).is_none());
}
