//! Counters that one call cannot reach together.
//!
//! A script call in a Redis Cluster reaches the keys of one hash slot. Limits of one request
//! whose keys begin with different parts have different tags and so, mostly, different slots.
//! They are taken from tag by tag, in the order of the request, within one time limit; when a
//! later group refuses, what the earlier ones gave is put back. In between, other requests see
//! counters that are too full, never too empty: the error is towards fewer admissions, and so it
//! is if the time runs out on the way. With one tag, and outside of a cluster, there is one call.

use redis::Cmd;

use super::scripts::{Rule, Scripts, Undo, run};
use super::{Ask, Replies, Take, take_together};
use crate::limit::math::Reply;
use crate::link::{Connection, Failure};

/// Counters that are taken from in one call.
#[derive(Debug)]
pub(super) struct Group {
    /// Their places among those of the request.
    places: Vec<usize>,
    /// The call.
    take: Cmd,
    /// What puts back, for each of them.
    undo: Vec<Undo>,
}

/// Which places go together, in the order of the first of each; none where one call reaches all.
pub(super) fn places(takes: &[(&Take, Ask)], is_cluster: bool) -> Option<Vec<Vec<usize>>> {
    if !is_cluster {
        return None;
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
    (groups.len() > 1).then_some(groups)
}

/// The calls for places that do not all go together.
pub(super) fn split(
    scripts: &Scripts,
    call: &str,
    rules: &[Rule],
    groups: Vec<Vec<usize>>,
) -> Vec<Group> {
    let group = |places: Vec<usize>| {
        let own: Vec<_> = places.iter().filter_map(|place| rules.get(*place)).collect();
        let own = own.iter().copied();
        Group {
            take: scripts.take_command(call, own.clone()),
            undo: scripts.undo(call, own),
            places,
        }
    };
    groups.into_iter().map(group).collect()
}

impl Group {
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

/// Takes from all groups, or nothing where one refuses. A refusal is answered as it is; of
/// counters that were not asked any more nothing is answered.
pub(super) async fn take(
    connection: Connection,
    scripts: &Scripts,
    groups: &[Group],
    takes: &[(&Take, Ask)],
) -> Result<Replies, Failure> {
    let mut replies: Replies = takes.iter().map(|_| None).collect();
    let is_shadow = |place: &usize| takes.get(*place).is_some_and(|(_, ask)| ask.shadow);
    for (n, group) in groups.iter().enumerate() {
        let rules = group.places.len();
        let own = take_together(connection.clone(), scripts, &group.take, rules).await?;
        let refused =
            group.places.iter().zip(&own).any(|(place, reply)| {
                !is_shadow(place) && reply.is_some_and(|reply| !reply.allowed)
            });
        for (place, reply) in group.places.iter().zip(own) {
            if let Some(slot) = replies.get_mut(*place) {
                *slot = reply;
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
