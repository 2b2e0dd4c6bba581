use super::*;

fn args(policy: &Path) -> SimulateArgs {
    SimulateArgs {
        log: "-".into(),
        policy: policy.to_owned(),
        limit: None,
        refuse_under: 0.01,
        top: 10,
        json: false,
    }
}

/// Replays this log under this policy.
fn replay(policy: &str, log: &str) -> Result<(LogReport, Vec<OnTrial>, Vec<Skipped>), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.yaml");
    std::fs::write(&path, policy).unwrap();
    let loaded = load_file(&path);
    let config = loaded.config.clone().ok_or_else(|| loaded.render(&loaded.problems))?;
    let (trials, skipped) = trials(&args(&path), &config, &loaded)?;
    let mut replay = Replay::new(&config, trials);
    replay.read(&mut log.as_bytes()).unwrap();
    let (log, trials) = replay.finish();
    Ok((log, trials, skipped))
}

fn line(second: u32, route: &str, more: &str) -> String {
    format!(
        "{{\"timestamp\":\"2026-04-08T10:00:{second:02}.000Z\",\"clientIp\":\"192.0.2.1\",\
         \"route\":\"{route}\",\"tenantId\":null,\"userId\":\"u\"{more}}}\n"
    )
}

#[test]
fn broken_lines_are_counted_and_named() {
    let good = line(1, "a", "");
    let huge = format!("{{\"x\":\"{}\"}}", "y".repeat(1 << 20));
    let cut = &good[..40];
    let log = format!("{good}\nnonsense\n{huge}\n{good}{{\"timestamp\":\"now\"}}\n{cut}");
    let policy = "rateLimits: {r: {limit: 5, window: 1m, key: [userId]}}\n";
    let (read, trials, _) = replay(policy, &log).unwrap();
    assert_eq!((read.lines, read.broken, read.late), (7, 4, 0));
    let lines: Vec<u64> = read.broken_lines.iter().map(|broken| broken.line).collect();
    assert_eq!(lines, [3, 4, 6, 7]);
    assert_eq!(trials[0].trial.tally.requests, 2);
}

#[test]
fn a_limit_that_routes_name_counts_their_requests_at_their_cost() {
    let policy = "
policies: {rateLimit: [all], rateLimitCost: 2}
rateLimits:
  all: {limit: 9, window: 1m, key: [userId]}
  own: {limit: 9, window: 1m, key: [userId]}
  none: {limit: 9, window: 1m, key: [userId]}
routes:
  - {name: a, match: {pathPrefix: /a}, upstream: {service: s}}
  - name: b
    match: {pathPrefix: /b}
    upstream: {service: s}
    policies: {rateLimit: own, rateLimitCost: 5}
";
    let log: String = (0..10).map(|n| line(n, if n < 6 { "a" } else { "b" }, "")).collect();
    let log = log + &line(30, "gone", "") + &line(31, "a", ",\"code\":\"auth.scope_insufficient\"");
    let (read, trials, _) = replay(policy, &log).unwrap();
    assert_eq!(read.refused_before, 1);
    let judged: Vec<Judged> = trials.iter().map(|on| on.trial.judge(0.0, 9)).collect();
    let told: Vec<(&str, u64, u64)> =
        judged.iter().map(|j| (&*j.limit, j.tally.requests, j.refused)).collect();
    // Six of 2 each, of which 9 has room for four; four of 5 each; eleven of 1 each.
    assert_eq!(told, [("all", 6, 2), ("none", 11, 2), ("own", 4, 3)]);
    let smallest = |n: usize| judged[n].algorithms[0].smallest[0].limit;
    assert_eq!((smallest(0), smallest(1), smallest(2)), (Some(12), Some(11), Some(20)));
}

#[test]
fn what_the_log_does_not_hold_is_said() {
    let policy = "rateLimits:\n  \
        team: {limit: 5, window: 1m, key: [clientIp, 'header:x-team']}\n  \
        user: {limit: 5, window: 1m, key: [userId], missingKey: 'claim:sub'}\n  \
        key: {limit: 5, window: 1m, key: [apiKey]}\n";
    let new = line(2, "a", ",\"plan\":null,\"apiKey\":\"k\"");
    let (log, trials, skipped) = replay(policy, &(line(1, "a", "") + &new)).unwrap();
    assert_eq!(trials.len(), 1);
    let why: Vec<_> = skipped.iter().map(|s| (s.limit.as_str(), s.why.contains("hold"))).collect();
    assert_eq!(why, [("team", true), ("user", true)]);
    assert!(skipped[0].why.contains("`header:x-team`") && skipped[1].why.contains("`claim:sub`"));
    assert_eq!(log.without_field, 1, "the older line");
    let wrong = replay("rateLimits: {r: {limit: 0, window: 1m, key: []}}\n", "");
    let told = wrong.err().unwrap();
    assert!(told.contains("p.yaml:1") && told.contains("limit.range"), "{told}");
}
