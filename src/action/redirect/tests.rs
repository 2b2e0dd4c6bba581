use std::borrow::Cow;
use std::net::IpAddr;

use http::Method;

use super::*;

fn compile(yaml: &str, matches: &str) -> Result<Redirect, Vec<&'static str>> {
    let model: model::Redirect = serde_yaml::from_str(yaml).unwrap();
    let matches: model::Match = serde_yaml::from_str(matches).unwrap();
    let mut problems = Problems::default();
    let redirect = Redirect::compile(&model, &matches, "r", &mut problems);
    redirect.ok_or_else(|| problems.0.iter().map(|problem| problem.code).collect())
}

/// Where a request for `scheme://host/path?query` is sent.
fn sent(redirect: &Redirect, scheme: Scheme, host: &'static str, target: &str) -> Option<String> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static(host));
    let view = RequestView {
        method: &Method::GET,
        scheme,
        host: read_host_port(host).unwrap().host,
        port: None,
        path: Cow::Borrowed(path),
        query,
        headers: &headers,
        client: IpAddr::from([127, 0, 0, 1]),
        peer_trusted: false,
        certificate: None,
    };
    let answer = redirect.answer(&view).ok()?;
    Some(answer.headers[header::LOCATION].to_str().unwrap().to_owned())
}

#[test]
fn what_is_not_given_stays() {
    for (yaml, expected) in [
        ("{scheme: https}", "https://a.example/x?q=1"),
        ("{host: b.example}", "http://b.example/x?q=1"),
        ("{host: \"B.example:8443\", scheme: https}", "https://b.example:8443/x?q=1"),
        ("{path: /y}", "/y?q=1"),
        ("{path: /y, keepQuery: false}", "/y"),
        ("{keepQuery: false}", "/x"),
        ("{scheme: https, host: b.example, path: /, keepQuery: false}", "https://b.example/"),
    ] {
        let redirect = compile(yaml, "{}").unwrap();
        let told = sent(&redirect, Scheme::Http, "a.example:8080", "/x?q=1");
        assert_eq!(told.as_deref(), Some(expected), "{yaml}");
    }
}

#[test]
fn a_client_that_is_there_already_is_not_sent_round() {
    let https = compile("{scheme: https}", "{}").unwrap();
    assert!(sent(&https, Scheme::Https, "a.example", "/x").is_none());
    assert!(sent(&https, Scheme::Http, "a.example", "/x").is_some());
    let host = compile("{host: www.example}", "{}").unwrap();
    assert!(sent(&host, Scheme::Http, "www.example", "/").is_none());
    assert!(sent(&host, Scheme::Http, "www.example:8080", "/").is_some());
    let path = compile("{path: /y}", "{}").unwrap();
    assert!(sent(&path, Scheme::Http, "a.example", "/y?q").is_none());
    let bare = compile("{path: /y, keepQuery: false}", "{}").unwrap();
    assert_eq!(sent(&bare, Scheme::Http, "a.example", "/y?q").as_deref(), Some("/y"));
    assert!(sent(&bare, Scheme::Http, "a.example", "/y").is_none());
}

#[test]
fn only_redirects_for_good_are_kept() {
    for (status, expected) in
        [(301, FOR_GOOD), (308, FOR_GOOD), (302, NO_STORE), (303, NO_STORE), (307, NO_STORE)]
    {
        let redirect = compile(&format!("{{status: {status}, path: /y}}"), "{}").unwrap();
        let view = RequestView {
            method: &Method::HEAD,
            scheme: Scheme::Http,
            host: Cow::Borrowed("a.example"),
            port: None,
            path: Cow::Borrowed("/x"),
            query: None,
            headers: &HeaderMap::new(),
            client: IpAddr::from([127, 0, 0, 1]),
            peer_trusted: false,
            certificate: None,
        };
        let answer = redirect.answer(&view).unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.headers[header::CACHE_CONTROL], expected);
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (yaml, matches, code) in [
        ("{}", "{}", "redirect.loop"),
        ("{status: 302}", "{pathPrefix: /a}", "redirect.loop"),
        ("{path: /a}", "{path: /a}", "redirect.loop"),
        ("{path: /a, keepQuery: false}", "{path: /a}", "redirect.loop"),
        ("{host: A.example}", "{host: a.example}", "redirect.loop"),
        ("{status: 300, path: /a}", "{}", "redirect.value"),
        ("{status: 200, path: /a}", "{}", "redirect.value"),
        ("{scheme: ftp}", "{}", "redirect.value"),
        ("{host: \"a.example/evil\"}", "{}", "redirect.value"),
        ("{host: \"a b\"}", "{}", "redirect.value"),
        ("{path: a}", "{}", "redirect.value"),
        ("{path: //evil.example}", "{}", "redirect.value"),
        ("{path: \"/a?b\"}", "{}", "redirect.value"),
        ("{path: \"/a\\r\\nset-cookie: x\"}", "{}", "redirect.value"),
    ] {
        assert_eq!(compile(yaml, matches).err(), Some(vec![code]), "{yaml}");
    }
    assert!(compile("{path: /a}", "{path: /b}").is_ok());
    assert!(compile("{path: /a}", "{pathPrefix: /a}").is_ok(), "other paths are sent there");
    assert!(compile("{scheme: https}", "{}").is_ok());
}
