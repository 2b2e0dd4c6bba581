//! A set of client addresses, for lists of networks.

use std::net::IpAddr;

use ipnet::IpNet;

use super::client_addr::parse_block;

/// Addresses of any number of networks. A look-up is a binary search; it allocates nothing.
///
/// An IPv4 address inside IPv6 (`::ffff:192.0.2.1`) counts as the IPv4 address, in the set and
/// in what is looked up: `::/0` is every IPv6 address and no IPv4 address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSet {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// Ranges with both ends, in order, apart from each other.
type Ranges<T> = Box<[(T, T)]>;

impl AddressSet {
    /// A set of CIDR blocks and single addresses; entries that are neither come back with their
    /// index and why.
    #[must_use]
    pub fn read(entries: &[String]) -> (Self, Vec<(usize, String)>) {
        let (mut v4, mut v6, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        for (index, entry) in entries.iter().enumerate() {
            match parse_block(entry) {
                Ok(IpNet::V4(block)) => v4.push((block.network().into(), block.broadcast().into())),
                Ok(IpNet::V6(block)) => v6.push((block.network().into(), block.broadcast().into())),
                Err(why) => wrong.push((index, why)),
            }
        }
        (Self { v4: joined(v4), v6: joined(v6) }, wrong)
    }

    /// Whether it holds no address at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether it holds an address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => holds(&self.v4, u32::from(address)),
            IpAddr::V6(address) => holds(&self.v6, u128::from(address)),
        }
    }

    /// Whether every address of this set is one of the other's too.
    #[must_use]
    pub fn is_inside(&self, other: &Self) -> bool {
        is_inside(&self.v4, &other.v4) && is_inside(&self.v6, &other.v6)
    }
}

/// Puts ranges in order and makes one of those that overlap. CIDR blocks overlap only where one
/// holds the other; neighbours may stay apart.
fn joined<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Ranges<T> {
    ranges.sort_unstable();
    let mut joined: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined.into()
}

/// The one range that could hold a value.
fn around<T: Ord + Copy>(ranges: &[(T, T)], value: T) -> Option<&(T, T)> {
    let after = ranges.partition_point(|(first, _)| *first <= value);
    ranges.get(after.checked_sub(1)?)
}

fn holds<T: Ord + Copy>(ranges: &[(T, T)], value: T) -> bool {
    around(ranges, value).is_some_and(|(_, last)| value <= *last)
}

fn is_inside<T: Ord + Copy>(ranges: &[(T, T)], others: &[(T, T)]) -> bool {
    let is_held = |(first, last): &(T, T)| around(others, *first).is_some_and(|(_, l)| last <= l);
    ranges.iter().all(is_held)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(entries: &[&str]) -> AddressSet {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        let (set, wrong) = AddressSet::read(&entries);
        assert_eq!(wrong, []);
        set
    }

    fn holds(set: &AddressSet, address: &str) -> bool {
        set.contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_ends_where_it_ends() {
        let set = set(&["10.1.0.0/16", "192.0.2.7", "2001:db8::/32", "0.0.0.0/32"]);
        for inside in [
            "10.1.0.0",
            "10.1.255.255",
            "192.0.2.7",
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "0.0.0.0",
        ] {
            assert!(holds(&set, inside), "{inside}");
        }
        for outside in
            ["10.0.255.255", "10.2.0.0", "192.0.2.6", "192.0.2.8", "2001:db9::", "2001:db7:ffff::"]
        {
            assert!(!holds(&set, outside), "{outside}");
        }
    }

    #[test]
    fn ipv4_inside_ipv6_is_ipv4() {
        let v4 = set(&["10.0.0.0/8"]);
        assert!(holds(&v4, "::ffff:10.1.2.3") && !holds(&v4, "::ffff:11.1.2.3"));
        let mapped = set(&["::ffff:10.0.0.0/104"]);
        assert!(holds(&mapped, "10.1.2.3") && !holds(&mapped, "11.0.0.0"));
        let v6 = set(&["::/0"]);
        assert!(holds(&v6, "::1") && !holds(&v6, "10.1.2.3") && !holds(&v6, "::ffff:10.1.2.3"));
    }

    #[test]
    fn networks_in_networks_and_all_of_them() {
        let nested = set(&["10.9.0.0/16", "10.0.0.0/8", "10.9.9.9", "9.0.0.0/8"]);
        assert_eq!(nested, set(&["9.0.0.0/8", "10.0.0.0/8"]));
        assert!(holds(&nested, "10.255.255.255") && holds(&nested, "9.255.255.255"));
        let all = set(&["0.0.0.0/0"]);
        assert!(holds(&all, "0.0.0.0") && holds(&all, "255.255.255.255") && !holds(&all, "::1"));
        assert!(!holds(&AddressSet::default(), "10.0.0.1") && AddressSet::default().is_empty());
    }

    /// The answer of the search is that of a look at every network.
    #[test]
    fn many_networks_answer_as_each_of_them_would() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut block = || {
            let length = random.u8(4..=32);
            IpNet::new(IpAddr::from(random.u32(..).to_be_bytes()), length).unwrap().trunc()
        };
        let blocks: Vec<IpNet> = (0..200).map(|_| block()).collect();
        let entries: Vec<String> = blocks.iter().map(ToString::to_string).collect();
        let (set, wrong) = AddressSet::read(&entries);
        assert_eq!(wrong, []);
        for _ in 0..20_000 {
            let block = blocks[random.usize(..blocks.len())];
            let IpAddr::V4(near) = block.addr() else { unreachable!() };
            let near = u32::from(near).wrapping_add(random.u32(0..3)).wrapping_sub(1);
            for address in [IpAddr::from(near.to_be_bytes()), random.u32(..).to_be_bytes().into()] {
                let expected = blocks.iter().any(|block| block.contains(&address));
                assert_eq!(set.contains(address), expected, "{address}");
            }
        }
    }

    #[test]
    fn what_is_no_network_is_said_for_each() {
        let entries = ["10.0.0.0/8", "10.0.0.1/8", "here", ""].map(str::to_owned);
        let (_, wrong) = AddressSet::read(&entries);
        assert_eq!(wrong.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_set_inside_another() {
        let is_inside = |one: &[&str], other: &[&str]| set(one).is_inside(&set(other));
        assert!(is_inside(&["10.0.0.0/8"], &["10.0.0.0/8"]));
        assert!(is_inside(&["10.9.0.0/16", "::1"], &["10.0.0.0/8", "::/64"]));
        assert!(!is_inside(&["10.0.0.0/8"], &["10.0.0.0/9"]));
        assert!(!is_inside(&["10.0.0.0/8", "::1"], &["10.0.0.0/8"]));
    }
}
