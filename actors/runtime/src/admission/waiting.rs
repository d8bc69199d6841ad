//! Requests that a [`Machine`] took, until they are answered.

use std::collections::BTreeMap;

use tol_kafka::TopicPartition;

use super::candidate::SeenMap;
use super::gate::{Follower, GateAction};
use super::machine::{Action, Machine};
use super::request::{Published, Refusal, Request};
use super::{Candidate, Gate, Seen, SeenKey};
use crate::owner::{Error, Moment, Mutation, breaks};

/// Who waits for how many facts.
pub(super) struct Waiter<R> {
    pub(super) remaining: u64,
    pub(super) published: Published,
    pub(super) reply: R,
    pub(super) deadline_ms: u64,
}

/// A partition's candidates and followers after a loss.
pub(super) type Unsettled = (TopicPartition, Vec<Candidate>, Vec<Follower>);

impl<R> Machine<R> {
    /// What a lost claim dropped is offered again as soon as its gate is active: what landed after all is then known.
    pub(super) fn offer_again(&mut self) -> Result<(), Error> {
        for (partition, candidates, followers) in std::mem::take(&mut self.unsettled) {
            let Some(gate) = self.gates.get_mut(&partition) else { continue };
            if !gate.is_active() {
                self.unsettled.push((partition, candidates, followers));
                continue;
            }
            let (mut actions, mut contradicted) = (Vec::new(), Vec::new());
            for candidate in candidates {
                let seen = gate.lookup(&[candidate.key])?.first().copied().flatten();
                match seen.filter(|_| !breaks(Mutation::OfferedBlindly)) {
                    Some(seen) if !candidate.agrees_with(seen.content) => contradicted.push(candidate.ticket),
                    Some(seen) => {
                        actions.push(GateAction::Admitted { ticket: candidate.ticket, position: seen.position, count: 1, fresh: true });
                    }
                    None => gate.admit(candidate),
                }
            }
            for Follower { key, content, ticket } in followers {
                match gate.lookup(&[key])?.first().copied().flatten() {
                    Some(seen) if seen.content != content => contradicted.push(ticket),
                    Some(seen) => actions.extend(gate.follow(key, seen, ticket)),
                    None => {}
                }
            }
            self.answer(&partition, actions);
            // Whoever sends again is told which.
            self.refuse(contradicted, "another node stored other content under one of these ids meanwhile");
        }
        Ok(())
    }

    /// Answers those of these tickets that wait that they should send again.
    pub(super) fn refuse(&mut self, tickets: impl IntoIterator<Item = u64>, why: &str) {
        for waiter in tickets.into_iter().filter_map(|ticket| self.waiters.remove(&ticket)).collect::<Vec<_>>() {
            self.actions.push(Action::Answer(waiter.reply, Err(Refusal::Unavailable(why.to_owned()))));
        }
    }

    pub(super) fn take_requests(&mut self, moment: Moment) -> Result<bool, Error> {
        let mut moved = false;
        // A gate that builds much already lets requests wait: the queue is the bound.
        while self.gates.values().map(Gate::pending).sum::<usize>() < self.options.batch_events * 2
            && self.gates.values().map(Gate::unstored).sum::<usize>() < self.options.queue_events
        {
            let Some(request) = self.queue.front() else { break };
            let elsewhere = self.assigned.as_ref().is_some_and(|own| request.candidates.iter().any(|candidate| !own.contains(&candidate.to.partition)));
            // On a node that owns all, nobody's gate has to be looked for.
            let open = self.gates.values().all(Gate::is_active)
                || request.candidates.iter().all(|candidate| self.gates.get(&candidate.to).is_some_and(Gate::is_active));
            let ready = open && self.unsettled.is_empty();
            let Some(request) = self.queue.pop_front_if(|_| ready || elsewhere) else { break };
            if elsewhere {
                // It would hold up all behind it; whoever sent it finds the owner.
                self.queued_events -= request.candidates.len();
                self.actions.push(Action::Answer(request.reply, Err(Refusal::Unavailable("the partition belongs to another node".to_owned()))));
                moved = true;
                continue;
            }
            let count = request.candidates.len();
            if let Some(early) = self.take_request(request, moment)? {
                self.queue.push_front(early);
                break;
            }
            self.queued_events -= count;
            moved = true;
        }
        Ok(moved)
    }

