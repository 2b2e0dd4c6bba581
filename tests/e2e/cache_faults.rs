//! The cache when something breaks while an answer is on its way.

use std::time::Duration;

use tidegate_kit::{
    Exchange, Gateway, ManualOrigin, Origin, Outcome, RawConnection, Request, Response, Result,
    wait,
};

use crate::{api, gateway, open_route};

const MEBIBYTE: usize = 1 << 20;

/// So much of a body is passed on at once; less may wait for more.
const PIECE: usize = 128 << 10;

/// An answer that may be kept, on a connection that is good for one: an origin that is played
/// hears no second request on it.
const OK: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\nconnection: close\r\n";

/// A gateway in front of an origin that the test plays, caching with these settings.
async fn played(cache: &str) -> Result<(ManualOrigin, Gateway)> {
    let origin = ManualOrigin::start().await?;
    let config = api(&[origin.address()]) + &open_route(&format!("cache: {cache}"));
    Ok((origin, gateway(config).start().await?))
}

/// A gateway in front of an origin that does what paths say, caching with these settings.
async fn scripted(cache: &str) -> Result<(Origin, Gateway)> {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route(&format!("cache: {cache}"));
    Ok((origin, gateway(config).start().await?))
}

/// A client whose request is on its way.
async fn client(gateway: &Gateway, target: &str) -> Result<RawConnection> {
    let mut connection = RawConnection::connect(gateway.address()).await?;
    // The host that `Gateway::get` asks: another one would have entries of its own.
    let host = gateway.address().to_string();
    connection.send(&Request::get(target).to_bytes(&host)).await?;
    Ok(connection)
}

/// Waits until the gateway has this many requests under way.
async fn under_way(gateway: &Gateway, count: u32) -> Result<()> {
    let enough = f64::from(count) - 0.5;
    gateway.metric_until("tidegate_requests_in_flight", &[], |now| now > enough).await.map(|_| ())
}

/// The beginning of an answer with a body of this length, which may be kept.
fn head(length: usize) -> String {
    format!("{OK}content-length: {length}\r\n\r\n")
}

/// Answers whatever else is asked with this body, until the test ends; counts.
fn answer_the_rest(
    origin: ManualOrigin,
    body: &'static str,
) -> tokio::sync::watch::Receiver<usize> {
    let (asked, count) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        let mut open: Vec<Exchange> = Vec::new();
        loop {
            let Ok(mut exchange) = origin.request().await else { continue };
            asked.send_modify(|count| *count += 1);
            let _ = exchange.send(head(body.len()) + body).await;
            open.push(exchange);
        }
    });
    count
}

/// What a client got that must get all or nothing: half of an answer may not look like a whole one.
fn whole_or_broken(got: Result<Response>, whole: &str) {
    if let Ok(response) = got {
        assert_eq!((response.status, response.text().as_str()), (200, whole), "{response}");
    }
}

/// Nothing is kept of an answer that broke off, and nobody takes it for a whole one.
#[tokio::test]
async fn a_service_that_dies_within_an_answer_leaves_nothing_behind() -> Outcome {
    let (origin, gateway) = played("{ttl: 60s}").await?;
    let mut first = client(&gateway, "/x").await?;
    let mut filling = origin.request().await?;
    filling.send(head(2 * PIECE) + &"x".repeat(PIECE)).await?;
    assert!(first.peek().await?.starts_with("HTTP/1.1 200 "));
    let mut follower = client(&gateway, "/x").await?;
    under_way(&gateway, 2).await?;
    drop(filling);
    let asked = answer_the_rest(origin, "the second answer");
    let broken = first.response().await;
    assert!(broken.is_err(), "half of an answer looked like a whole one: {broken:?}");
    whole_or_broken(follower.response().await, "the second answer");
    let next = gateway.get("/x").await?.expect(200)?;
    assert_eq!(next.text(), "the second answer");
    assert!(*asked.borrow() >= 1, "nobody asked again");
    assert_eq!(gateway.get("/x").await?.header("x-cache"), Some("HIT"));
    Ok(())
}

/// The same where the length of the answer was not known.
#[tokio::test]
async fn a_service_that_dies_within_a_chunk_leaves_nothing_behind() -> Outcome {
    let (origin, gateway) = played("{ttl: 60s}").await?;
    let mut first = client(&gateway, "/x").await?;
    let mut filling = origin.request().await?;
    filling.send(OK.to_owned() + "transfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n").await?;
    assert!(first.peek().await?.starts_with("HTTP/1.1 200 "));
    let mut follower = client(&gateway, "/x").await?;
    under_way(&gateway, 2).await?;
    drop(filling);
    let _asked = answer_the_rest(origin, "the second answer");
    let broken = first.response().await;
    assert!(broken.is_err(), "half of an answer looked like a whole one: {broken:?}");
    whole_or_broken(follower.response().await, "the second answer");
    assert_eq!(gateway.get("/x").await?.expect(200)?.text(), "the second answer");
    Ok(())
}

