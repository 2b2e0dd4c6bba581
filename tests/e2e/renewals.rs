//! Stale answers that are renewed in the background (RFC 5861): who is asked, how often, as whom.

use tidegate_kit::{
    Gateway, Habit, Issuer, Origin, Outcome, Request, Response, Result, send, wait,
};

use crate::{api, gateway, has_keys, open_route, provider};

/// Fresh for a second, then usable while it is renewed for the rest of the test.
const SWR: &str = "cc=max-age%3D1%2C+stale-while-revalidate%3D600";

async fn open() -> Result<(Origin, Gateway)> {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route("cache: {ttl: 60s}");
    let gateway = gateway(config).start().await?;
    Ok((origin, gateway))
}

/// Sends a request until a stale entry answers it. Fresh ones do until then.
async fn stale(gateway: &Gateway, request: &Request) -> Result<Response> {
    stale_after(gateway, request, &mut 0).await
}

/// The same, and counts what was sent.
async fn stale_after(gateway: &Gateway, request: &Request, sent: &mut u32) -> Result<Response> {
    wait::until("a stale answer", async || {
        *sent += 1;
        let response = gateway.send(request).await.ok()?;
        let did = response.header("x-cache").map(str::to_owned);
        assert!(matches!(did.as_deref(), Some("HIT" | "STALE")), "{response}");
        (did.as_deref() == Some("STALE")).then_some(response)
    })
    .await
}

/// Whether this many requests were counted and logged, and nothing besides.
async fn were_sent(gateway: &Gateway, sent: u32) -> Result<()> {
    gateway.settled().await?;
    wait::until("an access log line for each request", async || {
        let lines = gateway.access_lines().ok()?;
        assert!(lines.len() <= sent as usize, "a renewal is not logged");
        (lines.len() == sent as usize).then_some(())
    })
    .await?;
    let counted = gateway.metric("tidegate_requests_total", &[("route", "all")]).await?;
    assert!((counted - f64::from(sent)).abs() < 0.1, "a renewal is no request: {counted}/{sent}");
    Ok(())
}

async fn renewed(gateway: &Gateway, outcome: &str, count: f64) -> Result<()> {
    let labels = [("route", "all"), ("outcome", outcome)];
    let reached = |value: f64| value > count - 0.5;
    gateway.metric_until("tidegate_cache_renewals_total", &labels, reached).await.map(|_| ())
}

/// A slow service keeps nobody waiting, and is asked once.
#[tokio::test]
async fn a_stale_entry_answers_at_once_and_is_confirmed_once() -> Outcome {
    let (origin, gateway) = open().await?;
    origin.release("x");
    let request = Request::get(&format!("/hold/x?{SWR}&etag=%22v1%22"));
    gateway.send(&request).await?.expect(200)?;
    origin.hold("x");
    let mut sent = 0;
    let first = stale_after(&gateway, &request, &mut sent).await?;
    assert_eq!(first.header("x-serial"), Some("1"));
    origin.arrived(2).await?;
    for _ in 0..5 {
        let response = send(gateway.address(), &request).await?.expect(200)?;
        assert_eq!(response.header("x-cache"), Some("STALE"));
        sent += 1;
    }
    assert_eq!(origin.total(), 2, "one renewal for all");
    let asked = origin.last().unwrap();
    assert_eq!((asked.method.as_str(), asked.header("if-none-match")), ("GET", Some("\"v1\"")));
    origin.release("x");
    renewed(&gateway, "renewed", 1.0).await?;
    let fresh = gateway.send(&request).await?.expect(200)?;
    assert_eq!(fresh.header("x-cache"), Some("HIT"), "{fresh}");
    assert_eq!(fresh.json()?["serial"], 1, "the content is the first one");
    assert_eq!(origin.total(), 2);
    were_sent(&gateway, sent + 2).await?;
    Ok(())
}

#[tokio::test]
async fn another_answer_takes_the_place_of_the_stale_one() -> Outcome {
    let (origin, gateway) = open().await?;
    let request = Request::get(&format!("/x?{SWR}"));
    gateway.send(&request).await?.expect(200)?;
    assert_eq!(stale(&gateway, &request).await?.json()?["serial"], 1);
    renewed(&gateway, "replaced", 1.0).await?;
    let next = gateway.send(&request).await?.expect(200)?;
    assert_ne!(next.json()?["serial"], 1, "{next}");
    assert!(origin.total() >= 2);
    Ok(())
}

