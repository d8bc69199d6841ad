//! Bulk redrive: what is selected, and the thread that works through it. What it does is safe to repeat: an input is decided again only
//! while it is parked, and leaves that state in the same group of events as what it led to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tol_runtime::owner::{self, Answered, Parked};
use tol_runtime::supervision::{Command, State};

use super::dead_letters::Filter;
use super::refused;
use crate::http::api::{RedriveOne, Redriven, StayedDeadLetter};
use crate::node::Open;
use crate::node::refused::HUB;
use tol_plug::{Kind, Problem};

/// Dead letters handed to a system at a time: progress shows, and commands of others get their turn.
const CHUNK: usize = 500;
/// Redrives remembered.
const REMEMBERED: usize = 20;
/// How long a system may be away (restarting, paused, stopped) before the redrive gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who asks, and why.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub by: String,
    pub reason: String,
    pub force: bool,
}

/// The first inputs of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    subject: String,
    through: u64,
    ids: Vec<String>,
}

/// What is to be redriven, by system and partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    parts: BTreeMap<(String, u32), Vec<Part>>,
    /// Matched, and stand behind one that does not.
    held_back: u64,
    /// Ids of records of the inbox that were refused.
    pub(super) refused: Vec<String>,
}

/// Selects, of each subject, the first inputs up to the one that does not match. One that only came behind another follows it.
pub(super) fn select(parked: Vec<Parked>, filter: &Filter<'_>) -> Selection {
    let mut subjects: BTreeMap<(String, u32, String), Vec<Parked>> = BTreeMap::new();
    for one in parked {
        subjects.entry((one.system.clone(), one.partition, one.subject.clone())).or_default().push(one);
    }
    let mut selection = Selection::default();
    for ((system, partition, subject), inputs) in subjects {
        let (mut followed, mut open) = (None, true);
        let mut part = Part { subject, through: 0, ids: Vec::new() };
        for input in inputs {
            let matches = followed.filter(|_| input.came_behind()).unwrap_or_else(|| filter.matches(&input));
            followed = Some(matches);
            open &= matches;
            if open {
                part.through = input.order;
                part.ids.push(input.id);
            } else {
                selection.held_back += u64::from(matches);
            }
        }
        if !part.ids.is_empty() {
            selection.parts.entry((system, partition)).or_default().push(part);
        }
    }
    selection
}

impl Selection {
    fn count(&self) -> u64 {
        self.parts.values().flatten().map(|part| part.ids.len() as u64).sum::<u64>() + self.refused.len() as u64
    }

    /// Partition numbers in which something is selected.
    pub(super) fn partitions(&self) -> impl Iterator<Item = u32> {
        self.parts.keys().map(|(_, partition)| *partition)
    }

    pub(super) fn dry_run(&self) -> Redriven {
        let ids: Vec<String> = self.parts.values().flatten().flat_map(|part| &part.ids).chain(&self.refused).cloned().collect();
        let count = self.count();
        Redriven { state: "done".to_owned(), selected: count, held_back: self.held_back, redriven: count, ids, dry_run: true, ..Redriven::default() }
    }
}

/// A redrive, and the other nodes that were asked to do their part.
#[derive(Clone, Default)]
pub(super) struct Known {
    pub part: Redriven,
    pub others: Vec<String>,
}

/// The redrives of this node, one at a time.
#[derive(Clone, Default)]
pub(crate) struct Redrives {
    known: Arc<Mutex<VecDeque<Known>>>,
}

impl Redrives {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far this node's part of a redrive is, and who else does one.
    pub(super) fn known(&self, id: &str) -> Option<Known> {
        self.lock().iter().find(|one| one.part.id == id).cloned()
    }

