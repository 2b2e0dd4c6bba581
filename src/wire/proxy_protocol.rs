//! The PROXY protocol, versions 1 and 2: who is behind a load balancer
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! The header is read byte by byte where its length is not known yet, so that nothing of what
//! follows is taken away; the socket's own buffer makes that cheap.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest line of version 1, line break included (section 2.1).
const LINE_MAX: usize = 107;
const WORD: &[u8] = b"PROXY ";

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The fixed part of version 2: signature, command, family, length.
const FIXED: usize = 16;
/// Longest rest of version 2 that is accepted. Addresses take 36 bytes; extensions, which are
/// skipped, may hold a certificate's names.
const REST_MAX: u16 = 4096;

/// Why a header cannot be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, malformed.0)
    }
}

/// Reads a whole header and nothing beyond it. Gives the address of the client; none where the
/// load balancer speaks for itself (`LOCAL`) or does not say (`UNKNOWN`, `UNSPEC`, not TCP).
///
/// # Errors
/// When the connection ends, or begins with anything else.
pub async fn read<R: AsyncRead + Unpin>(io: &mut R) -> io::Result<Option<SocketAddr>> {
    let first = io.read_u8().await?;
    if Some(&first) == WORD.first() {
        return read_line(io, first).await;
    }
    if Some(&first) != SIGNATURE.first() {
        return Err(NEITHER.into());
    }
    let mut fixed = [first; FIXED];
    let (_, others) = fixed.split_at_mut(1);
    io.read_exact(others).await?;
    let (command, length) = read_fixed(&fixed)?;
    let mut rest = vec![0; usize::from(length)];
    io.read_exact(&mut rest).await?;
    Ok(read_addresses(command, &rest)?)
}

const NEITHER: Malformed = Malformed("the connection does not begin with a PROXY protocol header");

async fn read_line<R: AsyncRead + Unpin>(io: &mut R, first: u8) -> io::Result<Option<SocketAddr>> {
    let mut line = Vec::with_capacity(LINE_MAX);
    line.push(first);
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_MAX {
            return Err(Malformed("the line is longer than 107 bytes").into());
        }
        line.push(io.read_u8().await?);
        // Whoever speaks something else is told apart at once, not when time is up.
        if !WORD.starts_with(&line) && !line.starts_with(WORD) {
            return Err(NEITHER.into());
        }
    }
    line.truncate(line.len() - 2);
    Ok(parse_line(&line)?)
}

/// Reads a line of version 1, without its line break.
///
/// # Errors
/// When it is not one.
fn parse_line(line: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
    let text = line.strip_prefix(WORD).and_then(|rest| std::str::from_utf8(rest).ok());
    let text = text.ok_or(NEITHER)?;
    // What follows UNKNOWN is ignored, section 2.1.
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return Ok(None);
    }
    let mut words = text.split(' ');
    let (Some(family), Some(source), Some(target), Some(from), Some(to), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Malformed("the line has not six words"));
    };
    let address: fn(&str) -> Option<IpAddr> = match family {
        "TCP4" => |word| word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |word| word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return Err(Malformed("the family is neither TCP4, TCP6 nor UNKNOWN")),
    };
    let source = address(source).ok_or(NO_ADDRESS)?;
    address(target).ok_or(NO_ADDRESS)?;
    let (Some(from), Some(_)) = (parse_port(from), parse_port(to)) else {
        return Err(Malformed("a port is not a number from 0 to 65535"));
    };
    Ok(Some(SocketAddr::new(source, from)))
}

const NO_ADDRESS: Malformed = Malformed("an address is not one of its family");

/// A port without sign and leading zeros.
fn parse_port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let padded = word.len() > 1 && word.starts_with('0');
    if plain && !padded { word.parse().ok() } else { None }
}

/// What a header of version 2 says of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    /// Addresses say nothing.
    Ignore,
    /// A client with an IPv4 address.
    Tcp4,
    /// A client with an IPv6 address.
    Tcp6,
}

/// Reads the fixed part of version 2: what follows, and its length.
fn read_fixed(fixed: &[u8; FIXED]) -> Result<(Command, u16), Malformed> {
    let Some((signature, &[command, family, high, low])) = fixed.split_first_chunk::<12>() else {
        return Err(NEITHER);
    };
    if signature != SIGNATURE {
        return Err(NEITHER);
    }
    let length = u16::from_be_bytes([high, low]);
    if length > REST_MAX {
        return Err(Malformed("the header is longer than 4 KiB"));
    }
    let command = match (command, family) {
        // LOCAL, whatever the family; PROXY of UNSPEC, UDP and Unix sockets.
        (0x20, _) | (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => Command::Ignore,
        (0x21, 0x11) => Command::Tcp4,
        (0x21, 0x21) => Command::Tcp6,
        (0x21, _) => return Err(Malformed("the family is not one of version 2")),
        _ => return Err(Malformed("the version or the command is not one of version 2")),
    };
    Ok((command, length))
}

/// Reads what follows the fixed part of version 2; extensions behind the addresses are skipped.
fn read_addresses(command: Command, rest: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
    const SHORT: Malformed = Malformed("the header is too short for its addresses");
    // Source, target, source port, target port.
    let (address, port) = match command {
        Command::Ignore => return Ok(None),
        Command::Tcp4 => {
            let addresses: &[u8; 12] = rest.first_chunk().ok_or(SHORT)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            (IpAddr::from([a, b, c, d]), [high, low])
        }
        Command::Tcp6 => {
            let (source, behind) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let ports: &[u8; 20] = behind.first_chunk().ok_or(SHORT)?;
            let [.., high, low, _, _] = *ports;
            (IpAddr::from(*source), [high, low])
        }
    };
    Ok(Some(SocketAddr::new(address, u16::from_be_bytes(port))))
}

#[cfg(test)]
mod tests;
