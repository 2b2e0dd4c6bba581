//! What the admin listener and databases tell, laid out for people.

use serde_json::Value;

/// Columns for people. What a database holds may have been written by anybody, so that control
/// characters are shown, not obeyed.
pub(super) fn table(titles: &[&str], rows: &[Vec<String>]) -> String {
    let safe = |cell: &str| -> String {
        let one = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
        cell.chars().map(one).collect()
    };
    let titles: Vec<String> = titles.iter().map(|title| (*title).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(&titles)
        .chain(rows)
        .map(|row| row.iter().map(|cell| safe(cell)).collect())
        .collect();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let mut page = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let text = cells.collect::<Vec<_>>().join("  ");
        page.push_str(text.trim_end());
        page.push('\n');
    }
    page
}

/// Names and values, one a line.
pub(super) fn facts<N: AsRef<str>>(rows: &[(N, String)]) -> String {
    let cells = |(name, value): &(N, String)| vec![name.as_ref().to_owned(), value.clone()];
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    match rows.split_first() {
        Some((first, rest)) => {
            let first: Vec<&str> = first.iter().map(String::as_str).collect();
            table(&first, rest)
        }
        None => String::new(),
    }
}

/// A member of an object; null where there is none.
pub(super) fn at<'a>(object: &'a Value, key: &str) -> &'a Value {
    object.get(key).unwrap_or(&Value::Null)
}

/// A value in words: `-` for none, those of a list one after the other.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up_and_obey_nobody() {
        let rows =
            [vec!["ä".to_owned(), "1".to_owned()], vec!["b\u{1b}[2J".to_owned(), String::new()]];
        let page = table(&["NAME", "N"], &rows);
        assert_eq!(page, "NAME        N\nä           1\nb\\u{1b}[2J\n");
    }

    #[test]
    fn facts_line_up_and_there_may_be_none() {
        let rows = [("key", "-".to_owned()), ("capacity", text(&json!(5)))];
        assert_eq!(facts(&rows), "key       -\ncapacity  5\n");
        assert_eq!(facts::<&str>(&[]), "");
    }

    #[test]
    fn a_value_is_said_without_its_quotes() {
        let told = json!({"tags": ["a", "b"], "fresh": true, "name": "x"});
        let said = ["tags", "fresh", "name", "absent"].map(|key| text(at(&told, key)));
        assert_eq!(said, ["a b", "true", "x", "-"]);
    }
}