    /// Takes a request, or gives it back where the answer would rest on something that is not committed.
    fn take_request(&mut self, request: Request<R>, moment: Moment) -> Result<Option<Request<R>>, Error> {
        let known = self.lookup(&request.candidates)?;
        let on_its_way = |candidate: &Candidate| self.gates.get(&candidate.to).is_some_and(|gate| gate.recent_of(candidate.key).is_some());
        let contradicts =
            |(candidate, seen): (&Candidate, &Option<Seen>)| seen.is_some_and(|seen| !candidate.agrees_with(seen.content)) && on_its_way(candidate);
        // E7: what it contradicts may yet come to nothing.
        if request.candidates.iter().zip(&known).any(contradicts) && !breaks(Mutation::ConflictEarly) {
            return Ok(Some(request));
        }
        let Request { candidates, ids, reply, .. } = request;
        let mut within: SeenMap<u64> = SeenMap::with_capacity_and_hasher(candidates.len(), Default::default());
        for (index, (candidate, seen)) in candidates.iter().zip(&known).enumerate() {
            let earlier = seen.map(|seen| (seen.content, format!("{}@{}", candidate.to, seen.position)));
            let same_request = within.get(&candidate.key).map(|content| (*content, "this request".to_owned()));
            if let Some((content, at)) = earlier.or(same_request)
                && !candidate.agrees_with(content)
            {
                let id = ids.get(index).cloned().unwrap_or_default();
                self.actions.push(Action::Answer(reply, Err(Refusal::Conflict { index, id, at })));
                return Ok(None);
            }
            within.insert(candidate.key, candidate.content);
        }
        let repeats = within.len() < candidates.len();
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let waiter =
            Waiter { remaining: candidates.len() as u64, published: Published::default(), reply, deadline_ms: moment.now_ms + self.options.timeout_ms };
        self.waiters.insert(ticket, waiter);
        let mut actions = Vec::new();
        for (mut candidate, seen) in candidates.into_iter().zip(known) {
            let Some(gate) = self.gates.get_mut(&candidate.to) else { continue };
            let seen = match seen {
                Some(seen) => Some(seen),
                // Two equal events in one request.
                None if repeats => gate.recent_of(candidate.key),
                None => None,
            };
            let taken = candidate.inbox.is_some_and(|(inbox, at)| gate.inbox_position(inbox).is_some_and(|last| at <= last));
            match seen {
                Some(seen) => actions.extend(gate.follow(candidate.key, seen, ticket).map(|action| (candidate.to, action))),
                None if taken => actions.push((candidate.to, GateAction::Admitted { ticket, position: 0, count: 1, fresh: false })),
                None => {
                    candidate.ticket = ticket;
                    gate.admit(candidate);
                }
            }
        }
        for (partition, action) in actions {
            self.answer(&partition, [action]);
        }
        Ok(None)
    }

    /// What is known of each candidate, with one look-up a gate.
    fn lookup(&mut self, candidates: &[Candidate]) -> Result<Vec<Option<Seen>>, Error> {
        let mut by_gate: BTreeMap<&TopicPartition, Vec<usize>> = BTreeMap::new();
        for (index, candidate) in candidates.iter().enumerate() {
            by_gate.entry(&candidate.to).or_default().push(index);
        }
        let mut known = vec![None; candidates.len()];
        for (partition, indexes) in by_gate {
            let keys: Vec<SeenKey> = indexes.iter().map(|index| candidates[*index].key).collect();
            let Some(gate) = self.gates.get_mut(partition) else { continue };
            for (index, seen) in indexes.into_iter().zip(gate.lookup(&keys)?) {
                known[index] = seen;
            }
        }
        Ok(known)
    }

