//! What a route keeps, compiled.

use std::time::Duration;

use http::HeaderName;

use super::language::Languages;
use super::store::MAX_OBJECT_BYTES;
use crate::model::{self, CacheQuery, Problem, Problems};

/// What a route keeps.
#[derive(Debug)]
pub struct CachePolicy {
    /// How long an answer is fresh when the service does not say.
    pub ttl: Duration,
    /// Largest body kept, in bytes.
    pub max_body_bytes: u64,
    /// Name of the route, a factor of every key.
    pub(super) route: Box<str>,
    pub(super) query: Query,
    pub(super) tenant: bool,
    pub(super) user: bool,
    pub(super) languages: Languages,
    pub(super) headers: Box<[KeyHeader]>,
    /// Whether the configuration says who may share answers to requests with credentials: the
    /// The header that carries API keys: a credential like `Authorization`.
    pub(super) api_key: HeaderName,
    /// key tells callers apart, or `shared: true` lets all of them.
    pub(super) sharing_settled: bool,
}

/// Which query parameters count.
#[derive(Debug)]
pub(super) enum Query {
    All,
    None,
    Names(Box<[Box<str>]>),
}

/// A request header that counts, with the names of its factor.
#[derive(Debug)]
pub(super) struct KeyHeader {
    pub(super) name: HeaderName,
    /// `header:NAME`, for values that are text.
    pub(super) label: Box<str>,
    /// `header:NAME (hex)`, for values that are not.
    pub(super) hex_label: Box<str>,
}

impl CachePolicy {
    /// Compiles `policies.cache`; problems carry `path` (`routes[3].policies.cache`). A cached
    /// route that authenticates needs `key.user`, `key.tenant` or `shared: true` (R151). None
    /// when there was an error. `api_key` is the header that carries API keys.
    pub fn compile(
        model: &model::Cache,
        route: &str,
        authenticated: bool,
        api_key: &HeaderName,
        path: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        let errors_before = errors(problems);
        check_identity(model, authenticated, path, problems);
        check_numbers(model, path, problems);
        let query = compile_query(&model.key.query, path, problems);
        let languages = compile_languages(&model.key.language, path, problems);
        let headers = compile_headers(&model.key.headers, api_key, path, problems);
        (errors(problems) == errors_before).then(|| Self {
            ttl: model.ttl.get(),
            max_body_bytes: model.max_body_bytes.get(),
            route: route.into(),
            query,
            tenant: model.key.tenant,
            user: model.key.user,
            languages,
            headers,
            api_key: api_key.clone(),
            sharing_settled: model.shared || model.key.user || model.key.tenant,
        })
    }
}

fn errors(problems: &Problems) -> usize {
    problems.0.iter().filter(|problem| problem.severity == model::Severity::Error).count()
}

fn check_identity(model: &model::Cache, authenticated: bool, path: &str, problems: &mut Problems) {
    let told_apart = model.key.user || model.key.tenant;
    if authenticated && !told_apart && !model.shared {
        problems.push(
            Problem::error(
                "cache.identity",
                path,
                "callers of this route prove who they are, yet all would share its answers",
            )
            .help(
                "tell them apart with `key: {user: true}` or `key: {tenant: true}`, or say \
                 `shared: true` if every caller may see every answer",
            ),
        );
    }
    if !authenticated && told_apart {
        problems.push(
            Problem::warning(
                "cache.identity",
                format!("{path}.key"),
                "this route does not authenticate, so nobody has a user or tenant: nothing is kept",
            )
            .help("leave `user` and `tenant` out, or set `policies.auth`"),
        );
    }
}

fn check_numbers(model: &model::Cache, path: &str, problems: &mut Problems) {
    if !(MIN_TTL..=MAX_TTL).contains(&model.ttl.get()) {
        problems.push(Problem::error(
            "cache.ttl",
            format!("{path}.ttl"),
            "the time that an answer is fresh lies between 1s and 7d",
        ));
    }
    if !(1..=MAX_OBJECT_BYTES).contains(&model.max_body_bytes.get()) {
        problems.push(Problem::error(
            "cache.body",
            format!("{path}.maxBodyBytes"),
            format!("the largest body kept lies between 1 and {} MiB", MAX_OBJECT_BYTES >> 20),
        ));
    }
}

