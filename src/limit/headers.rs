//! The response headers that tell a client its limits.
//!
//! `RateLimit-Policy` and `RateLimit` are structured-field lists
//! (draft-ietf-httpapi-ratelimit-headers-09): all rules of the request, the tightest first.
//! `X-RateLimit-*` describe the tightest alone. All times are whole seconds from now, rounded up
//! (T18). What nobody counted is not reported: no number is better than a wrong one (R069).
//!
//! Whole numbers of structured fields have at most 15 digits (RFC 9651 section 3.3.1); what is left
//! and when more is there are written as the largest of those where they are larger.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::Quota;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMITS: HeaderName = HeaderName::from_static("ratelimit");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Room for one rule's item beside its name.
const ITEM: usize = 48;

/// The largest whole number of a structured field.
const NUMBER_MAX: u64 = 999_999_999_999_999;

/// Hands out the headers for `quotas`, the tightest of which comes first.
pub(super) fn write(quotas: &[Quota], set: &mut impl FnMut(HeaderName, HeaderValue)) {
    let Some(tightest) = quotas.first() else { return };
    match quotas {
        [only] => set(POLICY, only.policy.clone()),
        all => {
            let mut list = Vec::with_capacity(all.iter().map(|q| q.policy.len() + 2).sum());
            for quota in all {
                next(&mut list);
                list.extend_from_slice(quota.policy.as_bytes());
            }
            put(POLICY, Bytes::from(list), set);
        }
    }
    let names: usize = quotas.iter().map(|quota| quota.name.len() + ITEM).sum();
    let mut list = Vec::with_capacity(names);
    let mut first = None;
    for quota in quotas {
        let Some(remaining) = quota.remaining else { continue };
        next(&mut list);
        push_name(&mut list, &quota.name);
        list.extend_from_slice(b";r=");
        let left = push_number(&mut list, remaining);
        list.extend_from_slice(b";t=");
        let reset = push_number(&mut list, whole_seconds(quota.reset));
        first.get_or_insert((left, reset));
    }
    let list = Bytes::from(list);
    if !list.is_empty() {
        put(LIMITS, list.clone(), set);
    }
    set(X_LIMIT, tightest.limit_value.clone());
    if let Some((left, reset)) = first.filter(|_| tightest.remaining.is_some()) {
        // The digits that stand in the list, not written a second time.
        put(X_REMAINING, list.slice(left), set);
        put(X_RESET, list.slice(reset), set);
    }
}

/// What `RateLimit-Policy` says of a rule.
pub(super) struct Policy<'a> {
    /// The rule's name, which needs no escapes.
    pub(super) name: &'a str,
    /// The advertised limit.
    pub(super) limit: u64,
    /// The window in seconds; 0 where there is none.
    pub(super) window_s: u64,
    /// By how much all nodes together may pass the limit, at worst; 0 where they cannot (R077).
    pub(super) overage: u64,
    /// Whether it is requests at once that are limited.
    pub(super) at_once: bool,
}

impl Policy<'_> {
    /// The rule's item, made once. The draft asks that parameters of one's own carry the
    /// vendor's name.
    pub(super) fn item(&self) -> Option<HeaderValue> {
        let mut item = Vec::with_capacity(self.name.len() + ITEM);
        push_name(&mut item, self.name);
        item.extend_from_slice(b";q=");
        push_number(&mut item, self.limit);
        if self.at_once {
            item.extend_from_slice(b";qu=\"concurrent-requests\"");
        }
        if self.window_s > 0 {
            item.extend_from_slice(b";w=");
            push_number(&mut item, self.window_s);
        }
        if self.overage > 0 {
            item.extend_from_slice(b";tidegate-overage=");
            push_number(&mut item, self.overage);
        }
        HeaderValue::from_maybe_shared(Bytes::from(item)).ok()
    }
}

/// Rounded up, so that nobody is told to come too early.
pub(super) fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

fn put(name: HeaderName, text: Bytes, set: &mut impl FnMut(HeaderName, HeaderValue)) {
    // Names are visible ASCII since their rule was compiled; the rest are digits.
    if let Ok(value) = HeaderValue::from_maybe_shared(text) {
        set(name, value);
    }
}

fn next(list: &mut Vec<u8>) {
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
}

fn push_name(list: &mut Vec<u8>, name: &str) {
    list.push(b'"');
    list.extend_from_slice(name.as_bytes());
    list.push(b'"');
}

/// Decimal digits without the formatting machinery; where they stand.
fn push_number(list: &mut Vec<u8>, number: u64) -> Range<usize> {
    let mut number = number.min(NUMBER_MAX);
    let start = list.len();
    loop {
        list.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    if let Some(digits) = list.get_mut(start..) {
        digits.reverse();
    }
    start..list.len()
}

#[cfg(test)]
mod tests;
