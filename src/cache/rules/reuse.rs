//! Whether a kept answer may be used for a request, as it is (RFC 9111 section 4).

use super::control::RequestControl;

/// A kept answer at the moment at which it is asked for, in seconds.
#[derive(Clone, Copy, Debug)]
pub(in crate::cache) struct Stock {
    /// Its age.
    pub(in crate::cache) age: u32,
    /// For how long it was fresh; with `age` larger it is stale.
    pub(in crate::cache) lifetime: u32,
    /// For how long it may be used stale while it is being confirmed.
    pub(in crate::cache) while_revalidate: u32,
    /// Whether it must be confirmed once it is stale, whatever a client would put up with.
    pub(in crate::cache) strict: bool,
}

/// What to do with a kept answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache) enum Use {
    /// It answers.
    Fresh,
    /// It answers although it is stale, because the client puts up with that.
    Stale,
    /// It answers although it is stale, and is confirmed beside that.
    StaleWhileRevalidate,
    /// The service is asked whether it is still the answer.
    Confirm,
    /// The client wants nothing but what is kept, and this is not what it wants: 504.
    Refuse,
}

/// Decides. `heeds_client` says whether clients may ask for fresher answers than the service
/// promised: whoever may can send every request to it.
pub(in crate::cache) fn decide(stock: Stock, wanted: &RequestControl, heeds_client: bool) -> Use {
    let asks_service = if wanted.only_if_cached { Use::Refuse } else { Use::Confirm };
    if heeds_client {
        let too_old = wanted.max_age.is_some_and(|most| stock.age > most);
        let left = stock.lifetime.saturating_sub(stock.age);
        let too_short = wanted.min_fresh.is_some_and(|least| left < least);
        // `max-stale` widens `max-age` where both are there (section 5.2.1.2).
        let puts_up = wanted.max_stale.is_some() && !stock.strict;
        if wanted.no_cache || too_short || (too_old && !puts_up) {
            return asks_service;
        }
    }
    let Some(stale) = stock.age.checked_sub(stock.lifetime).filter(|_| is_stale(stock)) else {
        return Use::Fresh;
    };
    if wanted.max_stale.is_some_and(|most| stale <= most) && !stock.strict {
        return Use::Stale;
    }
    if stale < stock.while_revalidate && !wanted.only_if_cached {
        return Use::StaleWhileRevalidate;
    }
    asks_service
}

/// An answer is fresh while its lifetime exceeds its age (section 4.2).
const fn is_stale(stock: Stock) -> bool {
    stock.age >= stock.lifetime
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::*;

    fn wanted(words: &str) -> RequestControl {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_str(words).unwrap());
        RequestControl::of(&headers)
    }

    fn stock(age: u32) -> Stock {
        Stock { age, lifetime: 60, while_revalidate: 0, strict: false }
    }

    #[test]
    fn an_answer_is_fresh_until_its_lifetime_is_over() {
        let none = RequestControl::default();
        assert_eq!(decide(stock(0), &none, true), Use::Fresh);
        assert_eq!(decide(stock(59), &none, true), Use::Fresh);
        assert_eq!(decide(stock(60), &none, true), Use::Confirm);
    }

    #[test]
    fn clients_may_want_it_fresher_where_they_are_heeded() {
        for (words, age, with, without) in [
            ("no-cache", 0, Use::Confirm, Use::Fresh),
            ("max-age=10", 10, Use::Fresh, Use::Fresh),
            ("max-age=10", 11, Use::Confirm, Use::Fresh),
            ("max-age=0", 1, Use::Confirm, Use::Fresh),
            ("min-fresh=20", 40, Use::Fresh, Use::Fresh),
            ("min-fresh=21", 40, Use::Confirm, Use::Fresh),
            ("max-age=10, max-stale=5", 40, Use::Fresh, Use::Fresh),
            ("min-fresh=1", 70, Use::Confirm, Use::Confirm),
        ] {
            assert_eq!(decide(stock(age), &wanted(words), true), with, "{words}");
            assert_eq!(decide(stock(age), &wanted(words), false), without, "{words}, not heeded");
        }
    }

    #[test]
    fn clients_may_put_up_with_stale_answers_that_are_not_strict() {
        for (words, age, expected) in [
            ("max-stale=10", 70, Use::Stale),
            ("max-stale=10", 71, Use::Confirm),
            ("max-stale", 9_000, Use::Stale),
        ] {
            assert_eq!(decide(stock(age), &wanted(words), true), expected, "{words}");
            let strict = Stock { strict: true, ..stock(age) };
            assert_eq!(decide(strict, &wanted(words), true), Use::Confirm, "{words}, strict");
        }
    }

    #[test]
    fn services_may_let_it_be_confirmed_later() {
        let stock = |age| Stock { while_revalidate: 30, ..stock(age) };
        let none = RequestControl::default();
        assert_eq!(decide(stock(89), &none, true), Use::StaleWhileRevalidate);
        assert_eq!(decide(stock(90), &none, true), Use::Confirm);
        assert_eq!(decide(stock(70), &wanted("max-age=5"), true), Use::Confirm);
    }

    #[test]
    fn who_wants_only_what_is_kept_never_reaches_the_service() {
        let only = wanted("only-if-cached");
        assert_eq!(decide(stock(5), &only, true), Use::Fresh);
        assert_eq!(decide(stock(60), &only, true), Use::Refuse);
        assert_eq!(decide(stock(5), &wanted("only-if-cached, no-cache"), true), Use::Refuse);
        let renewable = Stock { while_revalidate: 30, ..stock(61) };
        assert_eq!(decide(renewable, &only, true), Use::Refuse);
        assert_eq!(decide(stock(61), &wanted("only-if-cached, max-stale=9"), true), Use::Stale);
    }
}
