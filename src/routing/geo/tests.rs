use tidegate_kit::GeoDatabase;

use super::*;

fn world() -> Geo {
    Geo::read(&GeoDatabase::world().unwrap().to_bytes()).unwrap()
}

fn whereabouts(address: &str) -> (String, String) {
    let found = world().find(address.parse().unwrap());
    let text = |code: Option<Code>| {
        code.map(|code| String::from_utf8(code.to_vec()).unwrap()).unwrap_or_default()
    };
    (text(found.country), text(found.continent))
}

#[test]
fn addresses_are_where_the_database_says() {
    for (address, country, continent) in [
        ("192.0.2.0", "DE", "EU"),
        ("192.0.2.255", "DE", "EU"),
        ("192.0.3.0", "", ""),
        ("192.0.1.255", "", ""),
        ("198.51.100.127", "FR", "EU"),
        ("198.51.100.128", "US", "NA"),
        ("203.0.113.1", "CH", "EU"),
        ("203.0.113.64", "", "EU"),
        ("203.0.113.128", "", ""),
        ("2001:db8:1::7", "DE", "EU"),
        ("2001:db8:2:ffff::", "JP", "AS"),
        ("2001:db8:3::", "", ""),
        ("127.0.0.1", "", ""),
        ("::1", "", ""),
    ] {
        let expected = (country.to_owned(), continent.to_owned());
        assert_eq!(whereabouts(address), expected, "{address}");
    }
}

#[test]
fn the_narrower_network_wins() {
    let database = GeoDatabase::default()
        .country("192.0.2.128/25", "FR", "EU")
        .and_then(|database| database.country("192.0.0.0/16", "DE", "EU"))
        .unwrap();
    let geo = Geo::read(&database.to_bytes()).unwrap();
    let country = |address: &str| geo.find(address.parse().unwrap()).country;
    assert_eq!(country("192.0.2.127"), Some(*b"DE"));
    assert_eq!(country("192.0.2.128"), Some(*b"FR"));
    assert_eq!(country("192.0.3.1"), Some(*b"DE"));
}

#[test]
fn what_is_no_database_of_countries_is_refused() {
    let whole = GeoDatabase::world().unwrap().to_bytes();
    assert!(Geo::read(b"").is_err() && Geo::read(b"not a database").is_err());
    for cut in [1, whole.len() / 2, whole.len() - 1] {
        assert!(Geo::read(&whole[..cut]).is_err(), "the first {cut} bytes");
        assert!(Geo::read(&whole[cut..]).is_err(), "behind {cut} bytes");
    }
    let cities = GeoDatabase::default().network("192.0.2.0/24", &[("city", "name", "Ulm")]);
    let refused = Geo::read(&cities.unwrap().to_bytes()).err();
    assert_eq!(refused.as_deref(), Some("it knows no country"));
    assert!(Geo::read(&GeoDatabase::default().to_bytes()).is_err(), "an empty one");
}

#[test]
fn places_are_two_capital_letters() {
    assert_eq!(Place::read("DE"), Ok(Place::Country(*b"DE")));
    assert_eq!(Place::read("continent:EU"), Ok(Place::Continent(*b"EU")));
    let wrong = |word: &str| Place::read(word).unwrap_err();
    assert_eq!(wrong("de"), "write `DE`");
    assert_eq!(wrong("continent:eu"), "write `continent:EU`");
    assert!(wrong("DEU").contains("`DE`") && wrong("").contains("`DE`"));
    assert!(wrong("continent:XX").contains("AF, AN, AS, EU"), "{}", wrong("continent:XX"));
    assert!(wrong("D1").contains("`continent:EU`") || wrong("D1").contains("`DE`"));
    assert!(Place::read("continent:").is_err() && Place::read("Continent:EU").is_err());
}
