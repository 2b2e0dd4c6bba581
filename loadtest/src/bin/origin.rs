//! `origin ADDRESS [BODY_BYTES [HEADER...]]`: an HTTP/1.1 service that costs next to nothing.
//!
//! One thread, keep-alive, one write for all requests of a read. It answers every GET with
//! `Cache-Control: no-store`, and those under `/cacheable` with one that caches may keep, so that
//! a measurement chooses by the target whether answers are stored; `/count` is answered with the
//! number of requests so far, so that it can prove it. A request with `X-Echo` is answered with its
//! own header block: what a proxy made of it can be looked at. Headers (`Name: value`) come beside its own.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

use tidegate_loadtest::origin_wire::{Answers, Parsed, parse};
use tidegate_loadtest::{Context, Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

#[global_allocator]
static MEMORY: tidegate_memory::Memory = tidegate_memory::Memory;

const USAGE: &str = "usage: origin ADDRESS [BODY_BYTES=1024 [HEADER...]]";

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("origin: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let (Some(address), body) = (words.next(), words.next()) else {
        return Err(Error::new(USAGE));
    };
    let headers: Vec<String> = words.collect();
    let address: SocketAddr = address.parse().context(&address)?;
    let body = body.map_or(Ok(1024), |text| text.parse::<usize>().context(&text))?;
    let answers = Answers::new(body, &headers);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().context("runtime")?;
    runtime.block_on(LocalSet::new().run_until(listen(address, Rc::new(answers))))
}

async fn listen(address: SocketAddr, answers: Rc<Answers>) -> Result<()> {
    let listener = TcpListener::bind(address).await.context(address)?;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: the connections that hold them go first.
            tokio::task::yield_now().await;
            continue;
        };
        let answers = Rc::clone(&answers);
        tokio::task::spawn_local(async move {
            if let Err(error) = serve(stream, &answers).await
                && !is_departure(&error)
            {
                eprintln!("origin: {error}");
            }
        });
    }
}

/// Answers a connection until it is closed. What this origin does not expect ends it.
async fn serve(mut stream: TcpStream, answers: &Answers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = Vec::with_capacity(16 * 1024);
    let mut output = Vec::with_capacity(16 * 1024);
    loop {
        let (mut read, mut close) = (0, false);
        while !close {
            match parse(input.split_at(read).1) {
                Parsed::Request(request) => {
                    let start = read;
                    read += request.bytes;
                    close = request.close;
                    output.extend_from_slice(&answers.to(request, input.split_at(start).1));
                }
                Parsed::Incomplete => break,
                Parsed::Refused(why) => return Err(io::Error::other(why)),
            }
        }
        input.drain(..read);
        if !output.is_empty() {
            stream.write_all(&output).await?;
            output.clear();
        }
        if close || stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// Proxies close idle connections as they like.
fn is_departure(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
