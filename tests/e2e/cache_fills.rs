//! Answers that are read while they are being fetched.

use tidegate_kit::{Gateway, Origin, Outcome, RawConnection, Request, Result};

use crate::{api, gateway, open_route};

async fn open() -> Result<(Origin, Gateway)> {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route("cache: {ttl: 60s, maxBodyBytes: 64KiB}");
    let gateway = gateway(config).start().await?;
    Ok((origin, gateway))
}

/// Sends a GET and waits until `text` has come of the answer.
async fn until(gateway: &Gateway, target: &str, text: &str) -> Result<RawConnection> {
    let mut connection = RawConnection::connect(gateway.address()).await?;
    let host = gateway.address();
    connection.send(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).await?;
    while !connection.peek().await?.contains(text) {}
    Ok(connection)
}

/// R142: who asks for what another request fetches gets it as it comes, not when it is there.
#[tokio::test]
async fn who_asks_meanwhile_reads_along() -> Outcome {
    let (origin, gateway) = open().await?;
    let mut first = until(&gateway, "/hold-body/it", "first;").await?;
    let mut second = until(&gateway, "/hold-body/it", "first;").await?;
    origin.release("it");
    for connection in [&mut first, &mut second] {
        assert_eq!(connection.response().await?.expect(200)?.text(), "first;second");
    }
    let hit = gateway.get("/hold-body/it").await?.expect(200)?;
    assert_eq!((hit.header("x-cache"), hit.text().as_str()), (Some("HIT"), "first;second"));
    assert_eq!(origin.total(), 1);
    Ok(())
}

/// An answer that breaks off is broken for everyone, and nothing of it stays.
#[tokio::test]
async fn an_answer_that_breaks_off_is_never_a_short_one() -> Outcome {
    let (origin, gateway) = open().await?;
    let mut first = until(&gateway, "/hold-body/it", "first;").await?;
    let mut second = until(&gateway, "/hold-body/it", "first;").await?;
    origin.stop().await;
    for connection in [&mut first, &mut second] {
        assert!(connection.response().await.is_err(), "no end may be seen");
    }
    gateway.settled().await?;
    let aborted = [("outcome", "aborted")];
    assert!(gateway.metric("tidegate_cache_fills_total", &aborted).await? > 0.5);
    assert!(gateway.metric("tidegate_cache_entries", &[]).await? < 0.5);
    assert!(gateway.metric("tidegate_cache_fill_bytes", &[]).await? < 0.5);
    Ok(())
}

/// An answer of unknown length that proves too large to keep comes whole all the same.
#[tokio::test]
async fn an_answer_that_proves_too_large_passes_whole() -> Outcome {
    let (origin, gateway) = open().await?;
    for _ in 0..2 {
        let long = gateway.get("/chunks/5000").await?.expect(200)?;
        assert_eq!((long.header("x-cache"), long.body.len()), (Some("MISS"), 5000 * 1024));
    }
    assert_eq!(origin.total(), 2);
    for (target, expected) in [("/chunks/64", "HIT"), ("/chunks/65", "MISS")] {
        gateway.get(target).await?.expect(200)?;
        let again = gateway.get(target).await?.expect(200)?;
        assert_eq!(again.header("x-cache"), Some(expected), "{target}: 64 KiB are kept");
    }
    for (target, expected) in [("/bytes/65536", true), ("/bytes/65537", false)] {
        assert_eq!(
            gateway.get(target).await?.expect(200)?.body.len() % 65_536,
            1 - usize::from(expected)
        );
        let again = gateway.get(target).await?.expect(200)?;
        assert_eq!(again.header("x-cache") == Some("HIT"), expected, "{target}: a known length");
    }
    let outgrown = [("outcome", "outgrown")];
    assert!(gateway.metric("tidegate_cache_fills_total", &outgrown).await? > 3.5);
    Ok(())
}

/// The client whose request fetches may go: the answer is fetched to its end for the others.
#[tokio::test]
async fn an_answer_is_fetched_to_its_end_when_its_client_leaves() -> Outcome {
    let (origin, gateway) = open().await?;
    let first = until(&gateway, "/hold-body/it", "first;").await?;
    let mut second = until(&gateway, "/hold-body/it", "first;").await?;
    drop(first);
    origin.release("it");
    assert_eq!(second.response().await?.expect(200)?.text(), "first;second");
    let hit = gateway.get("/hold-body/it").await?.expect(200)?;
    assert_eq!((hit.header("x-cache"), hit.text().as_str()), (Some("HIT"), "first;second"));
    assert_eq!(origin.total(), 1);
    Ok(())
}

/// HEAD, conditions and ranges are answered while they fill, and fill all the same.
#[tokio::test]
async fn requests_for_less_than_the_body_fill_it_too() -> Outcome {
    let (origin, gateway) = open().await?;
    let head =
        gateway.send(&Request::new("HEAD", "/bytes/1000?etag=%22h%22")).await?.expect(200)?;
    assert_eq!((head.header("content-length"), head.body.len()), (Some("1000"), 0));
    let get = gateway.get("/bytes/1000?etag=%22h%22").await?.expect(200)?;
    assert_eq!((get.header("x-cache"), get.body.len()), (Some("HIT"), 1000));

    let known = Request::get("/bytes/1001?etag=%22c%22").header("if-none-match", "\"c\"");
    gateway.send(&known).await?.expect(304)?;
    let get = gateway.get("/bytes/1001?etag=%22c%22").await?.expect(200)?;
    assert_eq!((get.header("x-cache"), get.body.len()), (Some("HIT"), 1001));

    let part = Request::get("/bytes/1002").header("range", "bytes=10-19");
    let answer = gateway.send(&part).await?.expect(206)?;
    assert_eq!(answer.body.len(), 10);
    let get = gateway.get("/bytes/1002").await?.expect(200)?;
    assert_eq!((get.header("x-cache"), get.body.len()), (Some("HIT"), 1002));

    gateway.get("/status/204?cc=max-age%3D60").await?.expect(204)?;
    let empty = gateway.get("/status/204?cc=max-age%3D60").await?.expect(204)?;
    assert_eq!((empty.header("x-cache"), empty.body.len()), (Some("HIT"), 0));
    assert_eq!(origin.total(), 4);
    Ok(())
}
