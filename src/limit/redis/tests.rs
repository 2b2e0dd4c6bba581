use super::*;

fn text(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

fn ints(numbers: &[i64]) -> Value {
    Value::Array(numbers.iter().map(|number| Value::Int(*number)).collect())
}

#[test]
fn a_reply_is_read_only_in_the_form_of_the_contract() {
    let reply = |allowed, taken, remaining, reset_ms, epoch_ms| {
        Some(Reply { allowed, taken, remaining, reset_ms, epoch_ms })
    };
    let read = |text: &str, rules| read_replies(&self::text(text), rules).map(SmallVec::into_vec);
    assert_eq!(
        read("1 1 9 0 60 0 0 0 250 0", 2),
        Some(vec![reply(true, 1, 9, 0, 60), reply(false, 0, 0, 250, 0)])
    );
    let most = u64::MAX;
    assert_eq!(read(&format!("1 1 {most} 0 0"), 1), Some(vec![reply(true, 1, most, 0, 0)]));
    assert_eq!(read("1 1 9 0 0", 2), None, "a rule too few");
    assert_eq!(read("1 1 9 0 0 1", 1), None, "a number too many");
    for wrong in ["1 1 -9 0 0", "1 1  0 0", "1 1 9 0 ", " 1 9 0 0", "1 1 1e3 0 0", "1,1 9 0 0"] {
        assert_eq!(read(wrong, 1), None, "{wrong:?}");
    }
    assert_eq!(read(&format!("1 1 {most}0 0 0"), 1), None, "larger than any number");
    assert_eq!(read_replies(&ints(&[1, 1, 9, 0, 0]), 1), None, "not a text");
    assert_eq!(read_replies(&Value::Nil, 1), None);

    let standing = Standing { used: 1, remaining: 2, reset_ms: 3, epoch_ms: 4 };
    assert_eq!(read_standing(&ints(&[1, 2, 3, 4])), Some(standing));
    assert_eq!(read_standing(&ints(&[1, 2, 3])), None);
    assert_eq!(read_standing(&ints(&[1, 2, 3, -4])), None);
}

mod real {
    //! Against a real `redis-server`, and a real cluster of one node.

    use std::sync::Arc;
    use std::time::Duration;

    use redis::cluster::ClusterClient;
    use tidegate_kit::{Process, ports};

    use super::super::*;
    use crate::limit::math::Ask;
    use crate::limit::settle::Due;
    use crate::limit::testing::rule;
    use crate::limit::{CounterKey, LimitRule};
    use crate::link::{Address, Connection, Settings};

    fn now() -> Moment {
        crate::clock::now()
    }

    fn redis(url: &str) -> Redis {
        let settings = Settings {
            address: Address::server(url),
            timeout: Duration::from_secs(20),
            ..Settings::server(url, "test")
        };
        Redis::new(&settings, 7, "tests", &Metrics::new().unwrap())
    }

    /// A take from a counter with that number; its tag is the number's too.
    fn take(rule: &Arc<LimitRule>, number: u8) -> Take {
        let key = CounterKey::tagged(u128::from(number), number);
        Take { rule: Arc::clone(rule), tier: 0, cost: rule.cost, key }
    }

    fn asked(takes: &[Take]) -> Vec<(&Take, Ask)> {
        takes.iter().map(|take| (take, Ask::exactly(take.cost))).collect()
    }

    fn rules() -> Vec<(&'static str, Arc<LimitRule>)> {
        [
            ("window", "{limit: 10, window: 1h, key: [clientIp]}"),
            ("log", "{algorithm: sliding_log, limit: 10, window: 1h, key: [clientIp]}"),
            ("fixed", "{algorithm: fixed_window, limit: 10, window: 31d, key: [clientIp]}"),
            ("quota", "{algorithm: quota, limit: 10, period: month, key: [clientIp]}"),
            ("places", "{algorithm: concurrency, limit: 10, key: [clientIp]}"),
            (
                "bucket",
                "{algorithm: token_bucket, capacity: 10, refillPerSecond: 0.0001,
                  key: [clientIp]}",
            ),
        ]
        .map(|(name, yaml)| (name, rule(name, yaml)))
        .into()
    }

    async fn used(redis: &Redis, take: &Take) -> u64 {
        redis.peek(take, now()).await.unwrap().used
    }

    /// Every call, also when Redis has forgotten the scripts or everything.
    #[tokio::test]
    async fn what_is_settled_shows_and_survives_what_redis_forgets() {
        let server = tidegate_kit::Redis::start().await.unwrap();
        let redis = redis(&server.url());
        for (name, rule) in rules() {
            let take = take(&rule, 1);
            server.query(&["SCRIPT", "FLUSH"]).await.unwrap();
            let call = redis.next_call();
            let reply =
                redis.take_as(call, &asked(std::slice::from_ref(&take)), now()).await.unwrap()[0]
                    .unwrap();
            assert_eq!((reply.taken, used(&redis, &take).await), (1, 1), "{name}");

            server.query(&["SCRIPT", "FLUSH"]).await.unwrap();
            let more = |amount| Due::Charge { take: take.clone(), amount };
            redis.settle(&[more(3), more(2)], now()).await.unwrap();
            let places = name == "places";
            assert_eq!(used(&redis, &take).await, if places { 1 } else { 6 }, "{name}");

            server.query(&["SCRIPT", "FLUSH"]).await.unwrap();
            let epoch_ms = reply.epoch_ms;
            let back = Due::GiveBack {
                take: take.clone(),
                amount: 1,
                epoch_ms,
                fleet: None,
                until: crate::clock::Tick::from_nanos(u64::MAX),
            };
            let release = Due::Release { take: take.clone(), member: call };
            redis.settle(&[back], now()).await.unwrap();
            redis.renew(&[(&take, call)], now()).await.unwrap();
            redis.settle(&[release], now()).await.unwrap();
            assert_eq!(used(&redis, &take).await, if places { 0 } else { 5 }, "{name}");

            server.query(&["SCRIPT", "FLUSH"]).await.unwrap();
            assert_eq!(redis.reset(&take).await.unwrap(), !places, "{name}");
            assert!(!redis.reset(&take).await.unwrap());
            assert_eq!(used(&redis, &take).await, 0, "{name}");

            redis.take(&asked(std::slice::from_ref(&take)), now()).await.unwrap();
            server.query(&["FLUSHALL"]).await.unwrap();
            redis
                .settle(
                    &[Due::GiveBack {
                        take: take.clone(),
                        amount: 1,
                        epoch_ms,
                        fleet: None,
                        until: crate::clock::Tick::from_nanos(u64::MAX),
                    }],
                    now(),
                )
                .await
                .unwrap();
            assert_eq!(used(&redis, &take).await, 0, "{name}: everything was forgotten");
        }
        assert!(redis.settle(&[], now()).await.is_ok());
        let keys = server.query(&["KEYS", "*"]).await.unwrap().texts();
        assert!(keys.iter().all(|key| key.starts_with("test:rl2:")), "{keys:?}");
    }

    #[tokio::test]
    async fn a_restart_between_calls_is_not_noticed() {
        let mut server = tidegate_kit::Redis::start().await.unwrap();
        let redis = redis(&server.url());
        let (_, rule) = rules().remove(0);
        let take = take(&rule, 1);
        for _ in 0..2 {
            redis.settle(&[Due::Charge { take: take.clone(), amount: 2 }], now()).await.unwrap();
            assert_eq!(used(&redis, &take).await, 2);
            server.restart().await.unwrap();
        }
        assert!(!redis.reset(&take).await.unwrap());
    }

    #[tokio::test]
    async fn calls_of_two_nodes_have_two_names() {
        let server = tidegate_kit::Redis::start().await.unwrap();
        let one = redis(&server.url());
        let other = Redis { node: 8, ..redis(&server.url()) };
        let (_, rule) = rules().remove(1);
        let take = take(&rule, 1);
        for node in [&one, &other] {
            for _ in 0..2 {
                node.take(&asked(std::slice::from_ref(&take)), now()).await.unwrap();
            }
        }
        assert_eq!(used(&one, &take).await, 4);
        let name = |redis: &Redis| redis.call_name(redis.next_call());
        assert_eq!(
            (name(&one), name(&other)),
            ("0000000000000007-2".into(), "0000000000000008-2".into())
        );
    }

    /// A cluster of one node, which serves all slots.
    struct Cluster {
        _process: Process,
        _folder: tempfile::TempDir,
        connection: Connection,
    }

    impl Cluster {
        async fn start() -> Self {
            let (folder, port) = (tempfile::tempdir().unwrap(), ports::free().unwrap());
            let bus = ports::free().unwrap().to_string();
            let mut command = tokio::process::Command::new("redis-server");
            command
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
                .args(["--cluster-enabled", "yes", "--cluster-port", &bus, "--dir"])
                .arg(folder.path());
            let log = folder.path().join("redis.log");
            let mut process = Process::spawn("redis-cluster", command, &log).unwrap();
            let url = format!("redis://127.0.0.1:{port}");
            let ask = async |words: &[&str]| -> Option<String> {
                let client = redis::Client::open(url.as_str()).ok()?;
                let mut connection = client.get_multiplexed_async_connection().await.ok()?;
                redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await.ok()
            };
            process.ready(async || ask(&["PING"]).await.is_some()).await.unwrap();
            assert!(ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await.is_some());
            let ready = async || {
                let info = ask(&["CLUSTER", "INFO"]).await?;
                info.contains("state:ok").then_some(())
            };
            tidegate_kit::wait::until("a cluster that serves", ready).await.unwrap();
            let client = ClusterClient::new([url.as_str()]).unwrap();
            let connection = Connection::Cluster(client.get_async_connection().await.unwrap());
            Self { _process: process, _folder: folder, connection }
        }
    }

    #[tokio::test]
    async fn in_a_cluster_limits_of_two_slots_are_taken_from_both_or_neither() {
        let cluster = Cluster::start().await;
        let redis = Redis { is_cluster: true, ..redis("redis://nowhere") };
        let take_all = async |takes: &[Take]| {
            let (takes, call) = (asked(takes), redis.call_name(redis.next_call()));
            let places = groups::places(&takes, redis.is_cluster).unwrap();
            let tags = places.len();
            let rules = redis.rules(&takes, now());
            let groups = groups::split(&redis.scripts, &call, &rules, places);
            let connection = cluster.connection.clone();
            let replies = groups::take(connection, &redis.scripts, &groups, &takes).await.unwrap();
            (tags, replies)
        };
        let used = async |take: &Take| {
            let mut connection = cluster.connection.clone();
            let command = redis.peek_command(take, now());
            let value = run(&mut connection, &redis.scripts.peek, &command).await.unwrap();
            read_standing(&value).unwrap().used
        };
        let narrow = rule("narrow", "{limit: 2, window: 1h, key: [clientIp]}");
        for (name, wide) in rules() {
            let last = rule(&format!("{name}-last"), "{limit: 1, window: 1h, key: [clientIp]}");
            let number = name.as_bytes()[0];
            // The first two share a slot, the third has one of its own.
            let second = Take {
                key: CounterKey::tagged(u128::from(number) + 1_000, number),
                ..take(&narrow, 0)
            };
            let takes = [take(&wide, number), second, take(&last, number + 100)];
            let (groups, replies) = take_all(&takes).await;
            assert_eq!(groups, 2, "{name}");
            let replies: Vec<Reply> = replies.into_iter().flatten().collect();
            assert_eq!(replies.len(), 3, "{name}");
            assert!(replies.iter().all(|reply| reply.allowed && reply.taken == 1), "{replies:?}");
            for _ in 0..3 {
                let (_, replies) = take_all(&takes).await;
                let replies: Vec<Reply> = replies.into_iter().flatten().collect();
                let allowed: Vec<bool> = replies.iter().map(|reply| reply.allowed).collect();
                assert_eq!(allowed, [true, true, false], "{name}");
                assert!(replies.iter().all(|reply| reply.taken == 0), "{name}: {replies:?}");
                assert_eq!(replies[0].remaining, 9, "{name}");
                for take in &takes {
                    assert_eq!(used(take).await, 1, "{name}: what was taken is put back");
                }
            }
            let [wide, second, last] = takes;
            let (_, replies) = take_all(&[last, wide, second]).await;
            let refused = |reply: &Option<Reply>| reply.is_some_and(|reply| !reply.allowed);
            assert!(refused(&replies[0]), "{name}: {replies:?}");
            assert_eq!(replies[1..], [None, None], "{name}: nobody asked the others");
        }
    }
}
