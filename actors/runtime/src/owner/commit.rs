//! Between the owner and the log: claims, batches handed over, what the answers mean, and giving up (E2, E6, E7, E8).

use tol_events::id;
use tol_kafka::{Appended, Cursor, Position};

use super::{Action, Error, Moment, Mutation, Owner, cache};
use crate::writer::{Outcome, Phase};

impl Owner {
    /// The log's answer to claim `number`: where it lies, or the failure.
    pub fn claimed(&mut self, number: u64, answer: Result<Vec<Appended>, tol_kafka::Error>) {
        // The answer to an earlier claim says nothing about this one.
        if number != self.counts.claims || !matches!(self.writer.phase(), Phase::Claiming { .. }) {
            return;
        }
        match answer {
            Ok(appended) => self.claim_position = appended.first().and_then(|appended| appended.positions.first().copied()),
            Err(error) => self.lose(&error.to_string()),
        }
    }

    /// The log's answer to batch `number` (E6).
    ///
    /// # Errors
    /// The store failed, or the token was lost.
    pub fn appended(&mut self, number: u64, answer: Result<Vec<Appended>, tol_kafka::Error>) -> Result<(), Error> {
        let single = match &answer {
            Ok(appended) => appended.first().ok_or(&tol_kafka::Error::Closed),
            Err(error) => Err(error),
        };
        let believed;
        let single = match single {
            Ok(appended) if self.options.breaks(Mutation::AcknowledgedAnywhere) => {
                believed = self.writer.as_expected(appended);
                Ok(&believed)
            }
            other => other,
        };
        match self.writer.acknowledged(number, single) {
            Outcome::Outdated => Ok(()),
            Outcome::Lost(_) if self.options.breaks(Mutation::FailedBatchSkipped) => {
                self.in_flight = None;
                Ok(())
            }
            Outcome::Lost(problem) => {
                self.lose(&problem);
                Ok(())
            }
            Outcome::Committed(cursor) => self.commit(cursor),
        }
    }

    fn commit(&mut self, cursor: Cursor) -> Result<(), Error> {
        let Some((_, built, cut, inputs)) = self.in_flight.take() else { return Ok(()) };
        self.meta.own = cursor;
        self.meta.inputs = if self.options.breaks(Mutation::PositionsOfLater) { self.positions.clone() } else { inputs };
        self.meta.last_id = built.last_id;
        self.meta.last_position = cursor.position - 1;
        self.write(cut)?;
        // E7: everything below rests on the commit.
        self.counts.emitted += built.events;
        self.actions.extend(built.effects.into_iter().map(|(id, effect)| Action::StartEffect(id, effect)));
        self.actions.extend(built.settled.into_iter().map(Action::EffectSettled));
        self.actions.extend(built.dead_letters.into_iter().map(|parked| Action::DeadLetter(Box::new(parked))));
        self.actions.extend(built.answers.into_iter().map(|(ticket, answer)| Action::Answer(ticket, Ok(answer))));
        self.actions.extend(built.covers.into_iter().map(|ticket| Action::Covered(ticket, Ok(cursor.position))));
        Ok(())
    }

    pub(super) fn write(&mut self, cut: cache::Cut) -> Result<(), Error> {
        if self.options.breaks(Mutation::TokenIgnored) {
            self.cache.take_token()?;
        }
        self.cache.commit(cut, &self.meta)
    }

    /// Takes the end of the owner's topic. If the topic grew past our last record, another node claimed it; an idle owner learns it only here (E6).
    /// The owner then drops what is not committed and claims the partition anew.
    pub fn take_end(&mut self, end: Position) {
        if self.writer.is_active() && self.in_flight.is_none() && end > self.writer.next_position() && !self.options.breaks(Mutation::EndNotWatched) {
            self.lose(&format!("others wrote to its partition: it ends at {end} instead of {}", self.writer.next_position()));
        }
    }

    /// E6: everything not committed is dropped, and the partition claimed anew.
    fn lose(&mut self, problem: &str) {
        self.give_up(problem);
        self.lost += 1;
        self.writer.release(self.meta.own);
    }

    pub(super) fn give_up(&mut self, problem: &str) {
        self.last_problem = Some(problem.to_owned());
        // Who is not active decided nothing: what it holds was read from the log, and perhaps not written yet.
        let decided = self.writer.is_active() || self.options.breaks(Mutation::FoldedDropped);
        if decided && !self.options.breaks(Mutation::OverlayKept) {
            self.cache.drop_overlay();
        }
        let dropped = [std::mem::take(&mut self.building), self.in_flight.take().map(|(_, built, ..)| built).unwrap_or_default()];
        let (mut tickets, mut covers) = (Vec::new(), Vec::new());
        for built in dropped {
            tickets.extend(built.answers.into_iter().map(|(ticket, _)| ticket));
            covers.extend(built.covers);
        }
        self.drop_questions(covers);
        let redriving = self.redriving.drain(..).map(|job| job.ticket);
        for ticket in tickets.into_iter().chain(redriving).collect::<Vec<_>>() {
            self.actions.push(Action::Answer(ticket, Err(format!("{problem}; it is not known whether it was done, look and ask again"))));
        }
        self.waiting.clear();
        self.shared_waiting = 0;
        self.results.clear();
        self.readers.clear();
        self.joined.clear();
        self.positions = self.meta.inputs.clone();
        self.recorded = self.meta.inputs.clone();
        self.kept.clear();
        self.moved.clear();
        self.moved_inputs = 0;
        self.retry = (0, 0);
        self.claim_position = None;
    }

    pub(super) fn claim(&mut self, moment: Moment) {
        self.counts.claims += 1;
        // A partition that is lost again and again waits longer each time, so that two nodes cannot chase each other at full speed.
        self.claim_at_ms = moment.now_ms + (10u64 << self.lost.min(8));
        let nonce = id::derived("nonce", &format!("{:016x}", self.nonce_seed), &self.own().to_string(), self.counts.claims as u32).to_string();
        let claim = self.writer.claim(self.meta.own, nonce, moment.wall);
        self.actions.push(Action::Claim(self.counts.claims, claim));
    }

    pub(super) fn cut_batch(&mut self) -> Result<(), Error> {
        if self.in_flight.is_some() || self.building.records.is_empty() {
            return Ok(());
        }
        let mut built = std::mem::take(&mut self.building);
        let records = std::mem::take(&mut built.records);
        let mut cut = self.cache.cut()?;
        let inputs = self.recorded.clone();
        built.events = records.len() as u64;
        if self.options.breaks(Mutation::CacheFirst) {
            self.write(cut)?;
            cut = cache::Cut::default();
        }
        if self.options.breaks(Mutation::EffectsFirst) {
            self.actions.extend(std::mem::take(&mut built.effects).into_iter().map(|(id, effect)| Action::StartEffect(id, effect)));
        }
        let (number, append) = self.writer.append(records);
        self.in_flight = Some((number, built, cut, inputs));
        self.actions.push(Action::Append(number, append));
        Ok(())
    }
}
