//! Databases of countries in the MMDB format, written for a test.
//!
//! The format is `MaxMind`'s, version 2.0: a binary tree over the bits of an address, whose leaves
//! point into a section of values, and a description of both at the end. IPv4 addresses are
//! those of `::/96`.

use std::net::IpAddr;
use std::path::Path;

use crate::{Context, Error, Result};

/// A database that is being written.
#[derive(Clone, Debug)]
pub struct GeoDatabase {
    networks: Vec<Network>,
    kind: String,
}

#[derive(Clone, Debug)]
struct Network {
    bits: u128,
    length: u32,
    value: Vec<u8>,
}

impl Default for GeoDatabase {
    fn default() -> Self {
        Self { networks: Vec::new(), kind: "Test-Country".to_owned() }
    }
}

impl GeoDatabase {
    /// A small world: documentation addresses of Germany, France, the United States and Japan,
    /// one that is only registered somewhere, and one that only has a continent.
    pub fn world() -> Result<Self> {
        Self::default()
            .country("192.0.2.0/24", "DE", "EU")?
            .country("198.51.100.0/25", "FR", "EU")?
            .country("198.51.100.128/25", "US", "NA")?
            .country("2001:db8:1::/48", "DE", "EU")?
            .country("2001:db8:2::/48", "JP", "AS")?
            .network(
                "203.0.113.0/26",
                &[("continent", "code", "EU"), ("registered_country", "iso_code", "CH")],
            )?
            .network("203.0.113.64/26", &[("continent", "code", "EU")])
    }

    /// Adds a network of a country. The more specific network wins, in any order.
    pub fn country(self, network: &str, country: &str, continent: &str) -> Result<Self> {
        let facts = [
            ("continent", "code", continent),
            ("country", "iso_code", country),
            ("registered_country", "iso_code", "ZZ"),
        ];
        self.network(network, &facts)
    }

    /// Adds a network with facts: each is a key, a key below it, and a text.
    pub fn network(mut self, network: &str, facts: &[(&str, &str, &str)]) -> Result<Self> {
        let (bits, length) = parse(network)?;
        let mut value = Vec::new();
        put(&mut value, MAP, facts.len());
        for (key, below, text) in facts {
            put_text(&mut value, key);
            put(&mut value, MAP, 1);
            put_text(&mut value, below);
            put_text(&mut value, text);
        }
        self.networks.push(Network { bits, length, value });
        Ok(self)
    }

    /// Writes the database into a file.
    pub fn write(&self, file: &Path) -> Result<()> {
        let draft = file.with_extension("draft");
        std::fs::write(&draft, self.to_bytes())?;
        std::fs::rename(&draft, file).map_err(Error::from)
    }

    /// The database as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut networks: Vec<&Network> = self.networks.iter().collect();
        // Wide networks first: narrower ones then split their leaves.
        networks.sort_by_key(|network| network.length);
        let mut nodes = vec![[Slot::Empty; 2]];
        let mut values = Vec::new();
        for network in networks {
            insert(&mut nodes, network, values.len());
            values.extend_from_slice(&network.value);
        }
        let count = nodes.len();
        let mut bytes = Vec::new();
        for slot in nodes.iter().flatten() {
            let record = match slot {
                Slot::Empty => count,
                Slot::Node(node) => *node,
                Slot::Value(at) => count + SEPARATOR + at,
            };
            bytes.extend_from_slice(&u32::try_from(record).unwrap_or_default().to_be_bytes()[1..]);
        }
        bytes.extend_from_slice(&[0; SEPARATOR]);
        bytes.append(&mut values);
        bytes.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
        self.put_metadata(&mut bytes, count);
        bytes
    }

    fn put_metadata(&self, out: &mut Vec<u8>, nodes: usize) {
        put(out, MAP, 9);
        put_text(out, "node_count");
        put_number(out, UINT32, nodes);
        for (key, number) in [
            ("record_size", 24),
            ("ip_version", 6),
            ("binary_format_major_version", 2),
            ("binary_format_minor_version", 0),
        ] {
            put_text(out, key);
            put_number(out, UINT16, number);
        }
        put_text(out, "build_epoch");
        put_number(out, UINT64, 1_700_000_000);
        put_text(out, "database_type");
        put_text(out, &self.kind);
        put_text(out, "languages");
        put(out, ARRAY, 1);
        put_text(out, "en");
        put_text(out, "description");
        put(out, MAP, 1);
        put_text(out, "en");
        put_text(out, "made for a test");
    }
}

/// Zero bytes between the tree and the values.
const SEPARATOR: usize = 16;

/// One of the two ways out of a node.
#[derive(Clone, Copy)]
enum Slot {
    Empty,
    Node(usize),
    Value(usize),
}

fn insert(nodes: &mut Vec<[Slot; 2]>, network: &Network, value: usize) {
    let mut node = 0;
    for depth in 0..network.length {
        let side = usize::from(network.bits >> (127 - depth) & 1 == 1);
        if depth + 1 == network.length {
            nodes[node][side] = Slot::Value(value);
            return;
        }
        node = match nodes[node][side] {
            Slot::Node(next) => next,
            // Whatever held for the whole still holds for both halves.
            before => {
                nodes.push([before; 2]);
                nodes[node][side] = Slot::Node(nodes.len() - 1);
                nodes.len() - 1
            }
        };
    }
}

/// Bits of the tree above those of an IPv4 address.
const V4_BITS: u32 = 96;

fn parse(network: &str) -> Result<(u128, u32)> {
    let (address, length) =
        network.split_once('/').context(format_args!("{network}: no length"))?;
    let length: u32 = length.parse().context(network)?;
    let (bits, length) = match address.parse().context(network)? {
        IpAddr::V4(address) => (u128::from(u32::from(address)), length + V4_BITS),
        IpAddr::V6(address) => (u128::from(address), length),
    };
    if !(1..=128).contains(&length) {
        return Err(Error::new(format!("{network}: no such length")));
    }
    Ok((bits, length))
}

// Types of values.
const TEXT: u8 = 2;
const UINT16: u8 = 5;
const UINT32: u8 = 6;
const MAP: u8 = 7;
const UINT64: u8 = 9;
const ARRAY: u8 = 11;

/// Writes the control bytes of a value: its type and its size.
fn put(out: &mut Vec<u8>, kind: u8, size: usize) {
    // Everything here is short; longer values would need further bytes.
    let size = u8::try_from(size).unwrap_or(u8::MAX);
    let (small, more) = if size < 29 { (size, None) } else { (29, Some(size - 29)) };
    if kind <= MAP {
        out.push(kind << 5 | small);
    } else {
        out.extend_from_slice(&[small, kind - MAP]);
    }
    out.extend(more);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, TEXT, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_number(out: &mut Vec<u8>, kind: u8, number: usize) {
    let bytes = number.to_be_bytes();
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    put(out, kind, bytes.len() - start);
    out.extend_from_slice(&bytes[start..]);
}
