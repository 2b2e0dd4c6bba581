//! Judges how a service says that its endpoints share requests and are spared.

use std::time::Duration;

use http::HeaderValue;

use super::findings::Findings;
use crate::model::{self, Balance, CheckKind, Problem, Span};

/// The shortest time between two checks, and the shortest window.
const SHORTEST: Duration = Duration::from_millis(10);

/// Notes every problem of these settings. `place` is that of the service.
pub(super) fn judge(service: &model::Service, place: &str, findings: &mut Findings<'_>) {
    let balancing = &service.load_balancing;
    if balancing.algorithm == Balance::ConsistentHash {
        if balancing.slow_start.is_some() {
            findings.warning(Problem::warning(
                "balance.slow_start",
                format!("{place}.loadBalancing.slowStart"),
                "`consistent_hash` knows no growing shares: this does nothing",
            ));
        }
    } else if !balancing.hash_key.is_empty() {
        findings.warning(Problem::warning(
            "balance.hash_key",
            format!("{place}.loadBalancing.hashKey"),
            "without `algorithm: consistent_hash` this key decides nothing",
        ));
    }
    if let Some(check) = &service.health_check {
        judge_check(check, &format!("{place}.healthCheck"), findings);
    }
    judge_ejection(&service.ejection, &format!("{place}.ejection"), findings);
    judge_breaker(&service.circuit_breaker, &format!("{place}.circuitBreaker"), findings);
    if let Some(adaptive) = &service.adaptive_concurrency {
        judge_adaptive(adaptive, &format!("{place}.adaptiveConcurrency"), findings);
    }
    let budget = &service.retry_budget;
    let mut values = Values { code: "retry_budget.value", place, findings };
    values.percent("retryBudget.percent", budget.percent, 1000);
}

fn judge_check(check: &model::HealthCheck, place: &str, findings: &mut Findings<'_>) {
    let mut values = Values { code: "health_check.value", place, findings };
    values.span("interval", check.interval);
    values.span("timeout", check.timeout);
    values.positive("unhealthyAfter", check.unhealthy_after);
    values.positive("healthyAfter", check.healthy_after);
    if check.port == Some(0) {
        values.error("port", "0 is not a port".to_owned());
    }
    let is_target = check.path.starts_with('/')
        && check.path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if check.kind == CheckKind::Http && !is_target {
        values.error("path", format!("`{}` is not a path: it begins with `/`", check.path));
    }
    let host = check.host.as_deref();
    if host.is_some_and(|host| host.is_empty() || HeaderValue::from_str(host).is_err()) {
        values.error("host", "this is not a host name".to_owned());
    }
    if let Some(status) = check.statuses.iter().find(|status| !(200..600).contains(*status)) {
        values.error("statuses", format!("{status} is not a status of an answer: 200 to 599"));
    }
    let idle = |key: &str, needs: &str| {
        Problem::warning(
            "health_check.idle",
            format!("{place}.{key}"),
            format!("only a check of kind `{needs}` uses this"),
        )
    };
    if check.kind != CheckKind::Grpc && check.grpc_service.is_some() {
        findings.warning(idle("grpcService", "grpc"));
    }
    if check.kind != CheckKind::Http && !check.statuses.is_empty() {
        findings.warning(idle("statuses", "http"));
    }
}

fn judge_ejection(ejection: &model::Ejection, place: &str, findings: &mut Findings<'_>) {
    let mut values = Values { code: "ejection.value", place, findings };
    values.percent("errorPercent", ejection.error_percent, 100);
    values.percent("maxEjectedPercent", ejection.max_ejected_percent, 100);
    values.percent("panicPercent", ejection.panic_percent, 100);
    values.span("window", ejection.window);
    values.span("ejectFor", ejection.eject_for);
}

fn judge_breaker(breaker: &model::CircuitBreaker, place: &str, findings: &mut Findings<'_>) {
    let mut values = Values { code: "breaker.value", place, findings };
    values.percent("errorPercent", breaker.error_percent, 100);
    values.span("window", breaker.window);
    values.span("openFor", breaker.open_for);
    for (key, most) in
        [("maxRequests", breaker.max_requests), ("maxConnections", breaker.max_connections)]
    {
        if let Some(most) = most {
            values.positive(key, most);
        }
    }
}

fn judge_adaptive(model: &model::AdaptiveConcurrency, place: &str, findings: &mut Findings<'_>) {
    let mut values = Values { code: "adaptive.value", place, findings };
    values.positive("min", model.min);
    if model.max < model.min {
        values.error("max", format!("{} is less than `min`, {}", model.max, model.min));
    }
    let (least, most) = TOLERANCE;
    if !(least..=most).contains(&model.tolerance) {
        let what = format!("{} times as slow: between {least} and {most}", model.tolerance);
        values.error("tolerance", what);
    }
}

/// How much slower a service may be allowed to get. Less than the least is noise, and more than
/// the most is no protection.
const TOLERANCE: (f64, f64) = (1.1, 20.0);

/// Judges single values of one part of the settings.
struct Values<'a, 'f> {
    code: &'static str,
    place: &'a str,
    findings: &'a mut Findings<'f>,
}

impl Values<'_, '_> {
    fn error(&mut self, key: &str, what: String) {
        self.findings.error(Problem::error(self.code, format!("{}.{key}", self.place), what));
    }

    fn percent(&mut self, key: &str, value: u32, most: u32) {
        if value > most {
            self.error(key, format!("{value} percent is too much: at most {most}"));
        }
    }

    fn positive(&mut self, key: &str, value: u32) {
        if value == 0 {
            self.error(key, "0 would leave nothing: at least 1".to_owned());
        }
    }

    fn span(&mut self, key: &str, value: Span) {
        if value.get() < SHORTEST {
            self.error(key, format!("this is too short: at least {} ms", SHORTEST.as_millis()));
        }
    }
}

/// Notes that no endpoint of a version has a weight.
pub(super) fn judge_weights(
    endpoints: &[model::Endpoint],
    place: &str,
    findings: &mut Findings<'_>,
) {
    if !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.weight == 0) {
        findings.error(
            Problem::error("balance.weights", place, "every weight is 0: nobody takes the traffic")
                .help("give at least one endpoint a weight"),
        );
    }
}
