//! Where clients are: a database of countries in the MMDB format, and the places that routes
//! name (R032).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use maxminddb::{PathElement, Reader, WithinOptions};

use crate::model::{Config, Problem, Problems, Resolved};

/// A database of countries.
pub(super) struct Geo(Reader<Vec<u8>>);

/// Two capital letters: an ISO 3166 country, or a continent as `MaxMind` writes it.
type Code = [u8; 2];

/// Where an address is, as far as the database knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Whereabouts {
    country: Option<Code>,
    continent: Option<Code>,
}

/// A place that a route names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Place {
    /// `DE`.
    Country(Code),
    /// `continent:EU`.
    Continent(Code),
}

impl Geo {
    /// Opens `geo.database`, where the configuration names one that could be read.
    pub(super) fn compile(
        config: &Config,
        resolved: &Resolved,
        problems: &mut Problems,
    ) -> Option<Arc<Self>> {
        let file = &config.geo.as_ref()?.database;
        let read = Self::read(resolved.file(file)?);
        read.map_err(|why| {
            let message = format!("`{file}` is not a database of countries: {why}");
            problems.push(
                Problem::error("geo.database", "geo.database", message)
                    .help("give a whole file in the MMDB format that holds `country.iso_code`"),
            );
        })
        .ok()
        .map(Arc::new)
    }

    /// Reads a database and checks all of it: a part that cannot be read would otherwise show
    /// as clients that are nowhere.
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let reader = Reader::from_source(bytes.to_vec()).map_err(|e| e.to_string())?;
        reader.verify().map_err(|e| e.to_string())?;
        let geo = Self(reader);
        let networks = geo.0.networks(WithinOptions::default()).map_err(|e| e.to_string())?;
        let first = networks.take(PROBES).filter_map(Result::ok);
        let knows_some = first
            .into_iter()
            .any(|found| text(&found, COUNTRY).or_else(|| text(&found, CONTINENT)).is_some());
        if knows_some { Ok(geo) } else { Err("it knows no country".to_owned()) }
    }

    /// Where an address is. An address that the database does not know is nowhere.
    pub(super) fn find(&self, address: IpAddr) -> Whereabouts {
        let Ok(found) = self.0.lookup(address) else { return Whereabouts::default() };
        Whereabouts {
            country: text(&found, COUNTRY).or_else(|| text(&found, REGISTERED)),
            continent: text(&found, CONTINENT),
        }
    }
}

/// Networks looked at to see whether a database is one of countries.
const PROBES: usize = 1_000;

const COUNTRY: [&str; 2] = ["country", "iso_code"];
/// Where a network is registered, for those that are at home nowhere (satellites, anycast).
const REGISTERED: [&str; 2] = ["registered_country", "iso_code"];
const CONTINENT: [&str; 2] = ["continent", "code"];

fn text(found: &maxminddb::LookupResult<'_, Vec<u8>>, path: [&str; 2]) -> Option<Code> {
    let text: &str = found.decode_path(&path.map(PathElement::Key)).ok()??;
    text.as_bytes().try_into().ok()
}

impl Place {
    /// Reads `DE` or `continent:EU`.
    ///
    /// # Errors
    /// Says what would be right.
    pub(super) fn read(word: &str) -> Result<Self, String> {
        let (code, is_continent) =
            word.strip_prefix("continent:").map_or((word, false), |code| (code, true));
        let capitals = code.trim().to_ascii_uppercase();
        let letters = <Code>::try_from(capitals.as_bytes()).ok();
        let letters = letters.filter(|letters| letters.iter().all(u8::is_ascii_uppercase));
        let place = if is_continent {
            let letters = letters.filter(|_| CONTINENTS.contains(&capitals.as_str()));
            letters
                .map(Self::Continent)
                .ok_or_else(|| format!("continents are {}", CONTINENTS.join(", ")))
        } else {
            letters.map(Self::Country).ok_or_else(|| {
                "write a country as in `DE`, or a continent as in `continent:EU`".to_owned()
            })
        }?;
        if code == capitals { Ok(place) } else { Err(format!("write `{place}`")) }
    }

    /// Whether an address that is there is in this place.
    pub(super) fn holds(self, there: Whereabouts) -> bool {
        match self {
            Self::Country(code) => there.country == Some(code),
            Self::Continent(code) => there.continent == Some(code),
        }
    }

    /// Whether no address is in both. Which country is on which continent is for the database
    /// to say, and another file may say otherwise.
    pub(super) fn is_apart(self, other: Self) -> bool {
        match (self, other) {
            (Self::Country(one), Self::Country(other))
            | (Self::Continent(one), Self::Continent(other)) => one != other,
            _ => false,
        }
    }

    /// The two letters.
    pub(super) fn code(&self) -> &str {
        let (Self::Country(code) | Self::Continent(code)) = self;
        std::str::from_utf8(code).unwrap_or_default()
    }
}

/// The continents of `MaxMind`'s databases.
const CONTINENTS: [&str; 7] = ["AF", "AN", "AS", "EU", "NA", "OC", "SA"];

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = if matches!(self, Self::Continent(_)) { "continent:" } else { "" };
        write!(f, "{before}{}", self.code())
    }
}

impl fmt::Debug for Geo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Geo").field(&self.0.metadata().database_type).finish()
    }
}

#[cfg(test)]
mod tests;
