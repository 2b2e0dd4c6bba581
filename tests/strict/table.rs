//! Reads a table of cases.
//!
//! ```text
//! # A comment.
//! case: name of the case
//! GET / HTTP/1.1\r\n
//! Host: a\r\n
//! \r\n
//! |
//! hello{x*300}
//! -> 200
//! => GET / HTTP/1.1
//! ```
//!
//! Lines between the name and the first expectation are bytes for the wire, without the line ends
//! of the file: `\r`, `\n`, `\t`, `\0`, `\\` and `\xHH` stand for themselves, `{TEXT*COUNT}` for a
//! repetition. `|` alone makes a pause, so that what follows comes in a later read, and `close`
//! alone ends the connection. Expectations begin with `->`, `=>` or `<=`; what they mean says the
//! test that reads them.

use tidegate_kit::{Error, Result, Step};

/// One case.
pub(crate) struct Case {
    /// What is tried.
    pub(crate) name: String,
    /// What goes on the wire.
    pub(crate) steps: Vec<Step>,
    /// What must come of it: the sign and the rest of the line.
    pub(crate) expected: Vec<(String, String)>,
}

impl Case {
    /// The lines of expectation that begin with this sign.
    pub(crate) fn expect<'a>(&'a self, sign: &'a str) -> impl Iterator<Item = &'a str> {
        self.expected.iter().filter(move |(known, _)| known == sign).map(|(_, rest)| rest.as_str())
    }
}

/// Reads all cases of a file.
pub(crate) fn read(text: &str) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("case: ") {
            if cases.iter().any(|case| case.name == name) {
                return Err(Error::new(format!("two cases are called {name:?}")));
            }
            let (steps, expected) = (Vec::new(), Vec::new());
            cases.push(Case { name: name.to_owned(), steps, expected });
            continue;
        }
        let Some(case) = cases.last_mut() else {
            return Err(Error::new("a table begins with a case"));
        };
        if let Some((sign @ ("->" | "=>" | "<="), rest)) = line.split_once(' ') {
            case.expected.push((sign.to_owned(), rest.to_owned()));
        } else if case.expected.is_empty() {
            case.step(line)?;
        } else {
            return Err(Error::new(format!("{}: {line:?} behind what it leads to", case.name)));
        }
    }
    Ok(cases)
}

impl Case {
    fn step(&mut self, line: &str) -> Result<()> {
        match (line, self.steps.last_mut()) {
            ("|", _) => self.steps.push(Step::Pause),
            ("close", _) => self.steps.push(Step::Close),
            (_, Some(Step::Say(bytes))) => bytes.extend(unescape(line)?),
            _ => self.steps.push(Step::Say(unescape(line)?)),
        }
        Ok(())
    }
}

fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let repeated = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        if let Some((inner, behind)) = repeated
            && let Some((what, count)) = inner.rsplit_once('*')
            && let Ok(count) = count.parse()
        {
            bytes.extend(unescape(what)?.repeat(count));
            rest = behind;
            continue;
        }
        let (byte, length) = match rest.as_bytes() {
            [b'\\', b'r', ..] => (b'\r', 2),
            [b'\\', b'n', ..] => (b'\n', 2),
            [b'\\', b't', ..] => (b'\t', 2),
            [b'\\', b'0', ..] => (0, 2),
            [b'\\', b'\\', ..] => (b'\\', 2),
            [b'\\', b'x', ..] => {
                let digits = rest.get(2..4).unwrap_or_default();
                let byte = u8::from_str_radix(digits, 16);
                (byte.map_err(|_| Error::new(format!("\\x without digits in {text:?}")))?, 4)
            }
            [b'\\', ..] => return Err(Error::new(format!("an unknown escape in {text:?}"))),
            _ => {
                bytes.extend(first.to_string().bytes());
                rest = &rest[first.len_utf8()..];
                continue;
            }
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    Ok(bytes)
}

#[test]
fn bytes_are_written_as_they_come() {
    assert_eq!(unescape(r"a\r\n\t\0\\\x7f{b*3}{x}").unwrap(), b"a\r\n\t\0\\\x7fbbb{x}");
    let cases = read("# x\ncase: a\nG\nH\n|\nI\n-> 400\n=> X\n\ncase: b\nclose\n").unwrap();
    assert!(matches!(&cases[0].steps[..], [Step::Say(gh), Step::Pause, Step::Say(i)]
        if gh == b"GH" && i == b"I"));
    assert_eq!(cases[0].expect("->").collect::<Vec<_>>(), ["400"]);
    assert!(matches!(cases[1].steps[..], [Step::Close]));
}