fn compile_query(query: &CacheQuery, path: &str, problems: &mut Problems) -> Query {
    let names = match query {
        CacheQuery::All => return Query::All,
        CacheQuery::None => return Query::None,
        CacheQuery::Names(names) => names,
    };
    let place = format!("{path}.key.query");
    if names.is_empty() {
        problems.push(
            Problem::error("cache.query", place.as_str(), "the list names no parameter")
                .help("write `none` if no parameter counts, `all` if every one does"),
        );
    }
    for (index, name) in names.iter().enumerate() {
        let wrong = if name.is_empty() {
            "a parameter needs a name".to_owned()
        } else if names.iter().take(index).any(|earlier| earlier == name) {
            format!("`{name}` is in the list already")
        } else {
            continue;
        };
        problems.push(Problem::error("cache.query", format!("{place}[{index}]"), wrong));
    }
    Query::Names(names.iter().map(|name| name.as_str().into()).collect())
}

fn compile_languages(tags: &[String], path: &str, problems: &mut Problems) -> Languages {
    for (index, tag) in tags.iter().enumerate() {
        let wrong = if !Languages::is_tag(tag) {
            format!("`{tag}` is not a language tag such as `en` or `de-AT`")
        } else if tags.iter().take(index).any(|earlier| earlier.eq_ignore_ascii_case(tag)) {
            format!("`{tag}` is in the list already")
        } else {
            continue;
        };
        problems.push(Problem::error(
            "cache.language",
            format!("{path}.key.language[{index}]"),
            wrong,
        ));
    }
    Languages::new(tags)
}

fn compile_headers(
    names: &[String],
    api_key: &HeaderName,
    path: &str,
    problems: &mut Problems,
) -> Box<[KeyHeader]> {
    let mut compiled: Vec<KeyHeader> = Vec::with_capacity(names.len());
    for (index, written) in names.iter().enumerate() {
        match compile_header(written, api_key, &compiled) {
            Ok(header) => compiled.push(header),
            Err((wrong, help)) => {
                let place = format!("{path}.key.headers[{index}]");
                let mut problem = Problem::error("cache.header", place, wrong);
                problem.help = help.map(str::to_owned);
                problems.push(problem);
            }
        }
    }
    compiled.into()
}

fn compile_header(
    written: &str,
    api_key: &HeaderName,
    earlier: &[KeyHeader],
) -> Result<KeyHeader, (String, Option<&'static str>)> {
    let name = HeaderName::try_from(written)
        .map_err(|_| (format!("`{written}` is not a header name"), None))?;
    if CREDENTIALS.contains(&name.as_str()) || name == *api_key {
        let wrong = format!("`{name}` is a credential; who sent it is known after checking it");
        return Err((wrong, Some("`key.user` and `key.tenant` are the verified facts")));
    }
    // T12: whoever can write the tenant into a header could read another tenant's answers.
    if IDENTITY.contains(&name.as_str()) {
        let wrong = format!("`{name}` is what the client claims, not what it has proved");
        return Err((wrong, Some("`key.user` and `key.tenant` are the verified facts")));
    }
    if earlier.iter().any(|header| header.name == name) {
        return Err((format!("`{name}` is in the list already"), None));
    }
    Ok(KeyHeader {
        label: format!("header:{name}").into(),
        hex_label: format!("header:{name} (hex)").into(),
        name,
    })
}

/// Request headers that say who is asking. Answers to requests that carry one are shared only
/// where the configuration or the service says so.
pub(super) const CREDENTIALS: [&str; 4] =
    ["authorization", "cookie", "proxy-authorization", "x-api-key"];

/// Identity headers of the default contract with services (R106).
const IDENTITY: [&str; 2] = ["x-tenant-id", "x-user-id"];

const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_hours(7 * 24);

#[cfg(test)]
mod tests;
