//! A set of header names that is asked about every header of every request.

use http::{HeaderMap, HeaderName};

/// Header names, found without hashing: most names of a request differ from all of these in
/// length or in their last letter already.
///
/// Services that keep headers as environment variables (CGI and its kin) cannot tell `_` from
/// `-`: to them `x_user_id` is `x-user-id`. So whatever is taken out of a request is taken out
/// in either spelling.
#[derive(Clone, Debug, Default)]
pub struct NameSet {
    names: Box<[HeaderName]>,
    /// The [marks](mark) of the names.
    marks: u128,
    /// Whether a name of the set has a `_` itself, so that names without one may be meant.
    has_underscore: bool,
}

impl NameSet {
    /// A set of these names.
    pub fn new(names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names: Box<[HeaderName]> = names.into_iter().collect();
        let marks = names.iter().fold(0, |marks, name| marks | mark(name));
        let has_underscore = names.iter().any(has_underscore);
        Self { names, marks, has_underscore }
    }

    /// The names, as they were given.
    pub fn iter(&self) -> impl Iterator<Item = &HeaderName> {
        self.names.iter()
    }

    /// Whether a name is one of the set, spelled exactly so (in any case).
    #[must_use]
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.marks & mark(name) != 0 && self.names.contains(name)
    }

    /// Whether a name is one of the set to somebody who takes `_` for `-`.
    #[must_use]
    pub fn means(&self, name: &HeaderName) -> bool {
        if self.marks & mark(name) == 0 {
            return false;
        }
        self.names.contains(name)
            || (self.has_underscore || has_underscore(name))
                && self.names.iter().any(|known| is_same_variable(known.as_str(), name.as_str()))
    }

    /// Names of the map that [mean](Self::means) one of the set. Allocates only where there is
    /// one.
    #[must_use]
    pub fn found_in<T>(&self, headers: &HeaderMap<T>) -> Vec<HeaderName> {
        headers.keys().filter(|name| self.means(name)).cloned().collect()
    }

    /// Whether the map has a name that [means](Self::means) one of the set.
    #[must_use]
    pub fn is_in<T>(&self, headers: &HeaderMap<T>) -> bool {
        headers.keys().any(|name| self.means(name))
    }

    /// Takes every header that [means](Self::means) one of the set out of the map. Allocates
    /// only where there is one.
    pub fn remove_from<T>(&self, headers: &mut HeaderMap<T>) {
        for name in self.found_in(headers) {
            headers.remove(name);
        }
    }
}

/// Whether two header names become the same variable (RFC 3875, section 4.1.18).
#[must_use]
pub fn is_same_variable(one: &str, other: &str) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.bytes().map(fold).eq(other.bytes().map(fold))
}

fn has_underscore(name: &HeaderName) -> bool {
    name.as_str().contains('_')
}

/// One of 128 bits, by a name's length and last letter. The same for all spellings of a name.
fn mark(name: &HeaderName) -> u128 {
    let name = name.as_str().as_bytes();
    let last = match name.last() {
        Some(b'_') | None => b'-',
        Some(letter) => *letter,
    };
    1 << ((name.len() + 5 * usize::from(last)) % 128)
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

    #[test]
    fn an_underscore_is_no_way_around() {
        let name = |name: &str| HeaderName::try_from(name).unwrap();
        let set = NameSet::new([name("x-user-id"), name("x_dept")]);
        for other in ["x-user-id", "X-User-Id", "x_user_id", "X_USER-ID", "x-user_id", "x-dept"] {
            assert!(set.means(&name(other)), "{other}");
        }
        for other in ["x-user-ip", "x_user_ip", "xx-user-id", "x.user.id", "x-user-i", "x_depu"] {
            assert!(!set.means(&name(other)), "{other}");
        }
        assert!(!set.contains(&name("x_user_id")));
        let mut headers = HeaderMap::<()>::with_capacity(8);
        for other in ["x_user_id", "x-user_id", "x-dept", "x_other_", "host"] {
            headers.append(name(other), ());
        }
        set.remove_from(&mut headers);
        assert_eq!(headers.len(), 2, "{headers:?}");
    }
}
