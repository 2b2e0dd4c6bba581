//! A set of header names that is asked about every header of every request.

use http::{HeaderMap, HeaderName};

/// Header names, found without hashing: most names of a request differ from all of these in
/// length already.
#[derive(Clone, Debug, Default)]
pub struct NameSet {
    names: Box<[HeaderName]>,
    /// Bit `n` is set where a name has `n` bytes; names of 63 bytes and more share a bit.
    lengths: u64,
}

impl NameSet {
    /// A set of these names.
    pub fn new(names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names: Box<[HeaderName]> = names.into_iter().collect();
        let lengths = names.iter().fold(0, |bits, name| bits | length_bit(name));
        Self { names, lengths }
    }

    /// Whether a name is one of the set.
    #[must_use]
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.lengths & length_bit(name) != 0 && self.names.contains(name)
    }

    /// Takes every header of the set out of the map. Allocates only where there is one.
    pub fn remove_from<T>(&self, headers: &mut HeaderMap<T>) {
        let found: Vec<HeaderName> =
            headers.keys().filter(|name| self.contains(name)).cloned().collect();
        for name in found {
            headers.remove(name);
        }
    }
}

fn length_bit(name: &HeaderName) -> u64 {
    1 << name.as_str().len().min(63)
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, COOKIE, HOST};

    use super::*;

    #[test]
    fn only_names_of_the_set_are_removed_with_all_their_values() {
        let user = HeaderName::from_static("x-user-id");
        let same_length = HeaderName::from_static("x-user-ip");
        let set = NameSet::new([AUTHORIZATION, user.clone()]);
        let mut headers = HeaderMap::<i32>::with_capacity(4);
        headers.append(user.clone(), 1);
        headers.append(user.clone(), 2);
        headers.append(same_length.clone(), 3);
        headers.append(HOST, 4);
        set.remove_from(&mut headers);
        let mut left: Vec<_> = headers.into_iter().map(|(_, value)| value).collect();
        left.sort_unstable();
        assert_eq!(left, [3, 4]);
        assert!(set.contains(&AUTHORIZATION) && !set.contains(&COOKIE));
    }

    #[test]
    fn names_of_any_length_are_told_apart() {
        let long = |end: &str| HeaderName::try_from("x".repeat(80) + end).unwrap();
        let set = NameSet::new([long("a")]);
        assert!(set.contains(&long("a")));
        assert!(!set.contains(&long("b")) && !set.contains(&long("aa")));
    }
}
