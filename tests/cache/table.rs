//! Reads a table of cases.
//!
//! ```text
//! # A comment.
//! case: s-maxage counts before max-age
//! rfc: 9111 5.2.2.10
//! on: open
//! ask GET /
//! says 200
//!   cache-control: max-age=1, s-maxage=60
//! got 200 miss 1
//! ask GET /
//! got 200 hit 1
//!   age: 0..5
//! ```
//!
//! A case has steps, each of which begins with what the client does:
//!
//! | Line | Means |
//! |---|---|
//! | `on: ROUTE` | the route of all steps, one of `main.rs`; without it `open` |
//! | `ask METHOD TARGET` | a request; the target stands behind the case's own path |
//! | `until METHOD TARGET` | the same request until the word and the body are the expected ones |
//! | `says STATUS` | the service is asked once, and answers so |
//! | `says 200 cut`, `says die` | … breaks off within the body, or before it says a word |
//! | `says hang` | … never answers |
//! | `later STATUS` | the service is asked, but nobody waits for it |
//! | `may STATUS` | the service may be asked, and answers so |
//! | `saw METHOD [TARGET]` | the service must have seen this method |
//! | `got STATUS [WORD] [STEP]` | the client gets this status, word and body; see below |
//! | `got 502|504`, `got 200 hit|stale` | … one of them |
//! | `got cut` | the answer breaks off, or is 502 where nothing of it had been passed on |
//! | `wait MS` | time passes before the step |
//!
//! The word is that of `X-Cache` in small letters, `-` for any; the step, counted from 1, is the one
//! in which the service said the body.
//!
//! A step without `says`, `later` or `may` is one in which the service must not be asked at all.
//!
//! Indented lines belong to the line above them. Below `ask` and `says` they are fields and bodies:
//! `name: value`, `"text"`, `!name` for a field that is not sent though it would be (`date`,
//! `content-length`), `@as USER@TENANT SCOPES` for a caller's token, `@from IP` for the client's
//! address. Below `saw` and `got` they are expectations: `name: value` for all lines of the field
//! together, `name: ~one|other` for one that holds one of these texts, `name: !~text` for one that
//! does not, `name: 5..9` for a number, `name: *` for any value, `!name` for none, and `"text"` for
//! the body.
//!
//! `{now}`, `{now-60}` and `{now+60}` are dates, `{path}` is the case's own path, `{here}` the
//! same with scheme and host, `{x*300}` a repetition.

use tidegate_kit::{Error, Result};

/// One case.
#[derive(Debug)]
pub(crate) struct Case {
    /// The table that it is in.
    pub(crate) subject: String,
    /// Its line there.
    pub(crate) line: usize,
    /// What it shows.
    pub(crate) name: String,
    /// Where that is written.
    pub(crate) rfc: String,
    /// The route that it asks.
    pub(crate) route: String,
    /// What happens.
    pub(crate) steps: Vec<Step>,
}

/// A request and what must come of it.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// Time that passes before it, in milliseconds.
    pub(crate) wait_ms: u64,
    /// Whether it is repeated until the body is right.
    pub(crate) until: bool,
    pub(crate) method: String,
    /// Behind the case's own path.
    pub(crate) target: String,
    pub(crate) request: Block,
    /// What the service says; none where it must not be asked.
    pub(crate) says: Option<Says>,
    /// What the service must have seen.
    pub(crate) saw: Option<(String, Block)>,
    pub(crate) got: Got,
}

/// What the service does.
#[derive(Debug)]
pub(crate) struct Says {
    pub(crate) manner: Manner,
    pub(crate) status: u16,
    /// Whether nobody waits for it.
    pub(crate) later: bool,
    /// Whether it need not be asked.
    pub(crate) optional: bool,
    pub(crate) block: Block,
}

/// How the service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Whole,
    Cut,
    Die,
    Hang,
}

/// What the client must get.
#[derive(Debug, Default)]
pub(crate) struct Got {
    /// The statuses of which it has one; none where the answer breaks off.
    pub(crate) statuses: Vec<u16>,
    /// The word of `X-Cache`, in small letters.
    pub(crate) word: Option<String>,
    /// The step, from 1, whose body it is.
    pub(crate) step: Option<usize>,
    pub(crate) block: Block,
}

/// The indented lines below a line.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) fields: Vec<(String, String)>,
    /// Names behind a `!`.
    pub(crate) without: Vec<String>,
    pub(crate) body: Option<String>,
    /// What begins with `@`: its word and the rest.
    pub(crate) marks: Vec<(String, String)>,
}

impl Case {
    /// Its subject and name.
    pub(crate) fn title(&self) -> String {
        format!("{}: {}", self.subject, self.name)
    }
}