/// Who asked first may leave: others wait for the answer, and it is kept.
#[tokio::test]
async fn a_client_that_leaves_takes_nothing_from_others() -> Outcome {
    let (origin, gateway) = played("{ttl: 60s}").await?;
    let mut first = client(&gateway, "/x").await?;
    let mut filling = origin.request().await?;
    filling.send(head(3 * PIECE) + &"x".repeat(PIECE)).await?;
    assert!(first.peek().await?.starts_with("HTTP/1.1 200 "));
    drop(first);
    let mut follower = client(&gateway, "/x").await?;
    // Nobody else is there who could be asked: a second request would wait for ever.
    filling.send("y".repeat(PIECE)).await?;
    filling.send("z".repeat(PIECE)).await?;
    let whole = follower.response().await?.expect(200)?;
    assert!(whole.body.starts_with(b"x") && whole.body.ends_with(b"z"));
    assert_eq!(whole.body.len(), 3 * PIECE);
    let hit = gateway.get("/x").await?.expect(200)?;
    assert_eq!(hit.header("x-cache"), Some("HIT"));
    assert_eq!(hit.body, whole.body);
    Ok(())
}

/// The same with nobody else waiting.
#[tokio::test]
async fn an_answer_that_nobody_waits_for_any_more_is_kept() -> Outcome {
    let (origin, gateway) = played("{ttl: 60s}").await?;
    let mut first = client(&gateway, "/x").await?;
    let mut filling = origin.request().await?;
    filling.send(head(8 * PIECE) + &"x".repeat(PIECE)).await?;
    assert!(first.peek().await?.starts_with("HTTP/1.1 200 "));
    drop(first);
    // Long enough that the gateway cannot but notice that nobody reads.
    filling.send("x".repeat(7 * PIECE)).await?;
    let hit = gateway.get("/x").await?.expect(200)?;
    assert_eq!(hit.header("x-cache"), Some("HIT"), "{}", hit.status);
    assert_eq!(hit.body.len(), 8 * PIECE);
    Ok(())
}

/// However many want what is not there, the service is asked once.
#[tokio::test]
async fn a_thousand_misses_are_one_request() -> Outcome {
    const CLIENTS: u32 = 1_000;
    let (origin, gateway) = scripted("{ttl: 60s, lockTimeout: 60s}").await?;
    let target = "/hold/it?cc=max-age%3D60";
    let mut clients = vec![client(&gateway, target).await?];
    origin.arrived(1).await?;
    for _ in 1..CLIENTS {
        clients.push(client(&gateway, target).await?);
    }
    under_way(&gateway, CLIENTS).await?;
    origin.release("it");
    for connection in &mut clients {
        let response = connection.response().await?.expect(200)?;
        assert_eq!(response.header("x-serial"), Some("1"), "{response}");
    }
    assert_eq!(origin.total(), 1);
    Ok(())
}

/// A fetch that goes nowhere holds others up for as long as the route says, and no longer.
#[tokio::test]
async fn a_stuck_fetch_does_not_hold_the_others() -> Outcome {
    const CLIENTS: usize = 20;
    let (origin, gateway) = played("{ttl: 60s, lockTimeout: 300ms}").await?;
    let mut first = client(&gateway, "/x").await?;
    let mut stuck = origin.request().await?;
    let asked = answer_the_rest(origin, "another answer");
    let mut others = Vec::new();
    for _ in 0..CLIENTS {
        others.push(client(&gateway, "/x").await?);
    }
    for other in &mut others {
        assert_eq!(other.response().await?.expect(200)?.text(), "another answer");
    }
    assert!((1..=CLIENTS).contains(&*asked.borrow()), "asked {} times", *asked.borrow());
    // Who was stuck is answered all the same once its service comes round.
    stuck.send(head(4) + "late").await?;
    assert_eq!(first.response().await?.expect(200)?.text(), "late");
    Ok(())
}

/// Who reads slowly keeps nobody waiting, and gets everything in the end.
#[tokio::test]
async fn a_slow_follower_keeps_nobody_waiting() -> Outcome {
    const LENGTH: usize = 6 * MEBIBYTE;
    let (origin, gateway) = played("{ttl: 60s, maxBodyBytes: 8MiB}").await?;
    let mut first = client(&gateway, "/x").await?;
    let mut filling = origin.request().await?;
    filling.send(head(LENGTH) + &"x".repeat(MEBIBYTE)).await?;
    assert!(first.peek().await?.starts_with("HTTP/1.1 200 "));
    // It does not read: what is sent to it fills its socket, and then waits.
    let mut follower = client(&gateway, "/x").await?;
    under_way(&gateway, 2).await?;
    let rest =
        tokio::spawn(
            async move { filling.send("x".repeat(LENGTH - MEBIBYTE)).await.map(|()| filling) },
        );
    assert_eq!(first.response().await?.expect(200)?.body.len(), LENGTH);
    let _filling = wait::within("the rest of the answer", rest).await?.unwrap()?;
    assert_eq!(gateway.get("/x").await?.expect(200)?.body.len(), LENGTH);
    assert_eq!(follower.response().await?.expect(200)?.body.len(), LENGTH);
    Ok(())
}

