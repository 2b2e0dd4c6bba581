//! The kit does what its tests rely on.

use std::time::Duration;

use tidegate_kit::{
    Algorithm, Habit, Issuer, Mood, Origin, Outcome, Postgres, RawConnection, RawOrigin, Redis,
    Reply, Request, Signature, send,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn an_origin_echoes_and_keeps_connections() -> Outcome {
    let origin = Origin::start("one").await?;
    let mut connection = RawConnection::connect(origin.address()).await?;
    let post = Request::post("/a/b?c=d", "hello").header("X-Colour", "blue");
    let first = connection.request(&post).await?.expect(200)?;
    let echo = first.json()?;
    assert_eq!(echo["method"], "POST");
    assert_eq!(echo["path"], "/a/b");
    assert_eq!(echo["query"], "c=d");
    assert_eq!(echo["bodyLength"], 5);
    assert_eq!(first.echoed("x-colour")?.as_deref(), Some("blue"));
    assert_eq!(first.origin(), Some("one"));

    let chunks = Request::new("PUT", "/c").chunked(vec![b"ab".to_vec(), b"cde".to_vec()]);
    assert_eq!(connection.request(&chunks).await?.json()?["bodyLength"], 5);
    let head = connection.request(&Request::new("HEAD", "/c")).await?.expect(200)?;
    assert!(head.body.is_empty());
    assert_eq!(connection.request(&Request::get("/chunks/3")).await?.body.len(), 3 * 1024);
    assert_eq!(connection.request(&Request::get("/bytes/7")).await?.body.len(), 7);
    assert_eq!(connection.request(&Request::get("/v1/status/503")).await?.status, 503);
    assert_eq!(origin.connections(), 1);
    assert_eq!(origin.count("/c"), 2);
    assert_eq!(origin.total(), 6);
    Ok(())
}

#[tokio::test]
async fn an_origin_adds_headers_and_knows_its_entity_tag() -> Outcome {
    let origin = Origin::start("one").await?;
    let target = "/x?cc=max-age%3D60&vary=accept&etag=%22v1%22&header=x-more%3A+yes";
    let first = send(origin.address(), &Request::get(target)).await?.expect(200)?;
    assert_eq!(first.header("cache-control"), Some("max-age=60"));
    assert_eq!(first.header("vary"), Some("accept"));
    assert_eq!(first.header("x-more"), Some("yes"));
    let again = Request::get(target).header("if-none-match", "\"v1\"");
    send(origin.address(), &again).await?.expect(304)?;
    Ok(())
}

#[tokio::test]
async fn an_origin_breaks_off_holds_and_comes_back() -> Outcome {
    let origin = Origin::start("one").await?;
    assert!(send(origin.address(), &Request::get("/reset")).await.is_err());
    let cut = send(origin.address(), &Request::get("/cut/100")).await;
    assert!(cut.is_err_and(|error| error.to_string().contains("body")));
    origin.set_habit(Habit::Status(500));
    send(origin.address(), &Request::get("/")).await?.expect(500)?;
    origin.set_habit(Habit::Scripted);

    let address = origin.address();
    let held = tokio::spawn(async move { send(address, &Request::get("/hold/me")).await });
    origin.arrived(4).await?;
    assert!(!held.is_finished());
    origin.release("me");
    held.await??.expect(200)?;

    origin.stop().await;
    assert!(send(origin.address(), &Request::get("/")).await.is_err());
    origin.restart().await?;
    send(origin.address(), &Request::get("/")).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_raw_origin_says_what_it_was_told() -> Outcome {
    let origin = RawOrigin::start("HTTP/1.1 200 OK\r\n\r\nto the end").await?;
    let response = send(origin.address(), &Request::get("/")).await?;
    assert_eq!(response.text(), "to the end");
    assert_eq!(origin.total(), 1);
    Ok(())
}

#[tokio::test]
async fn an_issuer_serves_its_keys_and_fails_on_demand() -> Outcome {
    let issuer = Issuer::start().await?;
    let jwks = Request::get("/.well-known/jwks.json");
    let first = send(issuer.address(), &jwks).await?.expect(200)?.json()?;
    assert_eq!(first["keys"].as_array().map(Vec::len), Some(3));
    issuer.rotate()?;
    let second = send(issuer.address(), &jwks).await?.expect(200)?.json()?;
    assert_ne!(first["keys"][0]["kid"], second["keys"][0]["kid"]);
    issuer.set_mood(Mood::Status(500));
    send(issuer.address(), &jwks).await?.expect(500)?;
    assert_eq!(issuer.fetches(), 3);
    issuer.stop().await;
    assert!(send(issuer.address(), &jwks).await.is_err());
    Ok(())
}

#[tokio::test]
async fn tokens_have_three_parts_whatever_signs_them() -> Outcome {
    let issuer = Issuer::start().await?;
    for algorithm in Algorithm::ALL {
        let good = issuer.token().algorithm(algorithm).sign()?;
        assert!(good.split('.').all(|part| !part.is_empty()), "{good}");
        let broken = issuer.token().signature(Signature::Broken(algorithm)).sign()?;
        assert_eq!(broken.split('.').count(), 3);
    }
    let unsigned = issuer.token().signature(Signature::Empty).sign()?;
    assert!(unsigned.ends_with('.'));
    Ok(())
}

#[tokio::test]
async fn redis_lives_dies_and_freezes() -> Outcome {
    let mut redis = Redis::start().await?;
    assert_eq!(redis.query(&["SET", "a", "1"]).await?, Reply::Text("OK".to_owned()));
    assert_eq!(redis.query(&["INCR", "a"]).await?.number(), Some(2));
    assert_eq!(redis.query(&["MGET", "a", "b"]).await?.texts(), ["2"]);
    redis.freeze()?;
    redis.thaw()?;
    redis.kill().await?;
    assert!(redis.query(&["PING"]).await.is_err());
    redis.restart().await?;
    assert_eq!(redis.query(&["GET", "a"]).await?, Reply::Nil);
    Ok(())
}

#[tokio::test]
async fn postgres_lives_dies_and_freezes() -> Outcome {
    let mut postgres = Postgres::start().await?;
    let url = postgres.database("one").await?;
    assert!(url.ends_with("/one"), "{url}");
    postgres.query("one", "CREATE TABLE t (n INT)").await?;
    postgres.query("one", "INSERT INTO t VALUES (1), (2)").await?;
    assert_eq!(postgres.query("one", "SELECT n, n + 1 FROM t ORDER BY n").await?, "1|2\n2|3");
    assert!(postgres.query("one", "SELECT x FROM t").await.is_err());
    assert!(postgres.dump("one").await?.contains("INSERT INTO public.t VALUES (2)"));

    postgres.freeze()?;
    let address = postgres.address();
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    // A request for TLS is answered with one byte; from the frozen server, with none.
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await?;
    let mut answer = [0];
    let soon = Duration::from_millis(200);
    assert!(tokio::time::timeout(soon, stream.read(&mut answer)).await.is_err());
    postgres.thaw()?;
    stream.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"N");

    postgres.kill().await?;
    assert!(postgres.query("one", "SELECT 1").await.is_err());
    postgres.restart().await?;
    assert_eq!(postgres.query("one", "SELECT count(*) FROM t").await?, "2");
    Ok(())
}