    pub(super) fn answer(&mut self, partition: &TopicPartition, actions: impl IntoIterator<Item = GateAction>) {
        for action in actions {
            let GateAction::Admitted { ticket, position, count, fresh } = action else { continue };
            let Some(waiter) = self.waiters.get_mut(&ticket) else { continue };
            waiter.remaining -= count;
            if fresh {
                waiter.published.accepted += count;
            } else {
                waiter.published.duplicates += count;
            }
            let highest = waiter.published.positions.entry(partition.clone()).or_insert(position);
            *highest = (*highest).max(position);
            if waiter.remaining == 0
                && let Some(waiter) = self.waiters.remove(&ticket)
            {
                self.actions.push(Action::Answer(waiter.reply, Ok(waiter.published)));
            }
        }
    }

    pub(super) fn expire(&mut self, moment: Moment) {
        // Requests that no gate takes (not claimed yet, log away) do not wait for ever either.
        let patience = self.options.timeout_ms;
        while let Some(request) = self.queue.pop_front_if(|request| moment.now_ms > request.since_ms + patience) {
            self.queued_events -= request.candidates.len();
            self.actions.push(Action::Late(request.reply));
        }
        let mut late: Vec<u64> = self.waiters.iter().filter(|(_, waiter)| moment.now_ms >= waiter.deadline_ms).map(|(ticket, _)| *ticket).collect();
        late.sort_unstable();
        for waiter in late.iter().filter_map(|ticket| self.waiters.remove(ticket)).collect::<Vec<_>>() {
            self.actions.push(Action::Late(waiter.reply));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use tol_events::{Event, EventTime};

    use super::super::request::{AdmissionOptions, Opener};
    use super::*;
    use crate::store::MemoryStore;

    const PARTITIONS: u32 = 2;

    fn candidate_in(partition: u32) -> Candidate {
        let subjects = (0..).map(|number| format!("customer/{number}"));
        let subject = subjects.into_iter().find(|subject| tol_events::id::partition_of(subject, PARTITIONS) == partition).unwrap();
        Candidate::new(Event::new("1", "/shop", "shop.thing_done.v1", subject), None, "facts.customer", PARTITIONS, None, EventTime::default())
    }

    #[test]
    fn a_request_for_another_nodes_partition_holds_up_nobody() {
        let opener = Opener { identity: "log".into(), node: "http://a".into(), store: Arc::new(MemoryStore::default()), nonce_seed: 1 };
        let options = AdmissionOptions {
            topics: vec!["facts.customer".into()],
            partitions: PARTITIONS,
            queue: 10,
            queue_events: 10,
            batch_events: 10,
            timeout_ms: 1_000,
            joint_appends: false,
            gather_ms: 0,
        };
        let mut machine: Machine<&str> = Machine::open(opener, options).unwrap();
        let moment = Moment { now_ms: 0, wall: EventTime::default(), stopped: false };
        let request = |partition, reply| Request { candidates: vec![candidate_in(partition)], ids: vec!["1".into()], reply, since_ms: 0 };
        machine.push(request(1, "theirs"));
        machine.step(moment).unwrap();
        assert!(machine.take_actions().is_empty(), "nobody said yet what is whose");
        machine.assign(BTreeSet::from([0]));
        machine.push(request(0, "ours"));
        machine.step(moment).unwrap();
        let answered: Vec<&str> = machine
            .take_actions()
            .into_iter()
            .filter_map(|action| match action {
                Action::Answer(reply, Err(Refusal::Unavailable(_))) => Some(reply),
                _ => None,
            })
            .collect();
        assert_eq!((answered, machine.queued()), (vec!["theirs"], (1, 1)));
    }
}