/// Neither the entry nor the way to it is lost.
#[tokio::test]
async fn an_entry_outlives_failed_renewals() -> Outcome {
    let (origin, gateway) = open().await?;
    let request = Request::get(&format!("/x?{SWR}"));
    gateway.send(&request).await?.expect(200)?;
    for (round, habit) in [(1.0, Habit::Status(503)), (2.0, Habit::Reset)] {
        origin.set_habit(habit);
        assert_eq!(stale(&gateway, &request).await?.json()?["serial"], 1);
        renewed(&gateway, "failed", round).await?;
    }
    origin.set_habit(Habit::Scripted);
    assert_eq!(stale(&gateway, &request).await?.json()?["serial"], 1);
    renewed(&gateway, "replaced", 1.0).await?;
    assert_ne!(gateway.send(&request).await?.expect(200)?.json()?["serial"], 1);
    Ok(())
}

/// What must not be kept any more is not used any more.
#[tokio::test]
async fn an_entry_goes_where_the_service_takes_it_back() -> Outcome {
    let (origin, gateway) = open().await?;
    let request = Request::get("/page");
    origin.publish("for all", "max-age=1, stale-while-revalidate=600");
    gateway.send(&request).await?.expect(200)?;
    origin.publish("for nobody", "no-store");
    assert_eq!(stale(&gateway, &request).await?.text(), "for all");
    renewed(&gateway, "dropped", 1.0).await?;
    assert_eq!(gateway.send(&request).await?.expect(200)?.text(), "for nobody");
    let entries = gateway.metric("tidegate_cache_entries", &[]).await?;
    assert!(entries < 0.5, "{entries}");
    Ok(())
}

/// Whatever part of an answer a client wants, the whole is fetched.
#[tokio::test]
async fn a_renewal_asks_for_the_whole() -> Outcome {
    let (origin, gateway) = open().await?;
    let target = format!("/bytes/2000?{SWR}");
    gateway.get(&target).await?.expect(200)?;
    let part = Request::get(&target)
        .header("range", "bytes=0-9")
        .header("if-none-match", "\"other\"")
        .header("x-other", "kept");
    assert_eq!(stale(&gateway, &part).await?.expect(206)?.body.len(), 10);
    renewed(&gateway, "replaced", 1.0).await?;
    let asked = origin.last().unwrap();
    assert_eq!((asked.method.as_str(), asked.header("x-other")), ("GET", Some("kept")));
    assert_eq!((asked.header("range"), asked.header("if-none-match")), (None, None));
    assert_eq!(gateway.get(&target).await?.expect(200)?.body.len(), 2000);
    let head = Request::new("HEAD", &target);
    assert!(stale(&gateway, &head).await?.expect(200)?.body.is_empty());
    renewed(&gateway, "replaced", 2.0).await?;
    assert_eq!(origin.last().unwrap().method, "GET");
    assert_eq!(gateway.get(&target).await?.expect(200)?.body.len(), 2000);
    Ok(())
}

/// It is the client's request with the client's proved identity, and with nothing that the client
/// only claims; and it is neither authenticated nor limited again.
#[tokio::test]
async fn a_renewal_is_asked_for_as_its_caller() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let config = api(&[origin.address()])
        + &provider(&issuer)
        + "routes:\n  - {name: all, match: {pathPrefix: /}, upstream: {service: api}, \
           policies: {auth: required, cache: {ttl: 60s, shared: true}}}\n";
    let gateway = gateway(config).start().await?;
    has_keys(&gateway).await?;
    let target = "/x?cc=public%2C+max-age%3D1%2C+stale-while-revalidate%3D600";
    let of = |user: &str| {
        let token = issuer.token().subject(user).tenant("acme").sign();
        token.map(|token| {
            Request::get(target).bearer(&token).header("x-user-id", "mallory").header("x-a", "1")
        })
    };
    gateway.send(&of("alice")?).await?.expect(200)?;
    let mut sent = 0;
    stale_after(&gateway, &of("bob")?, &mut sent).await?;
    renewed(&gateway, "replaced", 1.0).await?;
    let asked = origin.last().unwrap();
    assert_eq!((asked.header("x-user-id"), asked.count("x-user-id")), (Some("bob"), 1));
    assert_eq!((asked.header("x-tenant-id"), asked.header("x-a")), (Some("acme"), Some("1")));
    were_sent(&gateway, sent + 1).await?;
    Ok(())
}
