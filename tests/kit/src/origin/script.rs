//! What an origin does with a request: the verbs of its path, the headers of its query.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH};
use hyper::{HeaderMap, Request, Response, StatusCode};
use serde_json::json;
use tokio::sync::mpsc;

use super::{Seen, State};
use crate::http_server::{Abort, Answer, Connection, Pieces};

/// Length of one chunk of `chunks/N`.
const CHUNK_BYTES: usize = 1024;

/// What the path asks for.
enum Verb {
    Echo,
    Status(u16),
    Delay(Duration),
    Hold(String),
    HoldBody(String),
    Bytes(usize),
    Chunks(usize),
    Told(String),
    Page,
    Trailers(usize),
    Reset,
    Cut(usize),
}

/// Answers one request; `status` overrules the path.
pub(super) async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
    serial: usize,
    connection: &Connection,
    status: Option<u16>,
) -> Result<Answer, Abort> {
    let (head, body) = request.into_parts();
    let verb = status.map_or_else(|| Verb::read(head.uri.path()), Verb::Status);
    if let Verb::Reset = verb {
        connection.reset_on_close();
        return Err(Abort);
    }
    let body = body.collect().await.map_err(|_| Abort)?.to_bytes();
    let seen = state.complete(serial, &body);
    let mut response = match verb {
        Verb::Reset | Verb::Echo => echo(&state, &seen, serial),
        Verb::Status(status) => {
            let mut response = echo(&state, &seen, serial);
            *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            if response.status() == StatusCode::NO_CONTENT {
                // HTTP/1 would leave the body out by itself, HTTP/2 would not.
                *response.body_mut() = Either::Left(Full::default());
            }
            response
        }
        Verb::Delay(wait) => {
            tokio::time::sleep(wait).await;
            echo(&state, &seen, serial)
        }
        Verb::Hold(name) => {
            state.held(&name).await;
            echo(&state, &seen, serial)
        }
        Verb::Told(name) => text(seen.header(&name).unwrap_or_default().to_owned()),
        Verb::Page => page(&state),
        Verb::Bytes(length) => whole(vec![b'x'; length]),
        Verb::Chunks(count) => chunks(count, None),
        Verb::Trailers(count) => {
            let fields = [("x-end".parse(), HeaderValue::from_static("1"))];
            let fields = fields.into_iter().filter_map(|(name, value)| Some((name.ok()?, value)));
            chunks(count, Some(fields.collect()))
        }
        Verb::HoldBody(name) => hold_body(Arc::clone(&state), name),
        Verb::Cut(length) => cut(length, connection.clone()),
    };
    add_headers(response.headers_mut(), head.uri.query().unwrap_or_default());
    response.headers_mut().insert("x-serial", HeaderValue::from(serial));
    if let Ok(name) = HeaderValue::from_str(&state.name) {
        response.headers_mut().insert("x-origin", name);
    }
    Ok(not_modified(&head.headers, response))
}

impl Verb {
    /// The first verb among the segments of a path.
    fn read(path: &str) -> Self {
        let segments: Vec<&str> = path.split('/').collect();
        let mut verbs = segments.iter().enumerate().filter_map(|(index, word)| {
            let argument = segments.get(index + 1).copied();
            let number = || argument?.parse::<usize>().ok();
            Some(match *word {
                "status" => Self::Status(argument?.parse().ok()?),
                "delay" => Self::Delay(Duration::from_millis(argument?.parse().ok()?)),
                "hold" => Self::Hold(argument?.to_owned()),
                "hold-body" => Self::HoldBody(argument?.to_owned()),
                "told" => Self::Told(argument?.to_owned()),
                "page" => Self::Page,
                "bytes" => Self::Bytes(number()?),
                "chunks" => Self::Chunks(number()?),
                "trailers" => Self::Trailers(number()?),
                "reset" => Self::Reset,
                "cut" => Self::Cut(number()?),
                _ => return None,
            })
        });
        verbs.next().unwrap_or(Self::Echo)
    }
}

/// The request as JSON.
fn echo(state: &State, seen: &Seen, serial: usize) -> Answer {
    let (path, query) = match seen.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (seen.target.as_str(), None),
    };
    let text = json!({
        "origin": state.name,
        "serial": serial,
        "method": seen.method,
        "target": seen.target,
        "path": path,
        "query": query,
        "headers": seen.headers,
        "bodyLength": seen.body_length,
        "bodySha256": seen.body_sha256,
    });
    let mut response = whole(format!("{text}\n").into_bytes());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn text(text: String) -> Answer {
    let mut response = whole(text.into_bytes());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// What was published last, with its own `Cache-Control`.
fn page(state: &State) -> Answer {
    let (content, control) = state.page();
    let mut response = text(content);
    if let Ok(control) = HeaderValue::from_str(&control) {
        response.headers_mut().insert("cache-control", control);
    }
    response
}

fn whole(body: Vec<u8>) -> Answer {
    Response::new(Either::Left(Full::new(Bytes::from(body))))
}

fn chunks(count: usize, trailers: Option<HeaderMap>) -> Answer {
    let (sender, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        for _ in 0..count {
            if sender.send(Ok(Bytes::from(vec![b'c'; CHUNK_BYTES]))).await.is_err() {
                return;
            }
        }
    });
    Response::new(Either::Right(Pieces(pieces, trailers)))
}

fn hold_body(state: Arc<State>, name: String) -> Answer {
    let (sender, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        let _ = sender.send(Ok(Bytes::from_static(b"first;"))).await;
        state.held(&name).await;
        let _ = sender.send(Ok(Bytes::from_static(b"second"))).await;
    });
    Response::new(Either::Right(Pieces(pieces, None)))
}

/// Promises twice as much as it sends, then resets the connection.
fn cut(length: usize, connection: Connection) -> Answer {
    let (sender, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        let _ = sender.send(Ok(Bytes::from(vec![b'x'; length]))).await;
        // A second, empty piece is taken only once the first one is on its way.
        let _ = sender.send(Ok(Bytes::new())).await;
        connection.reset_on_close();
        let _ = sender.send(Err(Abort)).await;
    });
    let mut response = Response::new(Either::Right(Pieces(pieces, None)));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length * 2));
    response
}

/// Adds the headers that the query asks for.
fn add_headers(headers: &mut HeaderMap, query: &str) {
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let value = decode(value);
        let (name, value) = match name {
            "cc" => ("cache-control", value.as_str()),
            "vary" | "etag" | "set-cookie" | "expires" => (name, value.as_str()),
            "header" => match value.split_once(':') {
                Some((name, value)) => (name, value.trim()),
                None => continue,
            },
            _ => continue,
        };
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
}

/// Turns the answer into 304 where the client holds what its `ETag` names.
fn not_modified(request: &HeaderMap, response: Answer) -> Answer {
    let named = response
        .headers()
        .get(ETAG)
        .is_some_and(|tag| request.get_all(IF_NONE_MATCH).iter().any(|known| known == tag));
    if !named {
        return response;
    }
    let (mut head, _) = response.into_parts();
    head.status = StatusCode::NOT_MODIFIED;
    head.headers.remove(CONTENT_TYPE);
    Response::from_parts(head, Either::Left(Full::default()))
}

/// Undoes percent-encoding; `+` is a space.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(value)) => {
                decoded.push(value);
                at += 2;
            }
            (b'+', _) => decoded.push(b' '),
            (plain, _) => decoded.push(*plain),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(decode("max-age%3D60%2C+public"), "max-age=60, public");
        assert_eq!(decode("50%"), "50%");
    }
}
