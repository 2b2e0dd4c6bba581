//! The smallest limit that refuses few enough.

/// The smallest limit from `least` to `most` that refuses less than the share `under` of
/// `requests`, or none of them where that is less than one, and how many it refuses. None where
/// `most` does not either.
///
/// `refused` says how many a limit refuses; none where it cannot be counted. Found by halving:
/// one less refuses too many. With limits that refuse more though they are larger (windows that
/// count what they admitted before can, by a few) there may be a smaller one.
pub(super) fn smallest(
    least: u64,
    most: u64,
    requests: u64,
    under: f64,
    refused: impl Fn(u64) -> Option<u64>,
) -> Option<(u64, u64)> {
    let good = |limit: u64| refused(limit).filter(|refused| is_few(*refused, requests, under));
    let mut high = most.max(least);
    let mut found = loop {
        if let Some(refused) = refused(high) {
            break is_few(refused, requests, under).then_some((high, refused))?;
        }
        // So large a limit cannot be counted.
        if high <= least {
            return None;
        }
        high = (high / 2).max(least);
    };
    let mut low = least;
    while low < found.0 {
        let middle = low + (found.0 - low) / 2;
        match good(middle) {
            Some(refused) => found = (middle, refused),
            None => low = middle + 1,
        }
    }
    Some(found)
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
fn is_few(refused: u64, requests: u64, under: f64) -> bool {
    refused == 0 || (refused as f64) < under * requests as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many requests beyond the limit are refused.
    fn of(requests: u64) -> impl Fn(u64) -> Option<u64> {
        move |limit| Some(requests.saturating_sub(limit))
    }

    #[test]
    fn one_less_refuses_too_many() {
        for (under, expected) in [(0.01, 991), (0.1, 901), (0.0, 1000), (0.0001, 1000), (1.0, 1)] {
            let found = smallest(1, 1_000, 1_000, under, of(1_000));
            assert_eq!(found, Some((expected, 1_000 - expected)), "{under}");
        }
        // Under, not up to: ten of a thousand are one percent.
        assert_eq!(smallest(1, 1_000, 1_000, 0.01, of(1_000)).unwrap().1, 9);
    }

    #[test]
    fn limits_that_cannot_be_counted_are_left_out() {
        let refused = |limit| (limit <= 100).then(|| 50_u64.saturating_sub(limit));
        assert_eq!(smallest(1, 1_000, 1_000, 0.0, refused), Some((50, 0)));
        assert_eq!(smallest(1, 1_000, 1_000, 0.5, |_| None), None);
        assert_eq!(smallest(5, 1_000, 1_000, 0.5, |_| Some(500)), None);
        assert_eq!(smallest(5, 3, 10, 0.5, |_| Some(0)), Some((5, 0)), "never below the least");
    }
}