    /// Notes that another node does its part of a redrive.
    pub(super) fn joined(&self, id: &str, url: String) {
        if let Some(one) = self.lock().iter_mut().find(|one| one.part.id == id) {
            one.others.push(url);
        }
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Redriven)) {
        if let Some(one) = self.lock().iter_mut().find(|one| one.part.id == id) {
            change(&mut one.part);
        }
    }

    /// Starts this node's part of the redrive `id`.
    pub(super) fn start(&self, open: &Arc<Open>, id: String, selection: Selection, request: Request) -> Result<(), Problem> {
        {
            let mut known = self.lock();
            if let Some(running) = known.iter().map(|one| &one.part).find(|part| part.state == "running") {
                let detail = format!("redrive {} runs; GET /dead-letters/redrives/{} tells how far it is", running.id, running.id);
                return Err(Problem::new(Kind::JOB_RUNNING, detail).with("redrive", running.id.clone()));
            }
            let state = "running".to_owned();
            let part = Redriven { id: id.clone(), state, selected: selection.count(), held_back: selection.held_back, ..Redriven::default() };
            known.push_back(Known { part, others: Vec::new() });
            while known.len() > REMEMBERED {
                known.pop_front();
            }
        }
        tracing::info!(redrive = id, by = request.by, reason = request.reason, count = selection.count(), "redrive");
        let (open, redrives, name) = (open.clone(), self.clone(), id.clone());
        let spawned = std::thread::Builder::new().name("redrive".to_owned()).spawn(move || {
            let ended = run(&open, &redrives, &name, selection, &request);
            redrives.change(&name, |one| {
                one.state = if ended.is_ok() { "done" } else { "failed" }.to_owned();
                one.problem = ended.err();
            });
        });
        if let Err(error) = spawned {
            self.change(&id, |one| (one.state, one.problem) = ("failed".to_owned(), Some(error.to_string())));
        }
        Ok(())
    }
}

fn run(open: &Open, redrives: &Redrives, id: &str, selection: Selection, request: &Request) -> Result<(), String> {
    for ((system, partition), mut parts) in selection.parts {
        // Subjects in the order in which their last inputs were parked, which is nearly that of the log.
        parts.sort_by_key(|part| part.through);
        let mut rest = parts.as_slice();
        while !rest.is_empty() {
            let mut letters = 0;
            let mut count = 0;
            while let Some(part) = rest.get(count)
                && (count == 0 || letters + part.ids.len() <= CHUNK)
            {
                letters += part.ids.len();
                count += 1;
            }
            let (chunk, later) = rest.split_at(count);
            settle(open, redrives, id, &system, partition, chunk, request)?;
            rest = later;
        }
    }
    selection.refused.into_iter().try_for_each(|letter| admit(open, redrives, id, letter, request))
}

/// Has a record that the inbox refused admitted.
fn admit(open: &Open, redrives: &Redrives, id: &str, letter: String, request: &Request) -> Result<(), String> {
    if open.control.stopping.load(Ordering::Acquire) {
        return Err("the node is stopping; redrive again what is left".to_owned());
    }
    let asked = RedriveOne { event: None, reason: Some(request.reason.clone()) };
    match refused::redrive(open, &letter, asked, &request.by) {
        Ok(()) => redrives.change(id, |one| {
            one.ids.push(letter);
            one.redriven = one.ids.len() as u64;
        }),
        // Somebody else saw to it.
        Err(problem) if problem.kind == Kind::UNKNOWN_DEAD_LETTER => {}
        Err(problem) if problem.kind == Kind::WRONG_STATE => redrives.change(id, |one| {
            one.failed.push(StayedDeadLetter { id: letter, system: HUB.to_owned(), subject: String::new(), problem: problem.detail });
        }),
        Err(problem) => return Err(format!("{letter}: {}; redrive again what is left", problem.detail)),
    }
    Ok(())
}

