//! Reads metrics in Prometheus text format.

/// One series of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name of the metric.
    pub name: String,
    /// Labels in their order.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

/// Reads every series; lines that are none are left out.
#[must_use]
pub fn parse(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

/// The sum of all series of this name that carry at least these labels; none where there is no
/// such series.
#[must_use]
pub fn sum(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let wanted = |sample: &&Sample| {
        sample.name == name
            && labels.iter().all(|(name, value)| {
                sample.labels.iter().any(|(known, held)| known == name && held == value)
            })
    };
    samples.iter().filter(wanted).map(|sample| sample.value).reduce(|sum, value| sum + value)
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, self::labels(labels.strip_suffix('}')?)?),
        None => (series, Vec::new()),
    };
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

/// Reads `name="value",…` with the escapes `\\`, `\"` and `\n`.
fn labels(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.push((name.to_owned(), value));
        text = rest.get(end + 1..)?.trim_start_matches(',');
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_read_and_summed() {
        let text = "# HELP a b\na{x=\"1\",y=\"q\\\"}\"} 2\na{x=\"1\",y=\"\"} 3\nb 0.5\n";
        let samples = parse(text);
        assert_eq!(samples.len(), 3);
        assert_eq!(samples[0].labels[1].1, "q\"}");
        assert_eq!(sum(&samples, "a", &[("x", "1")]), Some(5.0));
        assert_eq!(sum(&samples, "a", &[("x", "2")]), None);
        assert_eq!(sum(&samples, "b", &[]), Some(0.5));
    }
}
