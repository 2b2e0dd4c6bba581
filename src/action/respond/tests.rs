use super::*;

fn compile(yaml: &str) -> Result<Answer, Vec<&'static str>> {
    let model: model::Respond = serde_yaml::from_str(yaml).unwrap();
    let mut problems = Problems::default();
    let respond = Respond::compile(&model, ["x-user-id"].into_iter(), "r", &mut problems);
    let codes = problems.0.iter().map(|problem| problem.code).collect();
    respond.map(|respond| respond.answer()).ok_or(codes)
}

#[test]
fn an_answer_is_as_written() {
    let answer = compile("{status: 503, body: closed, headers: {retry-after: \"60\"}}").unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body, "closed");
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers["retry-after"], "60");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let cached = compile("{status: 200, headers: {Cache-Control: max-age=5}}").unwrap();
    assert_eq!(cached.headers["cache-control"], "max-age=5");
    assert!(!cached.headers.contains_key("content-type"), "there is nothing to have a type");
}

#[test]
fn what_cannot_be_sent_is_refused() {
    for (yaml, code) in [
        ("{status: 101}", "respond.status"),
        ("{status: 199}", "respond.status"),
        ("{status: 600}", "respond.status"),
        ("{status: 204, body: x}", "respond.body"),
        ("{status: 304, body: x}", "respond.body"),
        ("{status: 200, contentType: \"a\\r\\nb\"}", "respond.content_type"),
        ("{status: 200, contentType: text}", "respond.content_type"),
        ("{status: 200, headers: {\"a b\": c}}", "respond.header"),
        ("{status: 200, headers: {x-a: \"b\\r\\nc: d\"}}", "respond.header"),
        ("{status: 200, headers: {Content-Length: \"3\"}}", "respond.header"),
        ("{status: 200, headers: {Transfer-Encoding: chunked}}", "respond.header"),
        ("{status: 200, headers: {Connection: close}}", "respond.header"),
        ("{status: 200, headers: {Content-Type: a/b}}", "respond.header"),
        ("{status: 200, headers: {X-User-Id: a}}", "respond.header"),
        ("{status: 200, headers: {X-Forwarded-For: a}}", "respond.header"),
        ("{status: 200, headers: {X-Request-Id: a}}", "respond.header"),
    ] {
        assert_eq!(compile(yaml).err(), Some(vec![code]), "{yaml}");
    }
    assert!(compile("{status: 200}").is_ok() && compile("{status: 599}").is_ok());
    assert!(compile("{status: 204}").is_ok());
}
