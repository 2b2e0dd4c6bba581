use std::str::FromStr as _;

use hickory_resolver::net::{DnsError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::Record;

use super::*;

fn lookup(addresses: &[(&str, u32)]) -> Lookup {
    let name = Name::from_str("orders.test.").unwrap();
    let records: Vec<Record> = addresses
        .iter()
        .map(|(ip, ttl)| {
            let data = RData::from(ip.parse::<IpAddr>().unwrap());
            Record::from_rdata(name.clone(), *ttl, data)
        })
        .collect();
    Lookup::new_with_max_ttl(Query::query(name, RecordType::A), records)
}

fn nothing(code: ResponseCode) -> NetError {
    NoRecords::new(Query::default(), code).into()
}

fn servfail() -> NetError {
    DnsError::ResponseCode(ResponseCode::ServFail).into()
}

fn merged(v4: Result<Lookup, NetError>, v6: Result<Lookup, NetError>) -> Option<(usize, u32)> {
    merge(or_none(v4), or_none(v6)).ok().map(|(addresses, ttl)| (addresses.len(), ttl))
}

#[test]
fn addresses_of_both_kinds_are_merged_with_the_lower_ttl() {
    let (v4, v6) = (|| Ok(lookup(&[("10.0.0.1", 30), ("10.0.0.2", 20)])), || lookup(&[("::1", 9)]));
    assert_eq!(merged(v4(), Ok(v6())), Some((3, 9)));
    assert_eq!(merged(v4(), Err(nothing(ResponseCode::NoError))), Some((2, 20)));
    assert_eq!(merged(v4(), Err(servfail())), Some((2, 20)));
    assert_eq!(merged(Err(NetError::Timeout), Ok(v6())), Some((1, 9)));
}

#[test]
fn no_name_is_an_answer_and_no_server_is_none() {
    let (nx, none) = (
        || Err(nothing(ResponseCode::NXDomain)),
        || Err::<Lookup, _>(nothing(ResponseCode::NoError)),
    );
    assert_eq!(merged(nx(), nx()), Some((0, 0)));
    assert_eq!(merged(none(), none()), Some((0, 0)));
    for failure in [servfail(), NetError::Timeout, NetError::NoConnections] {
        assert_eq!(merged(Err(failure.clone()), nx()), None);
        assert_eq!(merged(none(), Err(failure.clone())), None);
        assert_eq!(merged(Err(failure.clone()), Err(failure)), None);
    }
}

fn target(priority: u16, weight: u32, port: u16, name: &str) -> Target {
    Target { priority, weight, port, name: Name::from_str(name).unwrap() }
}

fn used(records: &[Target]) -> Vec<(String, u16, u32)> {
    targets(records.iter().cloned())
        .into_iter()
        .map(|target| (target.name.to_string(), target.port, target.weight))
        .collect()
}

#[test]
fn targets_of_the_lowest_priority_number_are_used_with_their_weights() {
    let records = [
        target(20, 9, 1, "backup."),
        target(10, 3, 80, "a."),
        target(10, 0, 81, "b."),
        target(11, 9, 1, "c."),
    ];
    assert_eq!(used(&records), [("a.".into(), 80, 3), ("b.".into(), 81, 0)]);
    let even = [target(0, 0, 80, "a."), target(0, 0, 81, "b.")];
    assert_eq!(used(&even), [("a.".into(), 80, 1), ("b.".into(), 81, 1)]);
}

/// RFC 2782: a target of `.` says that the service is decidedly not available.
#[test]
fn a_target_that_is_none_is_left_out_before_priorities_count() {
    assert!(used(&[target(0, 0, 0, ".")]).is_empty());
    let records = [target(0, 1, 80, "."), target(1, 1, 0, "b."), target(2, 5, 82, "c.")];
    assert_eq!(used(&records), [("c.".into(), 82, 5)]);
    assert!(used(&[]).is_empty());
}

#[test]
fn a_question_is_a_name() {
    for name in ["", "10.0.0.1", "::1", "two..dots", &"a".repeat(64)] {
        assert!(Question::new(name, DnsRecord::A, None).is_err(), "{name}");
    }
    for name in ["orders", "orders.internal.", "_http._tcp.orders.internal", "a_b"] {
        assert!(Question::new(name, DnsRecord::Srv, None).is_ok(), "{name}");
    }
    let question = Question::new("orders.internal.", DnsRecord::Srv, None).unwrap();
    assert_eq!(question.to_string(), "srv:orders.internal");
    let server = Some("127.0.0.1:53".parse().unwrap());
    assert!(Question::new("orders", DnsRecord::A, server).unwrap().name.is_fqdn());
    assert!(!Question::new("orders", DnsRecord::A, None).unwrap().name.is_fqdn());
}

#[tokio::test]
async fn the_hosts_file_goes_before_the_dns() {
    let question = Question::new("localhost", DnsRecord::A, None).unwrap();
    let answer = question.ask(Duration::from_secs(2)).await;
    let places = answer.places.unwrap();
    assert!(places.iter().any(|place| place.ip.is_loopback() && &*place.host == "localhost"));
    assert!(matches!(answer.hint, Hint::Ttl(_)));
}
