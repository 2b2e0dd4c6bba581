//! The scripts of the limiter, and how one is run.

use redis::aio::ConnectionLike;
use redis::{Arg, Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use crate::limit::math::{Ask, Numbers};
use crate::limit::script;

/// A script and its name in the server's memory.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    sha: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, sha: redis::Script::new(text).get_hash().to_owned() }
    }

    /// The begin of a call with so many keys; with room for what follows in most.
    pub(super) fn command(&self, keys: usize) -> Cmd {
        let args = 5 + (1 + script::RULE_ARGS) * keys;
        let mut command = Cmd::with_capacity(args, 64 + 224 * keys);
        command.arg("EVALSHA").arg(&self.sha).arg(keys);
        command
    }
}

/// All scripts.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) take: Script,
    pub(super) charge: Script,
    pub(super) give_back: Script,
    pub(super) release: Script,
    pub(super) renew: Script,
    pub(super) peek: Script,
}

/// A counter that something is asked of: its name in Redis, its numbers and what is asked.
pub(super) type Rule = (String, Numbers, Ask);

/// How something that was taken is put back: by members, or by amount and window.
#[derive(Debug)]
pub(super) enum Undo {
    /// The members are in the command.
    Release(Cmd),
    /// The amount and the window that the reply told must follow.
    GiveBack(Cmd),
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            take: Script::new(script::TAKE),
            charge: Script::new(script::CHARGE),
            give_back: Script::new(script::GIVE_BACK),
            release: Script::new(script::RELEASE),
            renew: Script::new(script::RENEW),
            peek: Script::new(script::PEEK),
        }
    }

    /// Takes from all of `rules`, by the server's clock.
    pub(super) fn take_command<'a>(
        &self,
        call: &str,
        rules: impl ExactSizeIterator<Item = &'a Rule> + Clone,
    ) -> Cmd {
        let mut command = self.take.command(rules.len());
        for (key, ..) in rules.clone() {
            command.arg(key);
        }
        command.arg("").arg(call);
        for (_, numbers, ask) in rules {
            let (algorithm, numbers) = script::arguments(numbers, ask);
            command.arg(algorithm).arg(&numbers);
        }
        command
    }

    /// Puts back what the call `call` takes from each of `rules`.
    pub(super) fn undo<'a>(&self, call: &str, rules: impl Iterator<Item = &'a Rule>) -> Vec<Undo> {
        let undo = |(key, numbers, ask): &Rule| {
            if numbers.algorithm.remembers_requests() {
                let members: Vec<_> = script::members(call, ask.cost).collect();
                let mut command = self.release.command(1);
                command.arg(key).arg(&members);
                return Undo::Release(command);
            }
            Undo::GiveBack(self.give_back_command(key, numbers))
        };
        rules.map(undo).collect()
    }

    /// Puts back to a counter what must follow: amount and window.
    pub(super) fn give_back_command(&self, key: &str, numbers: &Numbers) -> Cmd {
        let (algorithm, numbers) = script::counter(numbers);
        let mut command = self.give_back.command(1);
        command.arg(key).arg("").arg(algorithm).arg(&numbers);
        command
    }
}

/// Runs a call of a script. A Redis that does not know the script (it is new to us, restarted,
/// failed over or was told to forget) is sent its text, which makes it known to that server.
pub(super) async fn run(
    connection: &mut impl ConnectionLike,
    script: &Script,
    command: &Cmd,
) -> Result<Value, RedisError> {
    match command.query_async(connection).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            spelled_out(script, command).query_async(connection).await
        }
        other => other,
    }
}

/// The same call with the script's text in place of its name.
fn spelled_out(script: &Script, command: &Cmd) -> Cmd {
    let mut eval = redis::cmd("EVAL");
    eval.arg(script.text);
    for argument in command.args_iter().skip(2) {
        if let Arg::Simple(bytes) = argument {
            eval.arg(bytes);
        }
    }
    eval
}
