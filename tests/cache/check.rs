//! Compares what came of a step with what was expected.

use tidegate_kit::Response;

use crate::origin::Seen;
use crate::table::{Block, Manner, Step};
use crate::values::Values;

/// What is wrong, line by line.
#[derive(Default)]
pub(crate) struct Wrong(Vec<String>);

impl Wrong {
    pub(crate) fn note(&mut self, line: String) {
        self.0.push(line);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// What the service was asked.
pub(crate) fn service(step: &Step, seen: &[Seen], values: &Values, wrong: &mut Wrong) {
    let wanted = usize::from(step.says.is_some());
    // One that dies may be asked again.
    let repeats = step.says.as_ref().is_some_and(|says| says.manner != Manner::Whole);
    let optional = step.says.as_ref().is_some_and(|says| says.optional) && seen.is_empty();
    if seen.len() != wanted && !(repeats && seen.len() > wanted) && !optional {
        wrong.note(format!("the service was asked {} times, not {wanted}", seen.len()));
    }
    let Some((line, block)) = &step.saw else { return };
    let Some(seen) = seen.first() else { return };
    let (method, target) = line.split_once(' ').unwrap_or((line, ""));
    if seen.method != method {
        wrong.note(format!("the service saw {}, not {method}", seen.method));
    }
    let target = values.path.clone() + &values.fill(target);
    if line.contains(' ') && seen.target != target {
        wrong.note(format!("the service saw the target {}, not {target}", seen.target));
    }
    fields(block, &seen.headers, "the service saw", values, wrong);
    if let Some(body) = &block.body
        && seen.body != values.fill(body).as_bytes()
    {
        wrong.note("the service saw another body".to_owned());
    }
}

/// What the client got; `body` is what the service said in the step that it must come from.
pub(crate) fn client(
    step: &Step,
    response: &Response,
    body: Option<&[u8]>,
    values: &Values,
    wrong: &mut Wrong,
) {
    if step.got.statuses.is_empty() {
        // Where the service breaks off before anything was passed on, the client is told so.
        if response.status == 502 {
            return;
        }
        wrong.note("a whole answer, where one was to break off".to_owned());
    } else if !step.got.statuses.contains(&response.status) {
        wrong.note(format!("status {}, not one of {:?}", response.status, step.got.statuses));
    }
    if !has_word(step, response) {
        let is = response.header("x-cache").unwrap_or("nothing");
        wrong.note(format!("x-cache: {is}, not {}", step.got.word.as_deref().unwrap_or_default()));
    }
    let bodiless = step.method == "HEAD" || matches!(response.status, 204 | 304);
    let own = step.got.block.body.as_ref().map(|body| values.fill(body).into_bytes());
    if let Some(wanted) = own.as_deref().or(body) {
        let wanted = if bodiless { &[] } else { wanted };
        if response.body != wanted {
            let text = |bytes: &[u8]| {
                let text = String::from_utf8_lossy(bytes);
                text.chars().take(80).collect::<String>()
            };
            let is = text(&response.body);
            wrong.note(format!("the body {is:?}, not {:?}", text(wanted)));
        }
    }
    fields(&step.got.block, &response.headers, "the client got", values, wrong);
}

/// Whether `X-Cache` is one of the words that the step wants.
pub(crate) fn has_word(step: &Step, response: &Response) -> bool {
    let is = response.header("x-cache").unwrap_or_default();
    step.got
        .word
        .as_ref()
        .is_none_or(|words| words.split('|').any(|word| word.eq_ignore_ascii_case(is)))
}

fn fields(
    block: &Block,
    headers: &[(String, String)],
    who: &str,
    values: &Values,
    wrong: &mut Wrong,
) {
    let all = |name: &str| {
        let name = name.to_ascii_lowercase();
        let lines = headers.iter().filter(|(known, _)| *known == name);
        let lines: Vec<&str> = lines.map(|(_, value)| value.as_str()).collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    };
    for name in &block.without {
        if let Some(value) = all(name) {
            wrong.note(format!("{who} {name}: {value}, which must not be there"));
        }
    }
    for (name, wanted) in &block.fields {
        let wanted = values.fill(wanted);
        let is = all(name);
        if !fits(&wanted, is.as_deref()) {
            let is = is.as_deref().unwrap_or("nothing");
            wrong.note(format!("{who} {name}: {is}; expected {wanted}"));
        }
    }
}

/// Whether a field is as a table says; see `table.rs`.
fn fits(wanted: &str, is: Option<&str>) -> bool {
    let Some(is) = is else { return wanted.starts_with("!~") };
    if let Some(texts) = wanted.strip_prefix("!~") {
        return !texts.split('|').any(|text| is.contains(text));
    }
    if let Some(texts) = wanted.strip_prefix('~') {
        return texts.split('|').any(|text| is.contains(text));
    }
    let range = wanted
        .split_once("..")
        .and_then(|(low, high)| Some((low.parse::<u64>().ok()?, high.parse::<u64>().ok()?)));
    match range {
        Some((low, high)) => is.parse().is_ok_and(|is| (low..=high).contains(&is)),
        None => wanted == "*" || wanted == is,
    }
}

/// A request as it came.
pub(crate) fn describe(seen: &Seen) -> String {
    let mut text = format!("{} {}\n", seen.method, seen.target);
    for (name, value) in &seen.headers {
        text += &format!("{name}: {value}\n");
    }
    text + &String::from_utf8_lossy(&seen.body)
}