/// An answer that turns out too long to keep reaches everybody whole, who came first and who came
/// later; it is not kept.
#[tokio::test]
async fn an_answer_that_turns_out_too_long_reaches_everybody_whole() -> Outcome {
    let (origin, gateway) = scripted("{ttl: 60s, maxBodyBytes: 16KiB}").await?;
    for serial in ["1", "2"] {
        let long = gateway.get("/chunks/64?cc=max-age%3D60").await?.expect(200)?;
        assert_eq!(long.body.len(), 64 << 10);
        assert_eq!(long.header("x-serial"), Some(serial), "it was kept");
    }
    assert_eq!(origin.total(), 2);

    let (origin, gateway) = played("{ttl: 60s, maxBodyBytes: 16KiB}").await?;
    let begin = OK.to_owned() + "transfer-encoding: chunked\r\n\r\n";
    let chunk = format!("2000\r\n{}\r\n", "x".repeat(0x2000));
    let mut first = client(&gateway, "/x").await?;
    let mut filling = origin.request().await?;
    filling.send(begin.clone() + &chunk).await?;
    assert!(first.peek().await?.starts_with("HTTP/1.1 200 "));
    let mut follower = client(&gateway, "/x").await?;
    under_way(&gateway, 2).await?;
    // The follower may be sent to ask for itself.
    let served = tokio::spawn({
        let chunk = chunk.clone();
        async move {
            let mut own = origin.request().await?;
            own.send(begin + &chunk.repeat(8) + "0\r\n\r\n").await.map(|()| own)
        }
    });
    filling.send(chunk.repeat(7) + "0\r\n\r\n").await?;
    assert_eq!(first.response().await?.expect(200)?.body.len(), 8 * 0x2000);
    assert_eq!(follower.response().await?.expect(200)?.body.len(), 8 * 0x2000);
    served.abort();
    Ok(())
}

/// RFC 5861 section 4, where the service is not there at all; and RFC 9111 section 5.2.2.2, where
/// it forbade to go on without it.
#[tokio::test]
async fn a_service_that_is_gone_is_stood_in_for_where_it_lets_us() -> Outcome {
    let (origin, gateway) = scripted("{ttl: 60s}").await?;
    let lenient = "/a?cc=max-age%3D1%2C+stale-if-error%3D600&header=age:10&etag=%22a%22";
    let strict = "/b?cc=max-age%3D1%2C+must-revalidate%2C+stale-if-error%3D600&header=age:10\
                  &etag=%22a%22";
    for target in [lenient, strict] {
        gateway.get(target).await?.expect(200)?;
    }
    origin.stop().await;
    for _ in 0..4 {
        let stale = gateway.get(lenient).await?.expect(200)?;
        assert_eq!(stale.header("x-cache"), Some("STALE"), "{stale}");
        let refused = gateway.get(strict).await?;
        assert!(matches!(refused.status, 502..=504), "{refused}");
    }
    origin.restart().await?;
    wait::until("the service to be asked again", async || {
        let fresh = gateway.get(lenient).await.ok()?;
        (fresh.header("x-cache") == Some("REVALIDATED")).then_some(())
    })
    .await?;
    Ok(())
}

/// A fetch that breaks off does not keep what waits for it from being answered, though nobody
/// cares to wait long.
#[tokio::test]
async fn those_who_wait_for_a_fetch_that_dies_are_answered() -> Outcome {
    const CLIENTS: usize = 20;
    let (origin, gateway) = played("{ttl: 60s, lockTimeout: 10s}").await?;
    let mut first = client(&gateway, "/x").await?;
    let dying = origin.request().await?;
    let mut others = Vec::new();
    for _ in 0..CLIENTS {
        others.push(client(&gateway, "/x").await?);
    }
    under_way(&gateway, 21).await?;
    let asked = answer_the_rest(origin, "another answer");
    let died = tokio::time::Instant::now();
    drop(dying);
    assert_eq!(first.response().await?.status, 502);
    for other in &mut others {
        assert_eq!(other.response().await?.expect(200)?.text(), "another answer");
    }
    assert!(died.elapsed() < Duration::from_secs(10), "they waited for nothing");
    assert!((1..=CLIENTS).contains(&*asked.borrow()), "asked {} times", *asked.borrow());
    Ok(())
}
