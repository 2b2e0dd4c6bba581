use super::*;

fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn read(name: &'static str, value: &str) -> Option<Duration> {
    DeadlineHeader::named(name).unwrap().read(&headers(name, &[value]))
}

#[test]
fn milliseconds_are_digits_and_nothing_else() {
    assert_eq!(read("x-deadline-ms", "1500"), Some(Duration::from_millis(1500)));
    assert_eq!(read("x-deadline-ms", " 0 "), Some(Duration::ZERO));
    assert_eq!(
        read("x-deadline-ms", "9999999999999"),
        Some(Duration::from_millis(9_999_999_999_999))
    );
    for garbage in ["", "-1", "+1", "1.5", "1s", "1500m", "0x10", "10000000000000", "ten", "1 2"] {
        assert_eq!(read("x-deadline-ms", garbage), None, "{garbage:?}");
    }
}

/// gRPC over HTTP/2, `Timeout`: at most eight digits, then a unit.
#[test]
fn grpc_timeouts_have_a_unit() {
    for (value, expected) in [
        ("1H", Duration::from_hours(1)),
        ("2M", Duration::from_mins(2)),
        ("3S", Duration::from_secs(3)),
        ("99999999m", Duration::from_millis(99_999_999)),
        ("5u", Duration::from_micros(5)),
        ("6n", Duration::from_nanos(6)),
        ("0n", Duration::ZERO),
    ] {
        assert_eq!(read("grpc-timeout", value), Some(expected), "{value}");
    }
    assert_eq!(read("grpc-timeout", "99999999H").unwrap().as_secs(), 359_999_996_400);
    for garbage in ["", "S", "100", "1s", "1h", "-1S", "100000000S", "1.5S", "1 S", "1SS", "1ü"] {
        assert_eq!(
            DeadlineHeader::named("grpc-timeout").unwrap().read(&{
                let mut headers = HeaderMap::new();
                let value = HeaderValue::from_bytes(garbage.as_bytes()).unwrap();
                headers.insert("grpc-timeout", value);
                headers
            }),
            None,
            "{garbage:?}"
        );
    }
}

#[test]
fn two_deadlines_are_none() {
    let header = DeadlineHeader::named("x-deadline-ms").unwrap();
    assert_eq!(header.read(&headers("x-deadline-ms", &["1", "2"])), None);
    assert_eq!(header.read(&HeaderMap::new()), None);
}

#[test]
fn what_is_written_can_be_read_and_is_never_nothing() {
    for name in ["x-deadline-ms", "grpc-timeout"] {
        let header = DeadlineHeader::named(name).unwrap();
        for (left, told) in [(1500, 1500), (1, 1), (0, 1)] {
            let value = header.write(Duration::from_millis(left));
            let headers = HeaderMap::from_iter([(header.name().clone(), value)]);
            assert_eq!(header.read(&headers), Some(Duration::from_millis(told)), "{name} {left}");
        }
        assert_eq!(header.write(Duration::from_micros(1999)).as_bytes()[0], b'1');
    }
    let longest = DeadlineHeader::named("grpc-timeout").unwrap().write(Duration::MAX);
    assert_eq!(longest, "99999999m");
}

#[test]
fn names_that_mean_something_else_are_refused() {
    for name in ["host", "Content-Length", "", "a b", "x-request-id", "connection"] {
        assert_eq!(DeadlineHeader::named(name), None, "{name:?}");
    }
}

#[test]
fn limits_out_of_range_are_problems() {
    let compiled = |yaml: &str| {
        let mut problems = Problems::default();
        let policies =
            crate::model::Policies { attempt_timeout_ms: yaml.parse().ok(), ..Default::default() };
        let policy = DeadlinePolicy::compile(&policies, "p", &mut problems);
        (policy.attempt, problems.0.len())
    };
    assert_eq!(compiled("1"), (Some(Duration::from_millis(1)), 0));
    assert_eq!(compiled("30000"), (Some(Duration::from_secs(30)), 0));
    assert_eq!(compiled("0").1, 1);
    assert_eq!(compiled("30001").1, 1);
}
