//! Sets of methods.

use http::Method;

/// The methods that a bit stands for, in alphabetical order.
const KNOWN: [Method; 9] = [
    Method::CONNECT,
    Method::DELETE,
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::POST,
    Method::PUT,
    Method::TRACE,
];

/// The bit of a method; 0 for one of others' making.
const fn bit(method: &Method) -> u16 {
    match *method {
        Method::CONNECT => 1,
        Method::DELETE => 1 << 1,
        Method::GET => GET,
        Method::HEAD => HEAD,
        Method::OPTIONS => 1 << 4,
        Method::PATCH => 1 << 5,
        Method::POST => 1 << 6,
        Method::PUT => 1 << 7,
        Method::TRACE => 1 << 8,
        _ => 0,
    }
}

const GET: u16 = 1 << 2;
const HEAD: u16 = 1 << 3;

/// The method of a request, looked up once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    method: &'a Method,
    bit: u16,
}

impl<'a> Asked<'a> {
    /// Looks a method up.
    pub(super) const fn new(method: &'a Method) -> Self {
        Self { method, bit: bit(method) }
    }
}

/// How a method suits a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// The set has it, or has any.
    Full,
    /// HEAD is asked for and the set has GET: good enough where nothing lists HEAD.
    Instead,
    /// It does not.
    No,
}

/// Methods that a route lists, or any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MethodSet {
    known: u16,
    others: Box<[Method]>,
    any: bool,
}

impl MethodSet {
    /// The set of these methods; of any method where there are none.
    pub(super) fn new(methods: &[Method]) -> Self {
        let mut others: Vec<Method> =
            methods.iter().filter(|method| bit(method) == 0).cloned().collect();
        others.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        others.dedup();
        Self {
            known: methods.iter().map(bit).fold(0, std::ops::BitOr::bitor),
            others: others.into(),
            any: methods.is_empty(),
        }
    }

    /// Whether HEAD is listed.
    pub(super) const fn lists_head(&self) -> bool {
        self.known & HEAD != 0
    }

    /// How a method suits.
    pub(super) fn fit(&self, asked: Asked<'_>) -> Fit {
        let head = asked.bit == HEAD;
        if self.known & asked.bit != 0 {
            return Fit::Full;
        }
        if self.any {
            // Behind a route that lists HEAD as much as one that lists GET is.
            return if head { Fit::Instead } else { Fit::Full };
        }
        if head && self.known & GET != 0 {
            return Fit::Instead;
        }
        let is_other = asked.bit == 0 && self.others.contains(asked.method);
        if is_other { Fit::Full } else { Fit::No }
    }

    /// A method that both sets list, or GET where both take any; none where one takes any and
    /// the other does not, since listed methods go first.
    pub(super) fn common(&self, other: &Self) -> Option<Method> {
        if self.any && other.any {
            return Some(Method::GET);
        }
        let known = self.known & other.known;
        let known = [Method::GET, Method::POST]
            .into_iter()
            .chain(KNOWN)
            .find(|method| known & bit(method) != 0);
        known.or_else(|| self.others.iter().find(|method| other.others.contains(method)).cloned())
    }

    /// Whether every method of the other set is in this one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.any
            || !other.any
                && other.known & !self.known == 0
                && other.others.iter().all(|method| self.others.contains(method))
    }

    /// Adds the methods of another set.
    pub(super) fn add(&mut self, other: &Self) {
        self.known |= other.known;
        self.any |= other.any;
        if !other.others.is_empty() {
            let mut others = self.others.to_vec();
            others.extend_from_slice(&other.others);
            others.sort_by(|a, b| a.as_str().cmp(b.as_str()));
            others.dedup();
            self.others = others.into();
        }
    }

    /// The names of the listed methods in alphabetical order, with commas.
    pub(super) fn names(&self) -> String {
        let known = KNOWN.iter().filter(|method| self.known & bit(method) != 0);
        let mut names: Vec<&str> = known.chain(&self.others).map(Method::as_str).collect();
        names.sort_unstable();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> MethodSet {
        let methods: Vec<Method> = names.iter().map(|name| name.parse().unwrap()).collect();
        MethodSet::new(&methods)
    }

    fn fit(names: &[&str], asked: &str) -> Fit {
        set(names).fit(Asked::new(&asked.parse().unwrap()))
    }

    #[test]
    fn every_known_method_has_a_bit_of_its_own() {
        let all = KNOWN.iter().map(bit).fold(0, |all, bit| {
            assert_eq!((bit.count_ones(), all & bit), (1, 0));
            all | bit
        });
        assert_eq!(all, 0x1ff);
        assert!(KNOWN.is_sorted_by(|a, b| a.as_str() < b.as_str()));
    }

    #[test]
    fn listed_methods_fit() {
        assert_eq!(fit(&["GET", "POST"], "POST"), Fit::Full);
        assert_eq!(fit(&["GET", "POST"], "PUT"), Fit::No);
        assert_eq!(fit(&["PURGE"], "PURGE"), Fit::Full);
        assert_eq!(fit(&["PURGE"], "BAN"), Fit::No);
        assert_eq!(fit(&["PURGE"], "GET"), Fit::No);
        assert_eq!(fit(&[], "GET"), Fit::Full);
        assert_eq!(fit(&[], "BAN"), Fit::Full);
    }

    #[test]
    fn head_is_a_get_unless_it_is_listed() {
        assert_eq!(fit(&["GET"], "HEAD"), Fit::Instead);
        assert_eq!(fit(&["GET", "HEAD"], "HEAD"), Fit::Full);
        assert_eq!(fit(&[], "HEAD"), Fit::Instead);
        assert_eq!(fit(&["POST"], "HEAD"), Fit::No);
        assert_eq!(fit(&["HEAD"], "GET"), Fit::No);
        assert_eq!(fit(&["GET"], "OPTIONS"), Fit::No);
    }

    #[test]
    fn sets_overlap_in_a_method() {
        let common = |a: &[&str], b: &[&str]| set(a).common(&set(b)).map(|m| m.to_string());
        assert_eq!(common(&["GET", "POST"], &["PUT", "POST"]).as_deref(), Some("POST"));
        assert_eq!(common(&["PURGE"], &["GET", "PURGE"]).as_deref(), Some("PURGE"));
        assert_eq!(common(&[], &[]).as_deref(), Some("GET"));
        assert_eq!(common(&["GET"], &["HEAD"]), None);
        assert_eq!(common(&["GET"], &[]), None);
        assert!(set(&["GET", "A"]).covers(&set(&["A"])));
        assert!(set(&[]).covers(&set(&["GET"])) && set(&[]).covers(&set(&[])));
        assert!(!set(&["GET"]).covers(&set(&["GET", "A"])));
        assert!(!set(&["GET"]).covers(&set(&[])));
    }

    #[test]
    fn names_are_sorted_and_unique() {
        let mut all = set(&["POST", "GET", "GET", "LINK"]);
        assert_eq!(all.names(), "GET, LINK, POST");
        all.add(&set(&["ACL", "LINK", "PUT"]));
        assert_eq!(all.names(), "ACL, GET, LINK, POST, PUT");
    }
}
