//! The uptime ledger of one system.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tol_events::EventTime;

const DAY_MICROS: i64 = 86_400_000_000;
/// Days kept one by one: as many as a month can have, so that the window and the calendar month can both be read from them.
const DAYS_KEPT: i64 = 31;
/// The window of the error budget, in days, the present one included.
pub const WINDOW_DAYS: i64 = 30;

/// Whether a system runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing was seen of it yet, which counts as neither up nor down.
    #[default]
    Unknown,
    /// It runs.
    Up,
    /// It failed and waits to be started again.
    Failed,
    /// It failed too often; its circuit is open.
    Degraded,
    /// It stopped and nobody wanted that.
    Stopped,
    /// An operator stopped it.
    StoppedAsPlanned,
}

/// Time spent, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Running.
    pub up: i64,
    /// Not running, and nobody wanted that.
    pub down: i64,
    /// Stopped by an operator; kept apart from the availability.
    pub planned_down: i64,
}

impl Tally {
    fn add(&mut self, phase: Phase, micros: i64) {
        let slot = match phase {
            Phase::Unknown => return,
            Phase::Up => &mut self.up,
            Phase::Failed | Phase::Degraded | Phase::Stopped => &mut self.down,
            Phase::StoppedAsPlanned => &mut self.planned_down,
        };
        *slot = slot.saturating_add(micros);
    }

    fn plus(self, other: Tally) -> Tally {
        Tally {
            up: self.up.saturating_add(other.up),
            down: self.down.saturating_add(other.down),
            planned_down: self.planned_down.saturating_add(other.planned_down),
        }
    }

    /// `up / (up + down)`; `None` when it was neither.
    pub fn availability(&self) -> Option<f64> {
        let counted = self.up.saturating_add(self.down);
        (counted > 0).then(|| self.up as f64 / counted as f64)
    }
}

/// One system's ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The system, as its events name it.
    pub system: String,
    /// Whether it runs.
    pub phase: Phase,
    /// Since when it is in this phase.
    pub phase_since: EventTime,
    /// Up to when time is booked; never goes back.
    pub booked_until: EventTime,
    /// All time booked.
    pub total: Tally,
    /// By day (days since 1970-01-01 UTC), the last 31.
    pub days: BTreeMap<i64, Tally>,
    /// Times it was started.
    pub starts: u64,
    /// Times it was started again after a failure.
    pub restarts: u64,
    /// Times it went from running to down without anybody wanting that.
    pub incidents: u64,
    /// Times it became degraded.
    pub degradations: u64,
    /// Starts of a system that was believed to run: its end was not observed. It is booked as down from when the clock fell silent.
    pub unobserved_stops: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// A ledger as people read it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The system.
    pub system: String,
    /// Whether it runs.
    pub phase: Phase,
    /// Since when.
    pub phase_since: EventTime,
    /// Up to when time is counted.
    pub as_of: EventTime,
    /// The share of the time it is meant to be up.
    pub target: f64,
    /// `up / (up + unplanned down)` of all time.
    pub availability: Option<f64>,
    /// All time.
    pub total: Tally,
    /// The calendar month of `as_of`.
    pub month: Tally,
    /// Its availability.
    pub month_availability: Option<f64>,
    /// The last 30 days, today included.
    pub window: Tally,
    /// Unplanned downtime that the target allows in 30 days, in microseconds.
    pub error_budget: i64,
    /// What of it is left; below zero when it is overspent.
    pub error_budget_left: i64,
    /// Times it was started again after a failure.
    pub restarts: u64,
    /// Times it went from running to down without anybody wanting that.
    pub incidents: u64,
    /// Times it became degraded.
    pub degradations: u64,
    /// Starts of a system that was believed to run.
    pub unobserved_stops: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

fn day_of(time: EventTime) -> i64 {
    time.as_micros().div_euclid(DAY_MICROS)
}

impl Ledger {
    /// Books the time up to `at` to the present phase. An observation that arrives late books nothing.
    pub(crate) fn book(&mut self, at: EventTime) {
        let from = if self.phase == Phase::Unknown { at } else { self.booked_until };
        if at < from {
            return;
        }
        self.total.add(self.phase, at.micros_since(from));
        let first_kept = day_of(at).saturating_sub(DAYS_KEPT - 1);
        self.days.retain(|day, _| *day >= first_kept);
        for day in day_of(from).max(first_kept)..=day_of(at) {
            let begin = EventTime::from_micros(day.saturating_mul(DAY_MICROS)).max(from);
            let end = EventTime::from_micros(day.saturating_add(1).saturating_mul(DAY_MICROS)).min(at);
            if end > begin {
                self.days.entry(day).or_default().add(self.phase, end.micros_since(begin));
            }
        }
        self.booked_until = at;
    }

    /// Books the time so far and goes on in `phase`.
    pub(crate) fn enter(&mut self, phase: Phase, at: EventTime) {
        self.book(at);
        if self.phase != phase {
            self.phase = phase;
            self.phase_since = self.booked_until.max(at);
        }
    }

    /// The ledger at `now`, with the present phase counted up to then; at the last observation if `now` is before it.
    pub fn report(&self, target: f64, now: EventTime) -> Report {
        let mut ledger = self.clone();
        ledger.book(now);
        let today = day_of(ledger.booked_until);
        let sum = |tallies: &mut dyn Iterator<Item = &Tally>| tallies.fold(Tally::default(), |sum, tally| sum.plus(*tally));
        let window = sum(&mut ledger.days.range(today.saturating_sub(WINDOW_DAYS - 1)..=today).map(|(_, tally)| tally));
        let month_name = ledger.booked_until.month();
        let in_month = |day: i64| EventTime::from_micros(day.saturating_mul(DAY_MICROS)).month() == month_name;
        let month = sum(&mut ledger.days.iter().filter(|(day, _)| in_month(**day)).map(|(_, tally)| tally));
        let error_budget = ((1.0 - target) * (WINDOW_DAYS * DAY_MICROS) as f64).round() as i64;
        Report {
            system: ledger.system,
            phase: ledger.phase,
            phase_since: ledger.phase_since,
            as_of: ledger.booked_until,
            target,
            availability: ledger.total.availability(),
            total: ledger.total,
            month,
            month_availability: month.availability(),
            window,
            error_budget,
            error_budget_left: error_budget.saturating_sub(window.down),
            restarts: ledger.restarts,
            incidents: ledger.incidents,
            degradations: ledger.degradations,
            unobserved_stops: ledger.unobserved_stops,
            last_error: ledger.last_error,
        }
    }
}
