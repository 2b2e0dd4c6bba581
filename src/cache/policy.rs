//! What a route keeps, compiled.

use std::time::Duration;

use http::{HeaderName, StatusCode};

use super::key::language::Languages;
use super::purge::TagTemplates;
use super::rules::storable::Terms;
use super::store::MAX_OBJECT_BYTES;
use crate::edge::Facts;
use crate::model::{self, CacheQuery, Problem, Problems, Span};

/// What a route keeps.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each stands for a key of the configuration")]
pub struct CachePolicy {
    /// Largest body kept, in bytes.
    pub max_body_bytes: u64,
    /// How long requests wait for one that fetches the same answer.
    pub lock_timeout: Duration,
    /// Whether answers are kept in this node's memory only.
    pub local: bool,
    /// What the route says of answers that do not say it themselves.
    pub(super) terms: Terms,
    /// How many of a hundred hits are fetched anew and compared; 0 for none.
    pub verify: u32,
    /// Name of the route, a factor of every key.
    pub(super) route: Box<str>,
    pub(super) query: Query,
    pub(super) tenant: bool,
    pub(super) user: bool,
    pub(super) scopes: bool,
    pub(super) languages: Languages,
    pub(super) headers: Box<[KeyHeader]>,
    /// What its answers can be purged by.
    pub(super) tags: TagTemplates,
    /// The header that carries API keys: a credential like `Authorization`.
    pub(super) api_key: HeaderName,
}

/// Which query parameters count.
#[derive(Debug)]
pub(super) enum Query {
    All,
    None,
    Names(Box<[Box<str>]>),
    Except(Box<[Box<str>]>),
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
        check_verify(model, authenticated, path, problems);
        let query = compile_query(&model.key.query, path, problems);
        let languages = compile_languages(&model.key.language, path, problems);
        let headers = compile_headers(&model.key.headers, api_key, path, problems);
        (errors(problems) == errors_before).then(|| Self {
            max_body_bytes: model.max_body_bytes.get(),
            lock_timeout: model.lock_timeout.get(),
            local: model.local,
            terms: terms(model),
            verify: model.verify.map_or(0, model::Percent::get),
            route: route.into(),
            query,
            tenant: model.key.tenant,
            user: model.key.user,
            scopes: model.key.scopes,
            languages,
            headers,
            tags: TagTemplates::default(),
            api_key: api_key.clone(),
        })
    }

    /// With what its answers can be purged by.
    #[must_use]
    pub fn with_tags(self, tags: TagTemplates) -> Self {
        Self { tags, ..self }
    }

    /// The tenant that an entry belongs to alone: its caller's, where the key tells tenants or
    /// users apart. A purge that is limited to a tenant reaches only what is the tenant's own.
    #[must_use]
    pub fn tenant_of<'a>(&self, facts: &Facts<'a>) -> Option<&'a str> {
        let is_own = self.tenant || self.user;
        let tenant = facts.identity.filter(|_| is_own)?.tenant_id.as_deref()?;
        (!tenant.is_empty()).then_some(tenant)
    }

    /// Whether a key is made of nothing but the URI: what is not there under it is not there at
    /// all.
    #[must_use]
    pub fn is_by_uri(&self) -> bool {
        matches!(self.query, Query::All)
            && !(self.tenant || self.user || self.scopes)
            && self.headers.is_empty()
            && self.languages.is_empty()
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

/// Answers are compared between callers, so there must be some that share answers.
fn check_verify(model: &model::Cache, authenticated: bool, path: &str, problems: &mut Problems) {
    if model.verify.is_none() || (authenticated && !model.key.user) {
        return;
    }
    problems.push(
        Problem::warning(
            "cache.verify",
            format!("{path}.verify"),
            "no two callers share an answer of this route, so there is nothing to compare",
        )
        .help("leave `verify` out; it is for routes with `auth` and without `key: {user: true}`"),
    );
}

fn check_numbers(model: &model::Cache, path: &str, problems: &mut Problems) {
    let statuses =
        model.statuses.0.iter().map(|(status, span)| (format!("statuses.{status}"), span));
    let spans = [("ttl", Some(&model.ttl)), ("forceTtl", model.force_ttl.as_ref())];
    let spans = spans.into_iter().filter_map(|(name, span)| Some((name.to_owned(), span?)));
    for (name, span) in spans.chain(statuses) {
        if !(MIN_TTL..=MAX_TTL).contains(&span.get()) {
            problems.push(Problem::error(
                "cache.ttl",
                format!("{path}.{name}"),
                "the time that an answer is fresh lies between 1s and 7d",
            ));
        }
    }
    for status in model.statuses.0.keys().filter(|status| !is_kept_if_named(**status)) {
        let what = format!("answers with {status} cannot be kept by a status alone");
        problems.push(
            Problem::error("cache.status", format!("{path}.statuses.{status}"), what)
                .help("a whole, final answer: 200 to 599, without 206 and 304"),
        );
    }
    for (name, span) in [
        ("heuristicMax", model.heuristic_max),
        ("staleWhileRevalidate", model.stale_while_revalidate),
        ("staleIfError", model.stale_if_error),
    ] {
        if span.is_some_and(|span| span.get() > MAX_TTL) {
            let place = format!("{path}.{name}");
            problems.push(Problem::error("cache.ttl", place, "at most 7d"));
        }
    }
    if !(MIN_LOCK..=MAX_LOCK).contains(&model.lock_timeout.get()) {
        problems.push(Problem::error(
            "cache.lock",
            format!("{path}.lockTimeout"),
            "the time to wait for another request lies between 10ms and 60s",
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
        CacheQuery::Names(names) | CacheQuery::Except(names) => names,
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
    let compiled = names.iter().map(|name| name.as_str().into()).collect();
    if matches!(query, CacheQuery::Except(_)) {
        Query::Except(compiled)
    } else {
        Query::Names(compiled)
    }
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

/// What a route says of answers that do not say it themselves.
fn terms(model: &model::Cache) -> Terms {
    let seconds = |span: Span| u32::try_from(span.get().as_secs()).unwrap_or(u32::MAX);
    let named = model.statuses.0.iter();
    let statuses = named
        .filter_map(|(status, span)| Some((StatusCode::from_u16(*status).ok()?, seconds(*span))))
        .collect();
    Terms {
        ttl: seconds(model.ttl),
        statuses,
        guess: model.heuristic_max.map(seconds),
        force: model.force_ttl.map(seconds),
        stale: (
            model.stale_while_revalidate.map_or(0, seconds),
            model.stale_if_error.map_or(0, seconds),
        ),
        drops_cookies: model.drop_set_cookie,
        heeds_client: !model.ignore_request_control,
        sharing_settled: model.shared || model.key.user || model.key.tenant,
    }
}

/// Whether an answer may be kept because its status is named.
const fn is_kept_if_named(status: u16) -> bool {
    matches!(status, 200..=599) && !matches!(status, 206 | 304)
}

const MIN_LOCK: Duration = Duration::from_millis(10);
const MAX_LOCK: Duration = Duration::from_mins(1);

const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_hours(7 * 24);

#[cfg(test)]
mod tests;
