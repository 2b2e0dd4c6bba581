//! What is asked of Redis: plain commands that every server has, all keys of a call in one slot
//! of a cluster. Nothing is read without a bound on its length.

use std::time::Duration;

use http::header;
use redis::{Cmd, Pipeline};

use super::codec::{
    Answer, Body, FRONT_BYTES, HEAD_BYTES_MAX, INLINE_BYTES_MAX, Identity, chunks_of, decode,
    encode,
};
use super::name::{Name, chunk};
use crate::link::{Connection, Failure};

/// What Redis has of an answer.
#[derive(Debug)]
pub(super) enum Stored {
    /// Nothing.
    Nothing,
    /// Something that is not it.
    Garbage,
    /// The answer, and its body as it is stored.
    Answer(Box<Answer>, Body, Vec<u8>),
}

/// An answer in the form in which it is stored.
#[derive(Debug)]
pub(super) struct Packed {
    /// The head, with a short body behind it.
    pub(super) head: Vec<u8>,
    pub(super) body: Body,
    /// The stored body.
    pub(super) stored: Vec<u8>,
    /// After which Redis forgets it.
    pub(super) expires: Duration,
}

/// Asks whether Redis is there and answers.
pub(super) fn ping() -> Cmd {
    redis::cmd("PING")
}

/// Fetches head and chunks. `prefix` is that of the deployment's keys.
///
/// # Errors
/// When Redis does not answer, or refuses.
pub(super) async fn fetch(
    mut connection: Connection,
    prefix: &str,
    of: &Identity,
    body_bytes_max: u64,
) -> Result<Stored, Failure> {
    let key = of.name.head(prefix);
    let text: Vec<u8> = read(&key, HEAD_BYTES_MAX).query_async(&mut connection).await?;
    if text.is_empty() {
        return Ok(Stored::Nothing);
    }
    let Ok(head) = decode(&text, of, body_bytes_max) else { return Ok(Stored::Garbage) };
    if !head.body.is_chunked() {
        return Ok(Stored::Answer(Box::new(head.answer), head.body, head.inline));
    }
    let mut pipeline = redis::pipe();
    for index in 0..head.body.chunks() {
        pipeline.add_command(read(&chunk(&key, head.body.generation, index), INLINE_BYTES_MAX));
    }
    let chunks: Vec<Vec<u8>> = pipeline.query_async(&mut connection).await?;
    let stored = chunks.concat();
    if stored.len() as u64 != head.body.stored {
        return Ok(Stored::Garbage);
    }
    Ok(Stored::Answer(Box::new(head.answer), head.body, stored))
}

/// Writes an answer: the chunks first and the head last, so that no head is ever there before
/// what it speaks of. Then clears away the chunks of what it replaced.
///
/// # Errors
/// When Redis does not answer, or refuses.
pub(super) async fn store(
    mut connection: Connection,
    prefix: &str,
    of: &Identity,
    packed: &Packed,
) -> Result<(), Failure> {
    let key = of.name.head(prefix);
    let mut pipeline = redis::pipe();
    pipeline.add_command(read(&key, FRONT_BYTES));
    if packed.body.is_chunked() {
        for (index, part) in (0..).zip(packed.stored.chunks(INLINE_BYTES_MAX)) {
            let key = chunk(&key, packed.body.generation, index);
            pipeline.add_command(set(&key, part, packed.expires)).ignore();
        }
    }
    pipeline.add_command(set(&key, &packed.head, packed.expires)).ignore();
    let (before,): (Vec<u8>,) = pipeline.query_async(&mut connection).await?;
    clear(&mut connection, &key, &before, packed.body.generation).await
}

/// Writes the head anew over the body that is there, which lives as long; says whether that body
/// is there, whole and the one that this answer was made with.
///
/// # Errors
/// When Redis does not answer, or refuses.
pub(super) async fn renew(
    mut connection: Connection,
    prefix: &str,
    of: &Identity,
    answer: &Answer,
    expires: Duration,
) -> Result<bool, Failure> {
    let key = of.name.head(prefix);
    let text: Vec<u8> = read(&key, HEAD_BYTES_MAX).query_async(&mut connection).await?;
    let Ok(old) = decode(&text, of, u64::MAX) else { return Ok(false) };
    if !is_same(&old.answer, answer) {
        return Ok(false);
    }
    let Some(head) = encode(of, answer, &old.body, &old.inline) else { return Ok(false) };
    let mut pipeline = Pipeline::new();
    for index in 0..old.body.chunks() {
        let key = chunk(&key, old.body.generation, index);
        let mut expire = redis::cmd("PEXPIRE");
        expire.arg(key).arg(millis(expires));
        pipeline.add_command(expire);
    }
    pipeline.add_command(set(&key, &head, expires)).ignore();
    let there: Vec<u8> = pipeline.query_async(&mut connection).await?;
    Ok(there.iter().all(|is_there| *is_there == 1))
}

/// Whether two answers under one key have one body: two nodes may have fetched two at once.
fn is_same(old: &Answer, new: &Answer) -> bool {
    let (before, after) = (&old.header.headers, &new.header.headers);
    let is_same = |name| before.get(name) == after.get(name);
    let names = [header::ETAG, header::LAST_MODIFIED, header::CONTENT_LENGTH];
    old.created == new.created && names.iter().all(is_same)
}

/// Removes an answer.
///
/// # Errors
/// When Redis does not answer, or refuses.
pub(super) async fn remove(
    mut connection: Connection,
    prefix: &str,
    of: &Name,
) -> Result<(), Failure> {
    let key = of.head(prefix);
    let mut pipeline = redis::pipe();
    pipeline.add_command(read(&key, FRONT_BYTES));
    pipeline.cmd("UNLINK").arg(&key).ignore();
    let (before,): (Vec<u8>,) = pipeline.query_async(&mut connection).await?;
    clear(&mut connection, &key, &before, 0).await
}

/// Removes the chunks that a head spoke of, unless they are those of this generation.
async fn clear(
    connection: &mut Connection,
    key: &str,
    front: &[u8],
    generation: u64,
) -> Result<(), Failure> {
    let Some((old, chunks)) = chunks_of(front).filter(|(old, _)| *old != generation) else {
        return Ok(());
    };
    let mut unlink = redis::cmd("UNLINK");
    for index in 0..chunks {
        unlink.arg(chunk(key, old, index));
    }
    if chunks > 0 {
        let () = unlink.query_async(connection).await?;
    }
    Ok(())
}

/// Reads a value that is no longer than that; one byte more of one that is, which is then seen to
/// be wrong. A missing one is empty.
fn read(key: &str, bytes_max: usize) -> Cmd {
    let mut command = redis::cmd("GETRANGE");
    command.arg(key).arg(0).arg(bytes_max);
    command
}

fn set(key: &str, value: &[u8], expires: Duration) -> Cmd {
    let mut command = redis::cmd("SET");
    command.arg(key).arg(value).arg("PX").arg(millis(expires));
    command
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
