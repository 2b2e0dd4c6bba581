//! What is settled with counters after requests were decided.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use redis::Cmd;

use super::scripts::{Script, run};
use super::{Redis, Take};
use crate::clock::Moment;
use crate::limit::math::Algorithm;
use crate::limit::script;
use crate::limit::settle::Due;
use crate::link::{self, Failure};

/// Most members in one call: what a script may do in one go.
const MEMBERS_MAX: usize = 1_000;

/// Names of charges, apart from those of calls that take: both are made by one process.
const CHARGES: u64 = 1 << 62;

/// A call that settles something.
struct Step<'a> {
    script: &'a Script,
    command: Cmd,
    /// Whether doing it twice would let too much pass.
    once: bool,
}

impl Redis {
    /// Settles all of `dues`: the calls go out together, and each stands for itself.
    ///
    /// A connection that is lost on the way is made anew and the calls made once more: what was
    /// charged may then be charged twice, places are released once whatever happens, and what is
    /// given back is not tried again, since giving back twice would admit too much.
    ///
    /// # Errors
    /// The first of those that failed; the others may have been settled.
    pub(in crate::limit) async fn settle(&self, dues: &[Due], now: Moment) -> Result<(), Failure> {
        let steps: Vec<_> = dues.iter().flat_map(|due| self.steps(due, now)).collect();
        self.work_off(&steps).await
    }

    /// Holds places for longer: each take with the call that took it.
    ///
    /// # Errors
    /// As [`Redis::settle`].
    pub(in crate::limit) async fn renew(
        &self,
        held: &[(&Take, u64)],
        now: Moment,
    ) -> Result<(), Failure> {
        let mut members: BTreeMap<String, (u64, Vec<String>)> = BTreeMap::new();
        for (take, call) in held {
            let Algorithm::Concurrency { hold_ms } = take.numbers(now).algorithm else { continue };
            let of_key = members.entry(self.key(take)).or_insert_with(|| (hold_ms, Vec::new()));
            of_key.1.extend(script::members(&self.call_name(*call), take.cost));
        }
        let mut steps = Vec::new();
        for (key, (hold_ms, members)) in &members {
            for some in members.chunks(MEMBERS_MAX) {
                let mut command = self.scripts.renew.command(1);
                command.arg(key).arg("").arg(hold_ms).arg(some);
                steps.push(Step { script: &self.scripts.renew, command, once: false });
            }
        }
        self.work_off(&steps).await
    }

    async fn work_off(&self, steps: &[Step<'_>]) -> Result<(), Failure> {
        if steps.is_empty() {
            return Ok(());
        }
        let again = AtomicBool::new(false);
        let again = &again;
        let work = |connection: link::Connection| async move {
            let again = again.swap(true, Ordering::Relaxed);
            // All at once on one connection: they leave in one piece and are answered in one.
            let calls = steps.iter().filter(|step| !(again && step.once)).map(|step| {
                let mut connection = connection.clone();
                async move { run(&mut connection, step.script, &step.command).await }
            });
            for result in join_all(calls).await {
                result?;
            }
            Ok(())
        };
        self.link.call(work).await
    }

    /// The calls that settle something.
    fn steps(&self, due: &Due, now: Moment) -> Vec<Step<'_>> {
        match due {
            Due::Charge { take, amount } => {
                let numbers = take.numbers(now);
                let named = numbers.algorithm.remembers_requests();
                let name =
                    if named { self.call_name(CHARGES | self.next_call()) } else { String::new() };
                let (algorithm, numbers) = script::counter(&numbers);
                let mut command = self.scripts.charge.command(1);
                command.arg(self.key(take)).arg("").arg(name);
                command.arg(algorithm).arg(&numbers).arg(amount);
                vec![Step { script: &self.scripts.charge, command, once: false }]
            }
            Due::GiveBack { take, amount, epoch_ms, .. } => {
                let (key, numbers) = (self.key(take), take.numbers(now));
                let mut command = self.scripts.give_back_command(&key, &numbers);
                command.arg(amount).arg(epoch_ms);
                vec![Step { script: &self.scripts.give_back, command, once: true }]
            }
            Due::Release { take, member } => {
                let members: Vec<_> =
                    script::members(&self.call_name(*member), take.cost).collect();
                let step = |some: &[String]| {
                    let mut command = self.scripts.release.command(1);
                    command.arg(self.key(take)).arg(some);
                    Step { script: &self.scripts.release, command, once: false }
                };
                members.chunks(MEMBERS_MAX).map(step).collect()
            }
        }
    }
}
