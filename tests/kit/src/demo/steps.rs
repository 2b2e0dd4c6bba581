//! The requests of the demo: printed as `curl` lines, and sent by the self-test.

use std::fmt::Write as _;

use tidegate_kit::{Error, Request, Response, Result, send};

use crate::parts::Parts;

/// How long the printed tokens are good for, in seconds.
const TOKEN_SECONDS: i64 = 12 * 3600;
/// Requests that the loop of the limited route sends; its limit admits 5.
const LOOP: u16 = 7;

/// One request to try.
struct Step {
    /// What it shows.
    title: &'static str,
    request: Request,
    /// How often it is sent; more than once is printed as a loop.
    times: u16,
    /// The status of the last answer.
    status: u16,
    /// A header of the last answer, and its value.
    header: Option<(&'static str, &'static str)>,
    /// Name of the route, for `explain`; none where no route takes it.
    route: Option<&'static str>,
    /// The token and the name of the shell variable that is printed for it.
    token: Option<(&'static str, String)>,
}

impl Step {
    const fn new(title: &'static str, request: Request, status: u16) -> Self {
        Self { title, request, times: 1, status, header: None, route: None, token: None }
    }

    const fn route(mut self, route: &'static str) -> Self {
        self.route = Some(route);
        self
    }

    const fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    fn token(mut self, variable: &'static str, token: &str) -> Self {
        self.request = self.request.bearer(token);
        self.token = Some((variable, token.to_owned()));
        self
    }
}

fn steps(parts: &Parts) -> Result<Vec<Step>> {
    let token = |tenant: &str, scopes: &str, seconds: i64| {
        parts.issuer.token().tenant(tenant).scopes(scopes).expires_in(seconds).sign()
    };
    let reader = token("acme", "orders:read", TOKEN_SECONDS)?;
    let writer = token("acme", "orders:read orders:write", TOKEN_SECONDS)?;
    let suspended = token("initech", "orders:read", TOKEN_SECONDS)?;
    let expired = token("acme", "orders:read", -3600)?;
    let get = |target: &str| Request::get(target);
    let order = || Request::new("POST", "/v1/orders").json(r#"{"item":"lamp"}"#);
    let catalog = || get("/v1/catalog/lamps?colour=green&cc=max-age%3D60");
    Ok(vec![
        Step::new("200, a public route; the answer is now in the cache", catalog(), 200)
            .header("x-cache", "MISS")
            .route("catalog"),
        Step::new("200, the same from the cache", catalog(), 200).header("x-cache", "HIT"),
        Step::new("401, no token", get("/v1/orders"), 401),
        Step::new("200, a token with orders:read", get("/v1/orders"), 200)
            .token("READER", &reader)
            .route("orders-read"),
        Step::new("401, the token has expired", get("/v1/orders"), 401).token("EXPIRED", &expired),
        Step::new("403, orders:write is missing", order(), 403).token("READER", &reader),
        Step::new("403, the tenant is suspended", get("/v1/orders"), 403)
            .token("SUSPENDED", &suspended),
        Step::new("200, a token with orders:write", order(), 200)
            .token("WRITER", &writer)
            .route("orders-write"),
        Step::new("404, no such route", get("/v2/orders"), 404),
        Step::new("405, no such method here", Request::new("DELETE", "/v1/orders"), 405),
        Step::new("404, dot segments do not get around a route", get("/v1/orders/../x"), 404),
        Step { times: LOOP, ..Step::new("429 after a burst of 5", get("/v1/search?q=lamp"), 429) }
            .header("x-ratelimit-limit", "5")
            .route("search"),
    ])
}

/// The lines to copy.
pub(crate) fn describe(parts: &Parts) -> Result<String> {
    let steps = steps(parts)?;
    let mut text = format!(
        "\nTidegate runs at http://{}. Copy these first, they are the callers' tokens:\n\n",
        parts.address
    );
    let mut tokens: Vec<_> = steps.iter().filter_map(|step| step.token.as_ref()).collect();
    tokens.sort();
    tokens.dedup();
    for (variable, token) in tokens {
        let _ = writeln!(text, "{variable}={token}");
    }
    let _ = writeln!(text, "\nThen try any of these:");
    for step in &steps {
        let _ = write!(text, "\n# {}\n{}\n", step.title, curl(parts, step));
    }
    let _ = write!(text, "\nWhy is a request treated as it is?\n\n");
    for step in steps.iter().filter(|step| step.route.is_some()) {
        let token = step.token.as_ref().map(|(variable, _)| format!("${variable}"));
        let _ = writeln!(text, "{}", explain(parts, step, token.as_deref()));
    }
    let admin = parts.admin;
    let _ = write!(
        text,
        "\nFor operators:\n\n\
         curl http://{admin}/livez\n\
         curl http://{admin}/readyz\n\
         curl http://{admin}/metrics\n\
         curl http://{admin}/admin/config-version\n\
         tail -f target/demo/access.log\n\n\
         The configuration is {}; change it and it is reloaded. Ctrl-C stops everything.",
        parts.config.display()
    );
    Ok(text)
}

/// The request of a step as a line for a shell.
fn curl(parts: &Parts, step: &Step) -> String {
    let mut line = step.request.to_curl(&format!("http://{}", parts.address));
    if let Some((variable, token)) = &step.token {
        let written = format!("'authorization: Bearer {token}'");
        line = line.replace(&written, &format!("\"authorization: Bearer ${variable}\""));
    }
    if step.request.target().contains("/../") {
        line = line.replacen("curl", "curl --path-as-is", 1);
    }
    if step.times > 1 {
        let silent = "curl -s -o /dev/null -w '%{http_code}\\n'";
        line = line.replacen("curl -i", silent, 1);
        line = format!("for i in $(seq {}); do {line}; done", step.times);
    }
    line
}

/// `tidegate explain` for the request of a step.
fn explain(parts: &Parts, step: &Step, token: Option<&str>) -> String {
    let mut line = format!(
        "{} explain {} --method {} --host {} --path '{}'",
        parts.binary.display(),
        parts.config.display(),
        step.request.method(),
        parts.address,
        step.request.target(),
    );
    if let Some(token) = token {
        let _ = write!(line, " --token {token}");
    }
    line
}

/// Sends every request and compares the answers.
pub(crate) async fn check(parts: &Parts) -> Result<()> {
    let mut failures = 0;
    for step in steps(parts)? {
        let mut response = send(parts.address, &step.request).await?;
        for _ in 1..step.times {
            response = send(parts.address, &step.request).await?;
        }
        let verdict = if is_as_printed(&step, &response) { "ok" } else { "FAILED" };
        println!("{verdict:6} {}", step.title);
        if verdict != "ok" {
            failures += 1;
            println!("expected {} {:?}, got {response}", step.status, step.header);
        }
        if step.route.is_some() {
            failures += usize::from(!explains(parts, &step).await?);
        }
    }
    if failures == 0 { Ok(()) } else { Err(Error::new(format!("{failures} checks failed"))) }
}

fn is_as_printed(step: &Step, response: &Response) -> bool {
    let held = |(name, value)| response.header(name) == Some(value);
    response.status == step.status && step.header.is_none_or(held)
}

/// Whether `tidegate explain` names the route that the step should take.
async fn explains(parts: &Parts, step: &Step) -> Result<bool> {
    let token = step.token.as_ref().map(|(_, token)| token.as_str());
    let line = explain(parts, step, token);
    let output = tokio::process::Command::new("sh").args(["-c", &line]).output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let good = output.status.success() && step.route.is_some_and(|route| text.contains(route));
    println!("{:6} explain {}", if good { "ok" } else { "FAILED" }, step.title);
    if !good {
        println!("{line}\n{text}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(good)
}
