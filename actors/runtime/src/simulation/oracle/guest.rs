//! What a real system beside the test systems must have done, as its judge says.

use std::collections::BTreeSet;

use tol_events::id;

use super::super::guest::{Again, Judge, Why};
use super::super::rules::Cause;
use super::{Findings, Model, Recorded};

/// What judges the guest.
pub(super) struct OfGuest<'a> {
    pub judge: Box<dyn Judge>,
    /// Where everything is decided once more.
    pub again: Option<Again>,
    /// Its facts in order, and how many of them lie behind the last that led to something.
    pub facts: Vec<&'a Recorded>,
    pub behind: usize,
}

impl OfGuest<'_> {
    /// The facts before this position that led to nothing; then the next is decided.
    pub(super) fn pass(&mut self, until: u64, used: &BTreeSet<String>) -> Result<(), String> {
        while let Some(fact) = self.facts.get(self.behind).filter(|fact| fact.position < until) {
            if !used.contains(&fact.id) {
                self.judge.passed(fact).map_err(|problem| format!("{} {} led to nothing: {problem}", fact.event_type, fact.id))?;
            }
            self.behind += 1;
        }
        self.judge.mark();
        Ok(())
    }
}

impl Model<'_> {
    /// What the guest's judge says of a group, and what deciding it again says.
    pub(super) fn events_of_guest(
        &mut self,
        subject: &str,
        cause: &Cause,
        (source, cause_id): (&str, &str),
        events: &[Recorded],
        first_index: u32,
        findings: &mut Findings,
    ) -> Result<(), String> {
        let name = cause.name();
        for (index, event) in events.iter().enumerate() {
            let id = id::derived(self.kind.name(), source, cause_id, first_index + index as u32).to_string();
            if event.id != id || event.target.is_some() {
                return Err(format!("{name} led to {} instead of {id}", event.id));
            }
        }
        let why = match cause {
            Cause::Event { id, .. } => Why::Fact(self.inputs.get(id).map(|input| &input.event).ok_or_else(|| format!("{id} is not an input"))?),
            Cause::Timer { id, due, .. } => Why::Timer(id, *due),
            Cause::Effect { .. } => return Err(format!("{name}: the guest has no effects")),
        };
        let Some(guest) = &mut self.guest else { return Ok(()) };
        let told = || events.iter().map(|event| format!("{} {}", event.event_type, event.data)).collect::<Vec<_>>();
        let timers = guest.judge.decided(subject, why, events).map_err(|problem| format!("{why} led to {:?}: {problem}", told()))?;
        if let Some(again) = &mut guest.again {
            again.check(subject, why, (source, cause_id), events, &timers)?;
        }
        findings.of_guest += events.len();
        for (place, timer, due) in timers {
            let setter = events.get(place).map(|event| event.id.clone()).unwrap_or_default();
            self.set_timer(subject, &timer, due.map(|due| (due, setter.as_str())));
        }
        Ok(())
    }
}
