use super::*;

/// An entry in the shape that Consul documents, shortened to what could matter.
fn entry(service: &str, checks: &[&str]) -> String {
    let checks: Vec<String> = checks
        .iter()
        .map(|status| format!("{{\"Node\":\"n\",\"CheckID\":\"c\",\"Status\":\"{status}\"}}"))
        .collect();
    format!(
        "{{\"Node\":{{\"ID\":\"40e4\",\"Node\":\"n\",\"Address\":\"192.0.2.1\",\"Meta\":null}},\
         \"Service\":{{\"ID\":\"a\",\"Service\":\"orders\",\"Tags\":[\"v1\"],{service}}},\
         \"Checks\":[{}]}}",
        checks.join(",")
    )
}

fn places(entries: &[String]) -> Result<Vec<(String, Option<u16>, u32)>, String> {
    let document = format!("[{}]", entries.join(","));
    let places = read(document.as_bytes()).map_err(|refused| refused.to_string())?;
    Ok(places.into_iter().map(|place| (place.ip.to_string(), place.port, place.weight)).collect())
}

const WHOLE: &str = "\"Address\":\"10.0.0.7\",\"Port\":8080,\"Weights\":{\"Passing\":3}";

#[test]
fn address_and_port_are_those_of_the_service() {
    let found = places(&[entry(WHOLE, &["passing", "passing"])]).unwrap();
    assert_eq!(found, [("10.0.0.7".into(), Some(8080), 3)]);
}

#[test]
fn what_an_entry_leaves_out() {
    for (service, expected) in [
        ("\"Address\":\"\",\"Port\":80", ("192.0.2.1", Some(80), 1)),
        ("\"Port\":80", ("192.0.2.1", Some(80), 1)),
        ("\"Address\":\"2001:db8::7\",\"Port\":0", ("2001:db8::7", None, 1)),
        ("\"Port\":80,\"Weights\":{\"Passing\":0}", ("192.0.2.1", Some(80), 0)),
        ("\"Port\":80,\"Weights\":{\"Passing\":-4}", ("192.0.2.1", Some(80), 0)),
        ("\"Port\":80,\"Weights\":{\"Passing\":70000}", ("192.0.2.1", Some(80), 65_535)),
    ] {
        let (ip, port, weight) = expected;
        let found = places(&[entry(service, &["passing"])]).unwrap();
        assert_eq!(found, [(ip.into(), port, weight)], "{service}");
    }
    assert_eq!(places(&[entry(WHOLE, &[])]).unwrap().len(), 1, "without checks there is no doubt");
}

/// R050, whatever the agent's filter let through.
#[test]
fn an_instance_that_does_not_pass_every_check_is_left_out() {
    for status in ["critical", "warning", "maintenance", ""] {
        let found = places(&[entry(WHOLE, &["passing", status]), entry(WHOLE, &["passing"])]);
        assert_eq!(found.unwrap().len(), 1, "{status}");
    }
    assert_eq!(places(&[entry(WHOLE, &["critical"])]), Ok(Vec::new()));
    assert_eq!(places(&[]), Ok(Vec::new()));
}

#[test]
fn names_are_left_out_and_nothing_but_names_is_no_answer() {
    let named = entry("\"Address\":\"db.example.com\",\"Port\":80", &["passing"]);
    assert_eq!(places(&[named.clone(), entry(WHOLE, &["passing"])]).unwrap().len(), 1);
    assert!(places(&[named]).is_err());
}

#[test]
fn what_is_not_a_list_of_instances_is_refused_whole() {
    let good = entry(WHOLE, &["passing"]);
    for document in [
        "",
        "null",
        "{}",
        "<html></html>",
        "[1]",
        "[{}]",
        &format!("[{good}"),
        &format!("[{good}] x"),
        &format!("[{good},{{\"Node\":{{}},\"Service\":{{\"Port\":80}}}}]"),
        &format!("[{}]", good.replace("8080", "80800")),
        &format!("[{}]", good.replace("8080", "-1")),
        &format!("[{}]", good.replace("8080", "\"http\"")),
    ] {
        assert!(read(document.as_bytes()).is_err(), "{document}");
    }
    let many = vec![good; INSTANCES_MAX + 1];
    assert!(places(&many).is_err());
    assert_eq!(places(&many[1..]).unwrap().len(), INSTANCES_MAX);
}

#[test]
fn an_index_that_goes_back_begins_anew() {
    assert_eq!(next_index(0, 7), 7);
    assert_eq!(next_index(7, 7), 7);
    assert_eq!(next_index(7, 8), 8);
    assert_eq!(next_index(7, 6), 0);
    assert_eq!(next_index(7, 0), 0);
}

fn model(url: &str) -> ConsulSource {
    ConsulSource {
        url: url.to_owned(),
        service: "orders".to_owned(),
        tag: Some("v 1".to_owned()),
        datacenter: Some("eu&x".to_owned()),
        token: None,
    }
}

#[test]
fn the_query_says_what_is_wanted() {
    let catalog = Catalog::new(&model("http://127.0.0.1:8500"), None).unwrap();
    let wait = Duration::from_secs(10);
    let base = "http://127.0.0.1:8500/v1/health/service/orders?passing=true&tag=v+1&dc=eu%26x";
    assert_eq!(catalog.query(0, wait).as_str(), base);
    assert_eq!(catalog.query(7, wait).as_str(), format!("{base}&index=7&wait=10000ms"));
    assert_eq!(catalog.to_string(), "consul:orders tag=v 1 dc=eu&x");

    let odd =
        ConsulSource { service: "a/b?c".to_owned(), tag: None, datacenter: None, ..model("") };
    let odd = ConsulSource { url: "https://consul.example/base/".to_owned(), ..odd };
    let url = Catalog::new(&odd, None).unwrap().query(0, wait);
    assert_eq!(url.path(), "/base/v1/health/service/a%2Fb%3Fc");
}

#[test]
fn settings_that_cannot_be_are_refused_by_key() {
    for url in [
        "",
        "consul:8500",
        "ftp://consul",
        "http://",
        "http://user@consul",
        "http://:secret@consul",
        "http://consul/?dc=eu",
        "http://consul/#x",
    ] {
        assert_eq!(Catalog::new(&model(url), None).unwrap_err().0, "url", "{url}");
    }
    let nameless = ConsulSource { service: String::new(), ..model("http://consul") };
    assert_eq!(Catalog::new(&nameless, None).unwrap_err().0, "service");
    let wrong = Catalog::new(&model("http://consul"), Some("two\nlines")).unwrap_err();
    assert_eq!(wrong.0, "token");
    assert!(!wrong.1.contains("lines"));
}

#[test]
fn a_token_is_never_shown_and_makes_another_source() {
    let with = |token| Catalog::new(&model("http://consul"), Some(token)).unwrap();
    let shown = format!("{:?} {0}", with("s3cret"));
    assert!(!shown.contains("s3cret"), "{shown}");
    assert_eq!(with("a"), with("a"));
    assert_ne!(with("a"), with("b"));
}