/// Reads all cases of a table.
pub(crate) fn read(subject: &str, text: &str) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    // The line that the next indented lines belong to.
    let mut open = "";
    let mut wait_ms = 0;
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let wrong = |what: &str| Error::new(format!("{subject}.case:{number}: {what}: {line:?}"));
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("case: ") {
            if cases.iter().any(|case| case.name == name) {
                return Err(wrong("another case has this name"));
            }
            cases.push(Case {
                subject: subject.to_owned(),
                line: number,
                name: name.to_owned(),
                rfc: String::new(),
                route: "open".to_owned(),
                steps: Vec::new(),
            });
            (open, wait_ms) = ("", 0);
            continue;
        }
        let case = cases.last_mut().ok_or_else(|| wrong("a table begins with a case"))?;
        if let Some(rfc) = line.strip_prefix("rfc: ") {
            rfc.clone_into(&mut case.rfc);
            continue;
        }
        if let Some(route) = line.strip_prefix("on: ") {
            route.clone_into(&mut case.route);
            continue;
        }
        if let Some(inner) = line.strip_prefix("  ") {
            let step = case.steps.last_mut().ok_or_else(|| wrong("nothing it belongs to"))?;
            step.block(open).ok_or_else(|| wrong("nothing it belongs to"))?.note(inner);
            continue;
        }
        let (word, rest) = line.split_once(' ').ok_or_else(|| wrong("not a line of a case"))?;
        open = word;
        match word {
            "wait" => wait_ms = rest.parse().map_err(|_| wrong("no number"))?,
            "ask" | "until" => {
                let (method, target) = rest.split_once(' ').ok_or_else(|| wrong("no target"))?;
                case.steps.push(Step {
                    wait_ms: std::mem::take(&mut wait_ms),
                    until: word == "until",
                    method: method.to_owned(),
                    target: target.to_owned(),
                    ..Step::default()
                });
            }
            _ => {
                let step = case.steps.last_mut().ok_or_else(|| wrong("no request yet"))?;
                step.note(word, rest).ok_or_else(|| wrong("not a line of a step"))?;
            }
        }
    }
    match cases.iter().find(|case| case.rfc.is_empty() || case.steps.is_empty()) {
        Some(case) => Err(Error::new(format!("{}: no `rfc` or no step", case.title()))),
        None => Ok(cases),
    }
}

impl Step {
    fn note(&mut self, word: &str, rest: &str) -> Option<()> {
        let mut words = rest.split(' ');
        let first = words.next()?;
        match word {
            "says" | "later" | "may" => {
                let (manner, status) = match (first, words.next()) {
                    ("die", None) => (Manner::Die, 0),
                    ("hang", None) => (Manner::Hang, 0),
                    (status, Some("cut")) => (Manner::Cut, status.parse().ok()?),
                    (status, None) => (Manner::Whole, status.parse().ok()?),
                    _ => return None,
                };
                let (later, optional) = (word == "later", word == "may");
                self.says = Some(Says { manner, status, later, optional, block: Block::default() });
            }
            "saw" => self.saw = Some((rest.to_owned(), Block::default())),
            "got" => {
                if first != "cut" {
                    let statuses = first.split('|').map(|status| status.parse().ok());
                    self.got.statuses = statuses.collect::<Option<_>>()?;
                }
                for word in words {
                    match word.parse() {
                        Ok(step) => self.got.step = Some(step),
                        Err(_) if word == "-" => {}
                        Err(_) => self.got.word = Some(word.to_owned()),
                    }
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn block(&mut self, open: &str) -> Option<&mut Block> {
        match open {
            "ask" | "until" => Some(&mut self.request),
            "says" | "later" | "may" => self.says.as_mut().map(|says| &mut says.block),
            "saw" => self.saw.as_mut().map(|(_, block)| block),
            "got" => Some(&mut self.got.block),
            _ => None,
        }
    }
}

impl Block {
    fn note(&mut self, line: &str) {
        if let Some(text) = line.strip_prefix('"') {
            self.body = Some(text.strip_suffix('"').unwrap_or(text).to_owned());
        } else if let Some(name) = line.strip_prefix('!') {
            self.without.push(name.to_owned());
        } else if let Some(mark) = line.strip_prefix('@') {
            let (word, rest) = mark.split_once(' ').unwrap_or((mark, ""));
            self.marks.push((word.to_owned(), rest.to_owned()));
        } else {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            // One space belongs to the table; further ones belong to the value.
            let value = value.strip_prefix(' ').unwrap_or(value);
            self.fields.push((name.to_owned(), value.to_owned()));
        }
    }
}
