//! Counters that one call cannot reach together.
//!
//! A script call in a Redis Cluster reaches the keys of one hash slot. Limits of one request
//! whose keys begin with different parts have different tags and so, mostly, different slots.
//! They are taken from tag by tag, in the order of the request, within one time limit; when a
//! later group refuses, what the earlier ones gave is put back. In between, other requests see
//! counters that are too full, never too empty: the error is towards fewer admissions, and so it
//! is if the time runs out on the way. With one tag, and outside of a cluster, there is one call.

use redis::Cmd;

use super::scripts::{Scripts, Undo, run};
use super::{Ask, Take, read_replies};
use crate::limit::math::Reply;
use crate::link::{Connection, Failure};

/// Counters that are taken from in one call.
#[derive(Debug)]
pub(super) struct Group {
    /// Their places among those of the request.
    pub(super) places: Vec<usize>,
    /// The call.
    pub(super) take: Cmd,
    /// What puts back, for each of them; only where there are more groups than one.
    pub(super) undo: Vec<Undo>,
}

/// Which places go together, in the order of the first of each.
pub(super) fn split(takes: &[(&Take, Ask)], is_cluster: bool) -> Vec<Vec<usize>> {
    if !is_cluster {
        return vec![(0..takes.len()).collect()];
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (place, (take, _)) in takes.iter().enumerate() {
        let shares = |group: &&mut Vec<usize>| {
            let first = group.first().and_then(|first| takes.get(*first));
            first.is_some_and(|(other, _)| other.key.shares_tag(&take.key))
        };
        match groups.iter_mut().find(shares) {
            Some(group) => group.push(place),
            None => groups.push(vec![place]),
        }
    }
    groups
}

impl Group {
    /// Takes from the counters of this group, or nothing from any.
    pub(super) async fn take(
        &self,
        mut connection: Connection,
        scripts: &Scripts,
    ) -> Result<Vec<Reply>, Failure> {
        let value = run(&mut connection, &scripts.take, &self.take).await?;
        read_replies(&value, self.places.len()).ok_or(Failure::Reply)
    }

    /// Puts back what was taken.
    async fn undo(
        &self,
        mut connection: Connection,
        scripts: &Scripts,
        replies: &[Option<Reply>],
    ) -> Result<(), Failure> {
        for (place, undo) in self.places.iter().zip(&self.undo) {
            let Some(Some(reply)) = replies.get(*place) else { continue };
            if reply.taken == 0 {
                continue;
            }
            match undo {
                Undo::Release(command) => {
                    run(&mut connection, &scripts.release, command).await?;
                }
                Undo::GiveBack(command) => {
                    let mut command = command.clone();
                    command.arg(reply.taken).arg(reply.epoch_ms);
                    run(&mut connection, &scripts.give_back, &command).await?;
                }
            }
        }
        Ok(())
    }
}

/// Takes from all groups, or nothing where one refuses. `shadows` says for each place whether it
/// may refuse. A refusal is answered as it is; of counters that were not asked any more nothing
/// is answered.
pub(super) async fn take(
    connection: Connection,
    scripts: &Scripts,
    groups: &[Group],
    shadows: &[bool],
) -> Result<Vec<Option<Reply>>, Failure> {
    let mut replies: Vec<Option<Reply>> = vec![None; shadows.len()];
    for (n, group) in groups.iter().enumerate() {
        let own = group.take(connection.clone(), scripts).await?;
        let refused =
            group.places.iter().zip(&own).any(|(place, reply)| {
                !reply.allowed && !shadows.get(*place).copied().unwrap_or(false)
            });
        for (place, reply) in group.places.iter().zip(own) {
            if let Some(slot) = replies.get_mut(*place) {
                *slot = Some(reply);
            }
        }
        if refused {
            for earlier in groups.iter().take(n) {
                earlier.undo(connection.clone(), scripts, &replies).await?;
                without(earlier, &mut replies);
            }
            break;
        }
    }
    Ok(replies)
}

/// Corrects the replies of a group that was put back.
fn without(group: &Group, replies: &mut [Option<Reply>]) {
    for place in &group.places {
        if let Some(Some(reply)) = replies.get_mut(*place) {
            reply.remaining += reply.taken;
            reply.taken = 0;
        }
    }
}
