use std::sync::mpsc;

use super::*;

/// A manager's socket and a process that reports to it.
fn told(
    start: Start,
    watchdog_usec: Option<u64>,
) -> (tempfile::TempDir, UnixDatagram, Arc<Notify>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_nonblocking(true).unwrap();
    let socket = path.to_str().map(ToOwned::to_owned);
    let environment = Environment { socket, watchdog_usec, watchdog_pid: None };
    (folder, manager, Arc::new(Notify::new(&environment, start)))
}

/// The next datagram, if one was sent: sending is over when the call that sends returns.
fn next(manager: &UnixDatagram) -> Option<String> {
    let mut buffer = [0; 4096];
    let length = manager.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

#[test]
fn words_come_in_an_order_that_managers_understand() {
    let (_folder, manager, notify) = told(Start::Fresh, None);
    notify.reloading();
    notify.reloaded("early");
    assert_eq!(next(&manager), None, "nothing before it is ready, least of all that it is");

    notify.is_up("serves");
    let ready = format!("READY=1\nMAINPID={}\nSTATUS=serves\n", std::process::id());
    assert_eq!(next(&manager), Some(ready));
    notify.is_up("again");
    assert_eq!(next(&manager), None);

    notify.reloading();
    let reloading = next(&manager).unwrap();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(time.trim_end().parse::<u64>().unwrap() > 0);
    notify.reloaded("serves more");
    assert_eq!(next(&manager).as_deref(), Some("READY=1\nSTATUS=serves more\n"));

    notify.stopping(Duration::from_secs(30));
    let stopping = "STOPPING=1\nEXTEND_TIMEOUT_USEC=35000000\nSTATUS=draining, at most 30s\n";
    assert_eq!(next(&manager).as_deref(), Some(stopping));
    notify.stopping(Duration::from_secs(30));
    notify.reloading();
    notify.reloaded("late");
    notify.is_up("late");
    assert_eq!(next(&manager), None, "a service that stops does not become ready again");
}

#[test]
fn who_handed_over_is_silent() {
    let (_folder, manager, notify) = told(Start::Fresh, None);
    notify.is_up("serves");
    next(&manager).unwrap();
    notify.handed_over();
    notify.reloading();
    notify.reloaded("still here");
    notify.stopping(Duration::from_secs(30));
    assert_eq!(next(&manager), None);
}

#[test]
fn a_stop_before_it_is_ready_is_told() {
    let (_folder, manager, notify) = told(Start::Fresh, None);
    // More than fits into 32 bits.
    notify.stopping(Duration::from_hours(2));
    assert!(next(&manager).unwrap().contains("EXTEND_TIMEOUT_USEC=7205000000\n"));
    notify.is_up("late");
    assert_eq!(next(&manager), None);
}

#[test]
fn without_a_manager_nothing_happens() {
    for socket in [None, Some("/nowhere/at/all".to_owned()), Some("@nobody-here".to_owned())] {
        let environment = Environment { socket, ..Environment::default() };
        let notify = Arc::new(Notify::new(&environment, Start::Fresh));
        notify.is_up("serves");
        notify.reloading();
        notify.reloaded("serves");
        notify.stopping(Duration::from_secs(1));
    }
    assert!(address(&"x".repeat(200)).is_err(), "longer than an address can be");
}

#[test]
fn the_watchdog_means_this_process_or_the_one_it_took_over_from() {
    let environment = |usec, pid| Environment {
        socket: Some("@manager".to_owned()),
        watchdog_usec: usec,
        watchdog_pid: pid,
    };
    let ping = |usec, pid, start| environment(usec, pid).ping(start, 7);
    let half = Some(Duration::from_secs(15));
    for (usec, pid, fresh, upgraded) in [
        (Some(30_000_000), Some(7), half, half),
        (Some(30_000_000), None, half, half),
        // Of another process: a shell around this one, or the one it takes over from.
        (Some(30_000_000), Some(8), None, half),
        // Started by `ExecReload=`, which is told nothing.
        (None, None, None, Some(OFTEN)),
        (Some(0), Some(7), None, Some(OFTEN)),
    ] {
        assert_eq!(ping(usec, pid, Start::Fresh), fresh, "{usec:?} {pid:?}");
        assert_eq!(ping(usec, pid, Start::Upgrade), upgraded, "{usec:?} {pid:?}");
    }
    let nobody = Environment { socket: None, ..environment(Some(30_000_000), None) };
    assert_eq!(Notify::new(&nobody, Start::Fresh).ping, None);
}

#[test]
fn a_sign_of_life_needs_a_beat_since_the_last_look() {
    for phase in [Phase::Ready, Phase::Stopping] {
        assert_eq!(sign_of_life(phase, None, 0), Sign::Alive);
        assert_eq!(sign_of_life(phase, Some(3), 4), Sign::Alive);
        assert_eq!(sign_of_life(phase, Some(4), 4), Sign::Silence);
    }
    assert_eq!(sign_of_life(Phase::Left, Some(3), 4), Sign::Over);
}

/// The data plane's only thread is held: no beat, so no sign of life until it is let go.
#[test]
fn a_runtime_that_hangs_gives_no_sign_of_life() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let pulse = Arc::new(Pulse::new(Some(Duration::from_millis(1))));
    let until_it_beats = |from: u64| {
        while pulse.beats() == from {
            std::thread::yield_now();
        }
    };
    runtime.block_on(async { pulse.begin() });
    until_it_beats(pulse.beats());

    let (held, is_held) = mpsc::channel();
    let (let_go, wait) = mpsc::channel::<()>();
    runtime.spawn(async move {
        held.send(()).unwrap();
        wait.recv().unwrap();
    });
    is_held.recv().unwrap();
    // The one thread is in the task above: whatever beat there was is counted.
    let beats = pulse.beats();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(sign_of_life(Phase::Ready, Some(beats), pulse.beats()), Sign::Silence);
    let_go.send(()).unwrap();
    until_it_beats(beats);
    assert_eq!(sign_of_life(Phase::Ready, Some(beats), pulse.beats()), Sign::Alive);
}

#[test]
fn nobody_watches_so_nothing_beats() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let pulse = Arc::new(Pulse::new(None));
    runtime.block_on(async {
        pulse.begin();
        tokio::task::yield_now().await;
    });
    assert_eq!(pulse.beats(), 0);
}
