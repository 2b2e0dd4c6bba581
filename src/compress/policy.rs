//! What a route compresses, compiled.

use http::HeaderMap;

use super::kinds::{self, Kind, Never};
use super::negotiate::negotiate;
use crate::model::{self, Coding, Problem, Problems, Severity};

/// Largest `minBytes`: with more, hardly anything would be compressed.
const MIN_BYTES_MAX: u64 = 16 << 20;

/// What a route compresses.
#[derive(Debug)]
pub struct CompressionPolicy {
    codings: Box<[Coding]>,
    kinds: Box<[Kind]>,
    /// Shorter answers are left as they are.
    pub(super) min_bytes: u64,
}

impl CompressionPolicy {
    /// Compiles `policies.compression`; problems carry `path`
    /// (`routes[3].policies.compression`). None when there was an error.
    pub fn compile(
        model: &model::Compression,
        path: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        let before = errors(problems);
        check_codings(&model.codings, path, problems);
        let kinds = compile_kinds(&model.types, path, problems);
        let min_bytes = model.min_bytes.get();
        if min_bytes > MIN_BYTES_MAX {
            let what = format!("`minBytes` is at most {} MiB", MIN_BYTES_MAX >> 20);
            problems.push(
                Problem::error("compression.min_bytes", format!("{path}.minBytes"), what)
                    .help("leave `compression` out where nothing is to be compressed"),
            );
        }
        let codings = model.codings.as_slice().into();
        (errors(problems) == before).then_some(Self { codings, kinds, min_bytes })
    }

    /// The coding that suits this client best; none where its answers stay plain.
    #[must_use]
    pub fn negotiate(&self, request: &HeaderMap) -> Option<Coding> {
        negotiate(&self.codings, request)
    }

    /// Whether content of this type is compressed.
    pub(super) fn suits(&self, content_type: &str) -> bool {
        kinds::suits(&self.kinds, content_type)
    }
}

fn errors(problems: &Problems) -> usize {
    problems.0.iter().filter(|problem| problem.severity == Severity::Error).count()
}

fn check_codings(codings: &[Coding], path: &str, problems: &mut Problems) {
    let place = format!("{path}.codings");
    if codings.is_empty() {
        problems.push(
            Problem::error("compression.codings", place.as_str(), "the list names no coding")
                .help("name some of `zstd`, `br` and `gzip`, or leave `compression` out"),
        );
    }
    for (index, coding) in codings.iter().enumerate() {
        if codings.iter().take(index).any(|earlier| earlier == coding) {
            let what = format!("`{}` is in the list already", coding.token());
            let place = format!("{place}[{index}]");
            problems.push(Problem::error("compression.codings", place, what));
        }
    }
}

fn compile_kinds(types: &[String], path: &str, problems: &mut Problems) -> Box<[Kind]> {
    let place = format!("{path}.types");
    if types.is_empty() {
        problems.push(
            Problem::error("compression.types", place.as_str(), "the list names no content type")
                .help("leave `types` out for the usual ones, or `compression` for none"),
        );
    }
    let mut compiled: Vec<Kind> = Vec::with_capacity(types.len());
    for (index, text) in types.iter().enumerate() {
        let place = format!("{place}[{index}]");
        let problem = match (Kind::parse(text), kinds::why_never(text)) {
            (None, _) => {
                let what = format!("`{text}` is not a content type");
                let help = "write `text/html`, or `text/*` for all of a kind";
                Problem::error("compression.types", place, what).help(help)
            }
            (Some(_), Some(Never::Dense)) if !text.ends_with("/*") => {
                let what = format!("`{text}` is compressed already; doing so again only costs");
                Problem::error("compression.types", place, what)
            }
            (Some(_), Some(Never::Flowing)) => {
                let what = format!("`{text}` is read while it is written, and left alone");
                Problem::error("compression.types", place, what)
            }
            (Some(kind), _) if compiled.contains(&kind) => {
                let what = format!("`{text}` is in the list already");
                Problem::error("compression.types", place, what)
            }
            (Some(kind), _) => {
                compiled.push(kind);
                continue;
            }
        };
        problems.push(problem);
    }
    compiled.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ByteSize, Compression};

    fn found(change: impl FnOnce(&mut Compression)) -> Vec<(&'static str, String)> {
        let (mut model, mut problems) = (Compression::default(), Problems::default());
        change(&mut model);
        let compiled = CompressionPolicy::compile(&model, "p", &mut problems);
        assert_eq!(compiled.is_some(), problems.0.is_empty());
        problems.0.into_iter().map(|problem| (problem.code, problem.path)).collect()
    }

    #[test]
    fn the_usual_is_fine() {
        assert!(found(|_| {}).is_empty());
        assert!(found(|model| model.types = vec!["image/*".into(), "a/b".into()]).is_empty());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let codings = |list: Vec<Coding>| found(|model| model.codings = list);
        assert_eq!(codings(vec![]), [("compression.codings", "p.codings".into())]);
        assert_eq!(
            codings(vec![Coding::Br, Coding::Gzip, Coding::Br]),
            [("compression.codings", "p.codings[2]".into())]
        );
        assert_eq!(found(|model| model.types = vec![]), [("compression.types", "p.types".into())]);
        for wrong in
            ["json", "*/*", "image/png", "video/mp4", "text/event-stream", "application/grpc"]
        {
            let types = vec!["text/html".to_owned(), wrong.to_owned()];
            let expected = [("compression.types", "p.types[1]".to_owned())];
            assert_eq!(found(|model| model.types = types), expected, "{wrong}");
        }
        let twice = vec!["a/b".to_owned(), "a/b".to_owned()];
        assert_eq!(found(|model| model.types = twice).len(), 1);
    }

    #[test]
    fn the_least_length_has_a_bound() {
        for (bytes, count) in [(0, 0), (MIN_BYTES_MAX, 0), (MIN_BYTES_MAX + 1, 1)] {
            let found = found(|model| model.min_bytes = ByteSize::new(bytes));
            assert_eq!(found.len(), count, "{bytes}");
        }
    }
}
