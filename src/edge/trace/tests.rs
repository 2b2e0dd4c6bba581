use http::{HeaderMap, HeaderName, HeaderValue};

use super::{TRACEPARENT, TRACESTATE, TraceContext};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ENTROPY: (u128, u64) = (0xaa, 0xbb);
const STARTED: &str = "00-000000000000000000000000000000aa-00000000000000bb-01";

fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
        .collect()
}

fn parent_for(traceparent: &str) -> String {
    let headers = headers(&[(TRACEPARENT, traceparent)]);
    let trace = TraceContext::continue_or_start(&headers, ENTROPY);
    trace.traceparent.to_str().unwrap().to_owned()
}

fn state_for(lines: &[&str]) -> Option<String> {
    let mut all = vec![(TRACEPARENT, PARENT)];
    all.extend(lines.iter().map(|line| (TRACESTATE, *line)));
    let trace = TraceContext::continue_or_start(&headers(&all), ENTROPY);
    trace.tracestate.map(|state| state.to_str().unwrap().to_owned())
}

#[test]
fn a_valid_parent_is_continued_with_our_span() {
    let headers = headers(&[(TRACEPARENT, PARENT), (TRACESTATE, "a=1")]);
    let trace = TraceContext::continue_or_start(&headers, ENTROPY);
    assert_eq!(trace.traceparent, "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000bb-01");
    assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(trace.span_id(), "00000000000000bb");
    assert!(trace.sampled());
    assert_eq!(trace.tracestate.unwrap(), "a=1");
}

#[test]
fn defined_flags_are_kept_and_reserved_ones_cleared() {
    for (sent, told, sampled) in [("00", "00", false), ("01", "01", true), ("03", "03", true)] {
        let headers = headers(&[(TRACEPARENT, &format!("{}{sent}", &PARENT[..53]))]);
        let trace = TraceContext::continue_or_start(&headers, ENTROPY);
        assert_eq!(&trace.traceparent.to_str().unwrap()[53..], told);
        assert_eq!(trace.sampled(), sampled);
    }
    assert!(parent_for(&format!("{}fe", &PARENT[..53])).ends_with("-02"));
}

#[test]
fn later_versions_are_read_as_far_as_known() {
    let continued = "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000bb-01";
    for later in ["01", "cc", "fe"] {
        let later = PARENT.replacen("00", later, 1);
        assert_eq!(parent_for(&later), continued);
        assert_eq!(parent_for(&format!("{later}-")), continued);
        assert_eq!(parent_for(&format!("{later}-what-ever")), continued);
        assert_eq!(parent_for(&format!("{later}.what-ever")), STARTED);
        assert_eq!(parent_for(&later[..54]), STARTED);
    }
}

#[test]
fn anything_else_starts_a_trace() {
    let long = format!("{PARENT}-");
    for invalid in [
        "",
        "00",
        &PARENT[..54],
        &long,
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0A",
        "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7.01",
    ] {
        assert_eq!(parent_for(invalid), STARTED, "{invalid}");
    }
    let twice = headers(&[(TRACEPARENT, PARENT), (TRACEPARENT, PARENT), (TRACESTATE, "a=1")]);
    let trace = TraceContext::continue_or_start(&twice, ENTROPY);
    assert_eq!(trace.traceparent, STARTED);
    assert_eq!(trace.tracestate, None, "state without its parent means nothing");
    let none = TraceContext::continue_or_start(&HeaderMap::new(), ENTROPY);
    assert_eq!(none.traceparent, STARTED);
}

#[test]
fn ids_are_never_zero() {
    let trace = TraceContext::continue_or_start(&HeaderMap::new(), (0, 0));
    assert_eq!(trace.traceparent, "00-00000000000000000000000000000001-0000000000000001-01");
    let full = TraceContext::continue_or_start(&HeaderMap::new(), (u128::MAX, u64::MAX));
    assert_eq!(full.trace_id(), "f".repeat(32));
    assert_eq!(full.span_id(), "f".repeat(16));
}

#[test]
fn state_is_kept_within_its_bounds() {
    assert_eq!(state_for(&["a=1,b=2"]), Some("a=1,b=2".to_owned()));
    assert_eq!(state_for(&["a=1", "", "b=2"]).as_deref(), Some("a=1,,b=2"));
    assert_eq!(state_for(&["t@v=x y", "b=2"]).as_deref(), Some("t@v=x y,b=2"));
    assert_eq!(state_for(&[]), None);
    assert_eq!(state_for(&["", " , "]), None);

    let members = |count: usize| (0..count).map(|i| format!("k{i}=v")).collect::<Vec<_>>();
    assert!(state_for(&[&members(32).join(",")]).is_some());
    assert!(state_for(&[&members(33).join(",")]).is_none());

    let half = format!("a={}", "x".repeat(253));
    let full = format!("b={}", "x".repeat(254));
    assert_eq!(half.len() + 1 + full.len(), 512);
    assert_eq!(state_for(&[&half, &full]).map(|state| state.len()), Some(512));
    assert!(state_for(&[&half, &format!("{full}x")]).is_none());
}

#[test]
fn malformed_state_is_dropped() {
    for state in ["a", "=1", "A=1", "a=1,b", "a=", "a=1=2", "a b=1", "a=1;b,c"] {
        assert_eq!(state_for(&[state]), None, "{state}");
    }
}