/// Has one chunk redriven, however often its system goes away meanwhile.
fn settle(open: &Open, redrives: &Redrives, id: &str, system: &str, partition: u32, chunk: &[Part], request: &Request) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    let mut lost = false;
    loop {
        match ask(open, id, system, partition, chunk, request) {
            Ok(outcome) => {
                let stayed = |stayed: Vec<owner::Stayed>| {
                    stayed.into_iter().map(|one| StayedDeadLetter { id: one.id, system: system.to_owned(), subject: one.subject, problem: one.problem })
                };
                redrives.change(id, |one| {
                    one.ids.extend(outcome.gone);
                    one.redriven = one.ids.len() as u64;
                    one.failed.extend(stayed(outcome.failed));
                    one.limited.extend(stayed(outcome.limited));
                });
                if lost {
                    count_gone(open, redrives, id, system, partition, chunk);
                }
                return Ok(());
            }
            Err(problem) => {
                let state = open.root.statuses().into_iter().find(|status| status.description.name == system).map(|status| status.state);
                let moved = !open.routing.own().contains(&partition);
                let hopeless = moved || matches!(state, None | Some(State::Degraded | State::Stopped));
                if hopeless || Instant::now() >= until || open.control.stopping.load(Ordering::Acquire) {
                    return Err(format!("{system} partition {partition}: {problem}; redrive again what is left once GET /systems/{system} says that it runs"));
                }
                lost = true;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// Whether an answer was lost or not, what is no longer parked went through.
fn count_gone(open: &Open, redrives: &Redrives, id: &str, system: &str, partition: u32, chunk: &[Part]) {
    let Ok(parked) = open.parked(Some(system)) else { return };
    let there: std::collections::BTreeSet<&str> = parked.iter().filter(|one| one.partition == partition).map(|one| one.id.as_str()).collect();
    redrives.change(id, |one| {
        let known: std::collections::BTreeSet<&str> = one.ids.iter().map(String::as_str).collect();
        let gone = chunk.iter().flat_map(|part| &part.ids).filter(|id| !there.contains(id.as_str()) && !known.contains(id.as_str()));
        let gone: Vec<String> = gone.cloned().collect();
        one.ids.extend(gone);
        one.redriven = one.ids.len() as u64;
    });
}

fn ask(open: &Open, id: &str, system: &str, partition: u32, chunk: &[Part], request: &Request) -> Result<owner::Redriven, String> {
    let subjects = chunk.iter().map(|part| owner::Redrive {
        subject: part.subject.clone(),
        through: part.through,
        id: id.to_owned(),
        by: request.by.clone(),
        reason: request.reason.clone(),
        force: request.force,
    });
    let (sender, answer) = mpsc::sync_channel(1);
    let reply = Box::new(move |answer| drop(sender.send(answer)));
    if !open.root.command(system, Command::Redrive(partition, subjects.collect(), reply)) {
        return Err("it does not answer now".to_owned());
    }
    match answer.recv_timeout(PATIENCE) {
        Ok(Ok(Answered::Redriven(outcome))) => Ok(outcome),
        Ok(Ok(_)) => Err("it answered another question".to_owned()),
        Ok(Err(problem)) => Err(problem),
        // Its thread ended, or it is stopped or paused.
        Err(_) => Err("it did not answer".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use tol_events::EventTime;
    use tol_runtime::owner::Recorded;

    /// `about`: subject, order, attempts, error.
    fn parked(about: (&str, u64, u32, &str)) -> Parked {
        let (subject, order, attempts, error) = about;
        Parked {
            id: format!("{subject}#{order}"),
            system: "s".into(),
            partition: 0,
            subject: subject.into(),
            order,
            error: error.into(),
            attempts,
            at: String::new(),
            correlation: String::new(),
            time: EventTime::default(),
            parked_at: None,
            redrives: 0,
            failed_in: None,
            input: Recorded::Timer { id: "t".into(), due: EventTime::default() },
        }
    }

    #[test]
    fn what_came_behind_follows_and_nothing_overtakes() {
        let letters =
            [("a", 1, 3, "no rate"), ("a", 2, 0, "waits"), ("a", 5, 3, "panicked"), ("a", 6, 3, "no rate"), ("b", 3, 3, "panicked"), ("b", 4, 3, "no rate")];
        let selection = select(letters.map(parked).to_vec(), &Filter { error: Some("no rate"), ..Filter::default() });
        let parts = &selection.parts[&("s".to_owned(), 0)];
        assert_eq!(parts, &[Part { subject: "a".into(), through: 2, ids: vec!["a#1".into(), "a#2".into()] }]);
        assert_eq!(selection.held_back, 2);
        let all = select(letters.map(parked).to_vec(), &Filter::default()).dry_run();
        assert_eq!((all.selected, all.held_back, all.ids.len(), all.dry_run), (6, 0, 6, true));
    }
}
