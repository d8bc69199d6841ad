//! `revenue`: recurring revenue and its movements by month, recognised revenue and refunds, by currency.
//!
//! Folded from what the revenue agent decided. Keys: `YYYY-MM/CUR` for what moved in a month, `current/CUR` for where it stands.
//! A month's customers lie in all partitions, so rows are merged by addition when queried. Currencies are never added up.
//! A restatement takes off what was said and adds what holds, each in its month; a month in which nothing is left has no row.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tol_events::revenue::{
    MrrClass, MrrMoved, MrrRestated, Recognition, RecognitionRestated, Recognized, RefundRestated, RefundState, Refunded, Scheduled, ScheduledKind,
};
use tol_events::{Currency, DomainEvent, Event, EventTime, EventView, Money};
use tol_money_book::shown;
use tol_system::projection::{Error, Projection, Rows, refuse_other_version};

use crate::examples::example;

/// Months of a year: what older events do not say of a year.
const MONTHS: i128 = 12;

/// Sums of one month, or of all months in the row of `current`; minor units. 128 bits hold more amounts of 64 bits than there can be events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revenue {
    /// MRR moved, by class: new, expansion, contraction, churn, reactivation. Signed.
    pub moved: [i128; 5],
    /// By how much a year, from exact prices.
    pub annual: i128,
    /// Recognised from payments and orders.
    pub recognized: i128,
    /// Given back, of what was paid.
    pub refunded: i128,
    /// Given back beyond what was paid.
    pub refunded_unmatched: i128,
    /// In the row of `current` only: what facts of the future will move: MRR, recognised, refunded.
    pub scheduled: [i128; 3],
    /// In the row of `current` only: net movement by month, so that the MRR at each month's end can be shown, and of how many movements.
    pub months: BTreeMap<String, (i128, i64)>,
    /// How many amounts are summed up here. A restatement may leave none.
    pub amounts: i64,
}

/// The projection.
#[derive(Clone, Copy, Debug, Default)]
pub struct RevenueByMonth;

const CLASSES: [&str; 5] = ["new", "expansion", "contraction", "churn", "reactivation"];
/// The event types that the fold reads.
pub(crate) const KNOWN: [&str; 7] =
    [MrrMoved::TYPE, MrrRestated::TYPE, Recognized::TYPE, RecognitionRestated::TYPE, Refunded::TYPE, RefundRestated::TYPE, Scheduled::TYPE];

fn class_index(class: MrrClass) -> usize {
    match class {
        MrrClass::New => 0,
        MrrClass::Expansion => 1,
        MrrClass::Contraction => 2,
        MrrClass::Churn => 3,
        MrrClass::Reactivation => 4,
    }
}

/// Adds an amount, or takes off one that was added.
#[derive(Clone, Copy)]
enum Step {
    Add,
    TakeOff,
}

impl Step {
    fn sign(self) -> i128 {
        match self {
            Step::Add => 1,
            Step::TakeOff => -1,
        }
    }

    /// Both steps of a restatement.
    fn of<T>(was: Option<T>, now: Option<T>) -> impl Iterator<Item = (Step, T)> {
        was.map(|was| (Step::TakeOff, was)).into_iter().chain(now.map(|now| (Step::Add, now)))
    }
}

/// The rows that are being folded.
struct Sums<'a, 'r>(&'a mut Rows<'r, Revenue>);

impl Sums<'_, '_> {
    /// Changes the row of `key`, and removes it where nothing is left.
    fn change(&mut self, key: &str, step: Step, change: impl FnOnce(&mut Revenue, i128)) -> Result<(), Error> {
        let sign = step.sign();
        let row = self.0.get_mut(key)?;
        change(row, sign);
        row.amounts += if sign > 0 { 1 } else { -1 };
        if row.amounts == 0 {
            self.0.remove(key)?;
        }
        Ok(())
    }

    /// Changes the rows of a month and of `current`.
    fn change_both(&mut self, (month, currency): (&str, Currency), step: Step, change: impl Fn(&mut Revenue, i128)) -> Result<(), Error> {
        self.change(&format!("{month}/{currency}"), step, &change)?;
        self.change(&format!("current/{currency}"), step, &change)
    }

    fn movement(&mut self, month: &str, step: Step, (class, amount, annual): (Option<MrrClass>, Money, i128)) -> Result<(), Error> {
        let minor = i128::from(amount.minor);
        let moves = |row: &mut Revenue, sign: i128| {
            if let Some(class) = class {
                row.moved[class_index(class)] += sign * minor;
            }
            row.annual += sign * annual;
        };
        self.change(&format!("{month}/{}", amount.currency), step, moves)?;
        self.change(&format!("current/{}", amount.currency), step, |row, sign| {
            moves(row, sign);
            let (net, movements) = row.months.entry(month.to_owned()).or_default();
            *net += sign * minor;
            *movements += if sign > 0 { 1 } else { -1 };
            if *movements == 0 {
                row.months.remove(month);
            }
        })
    }

    fn recognition(&mut self, step: Step, said: Recognition) -> Result<(), Error> {
        self.change_both((&said.at.month(), said.amount.currency), step, |row, sign| row.recognized += sign * i128::from(said.amount.minor))
    }

    fn refund(&mut self, step: Step, said: RefundState) -> Result<(), Error> {
        self.change_both((&said.at.month(), said.amount.currency), step, |row, sign| {
            row.refunded += sign * i128::from(said.amount.minor);
            row.refunded_unmatched += sign * i128::from(said.unmatched);
        })
    }

    fn scheduled(&mut self, step: Step, kind: ScheduledKind, amount: Money) -> Result<(), Error> {
        let place = match kind {
            ScheduledKind::Mrr => 0,
            ScheduledKind::Order | ScheduledKind::Payment => 1,
            ScheduledKind::Refund => 2,
        };
        self.change(&format!("current/{}", amount.currency), step, |row, sign| row.scheduled[place] += sign * i128::from(amount.minor))
    }
}

impl Revenue {
    /// Net movement of MRR.
    pub fn net(&self) -> i128 {
        self.moved.iter().sum()
    }
}

impl Projection for RevenueByMonth {
    type Row = Revenue;
    const NAME: &'static str = "revenue";
    const VERSION: u32 = 2;
    const ROWS_SINCE: u32 = 2;
    const TOPIC: &'static str = "revenue-agent-system.events";

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, Revenue>) -> Result<(), Error> {
        let at = event.time().or_else(|| event.recorded_time()).unwrap_or_default();
        let mut sums = Sums(rows);
        match event.event_type() {
            MrrMoved::TYPE => {
                let moved: MrrMoved<'_> = event.data_as()?;
                let annual = moved.annual.map_or(i128::from(moved.amount.minor) * MONTHS, i128::from);
                sums.movement(&at.month(), Step::Add, (Some(moved.class), moved.amount, annual))
            }
            MrrRestated::TYPE => {
                let restated: MrrRestated<'_> = event.data_as()?;
                let month = restated.corrects.at.month();
                Step::of(restated.was, restated.now)
                    .try_for_each(|(step, movement)| sums.movement(&month, step, (movement.class, movement.amount, i128::from(movement.annual))))
            }
            Recognized::TYPE => {
                let recognized: Recognized<'_> = event.data_as()?;
                sums.recognition(Step::Add, Recognition { amount: recognized.amount, at })
            }
            RecognitionRestated::TYPE => {
                let restated: RecognitionRestated<'_> = event.data_as()?;
                Step::of(restated.was, restated.now).try_for_each(|(step, said)| sums.recognition(step, said))
            }
            Refunded::TYPE => {
                let refunded: Refunded<'_> = event.data_as()?;
                let unmatched = refunded.unmatched.map_or(0, |unmatched| unmatched.minor);
                sums.refund(Step::Add, RefundState { amount: refunded.amount, unmatched, at })
            }
            RefundRestated::TYPE => {
                let restated: RefundRestated<'_> = event.data_as()?;
                Step::of(restated.was, restated.now).try_for_each(|(step, said)| sums.refund(step, said))
            }
            Scheduled::TYPE => {
                let scheduled: Scheduled<'_> = event.data_as()?;
                Step::of(scheduled.was, scheduled.now).try_for_each(|(step, amount)| sums.scheduled(step, scheduled.kind, amount))
            }
            other => refuse_other_version(other, &KNOWN),
        }
    }

    fn merge(mut a: Revenue, b: Revenue) -> Revenue {
        for (into, from) in a.moved.iter_mut().zip(b.moved).chain(a.scheduled.iter_mut().zip(b.scheduled)) {
            *into += from;
        }
        a.annual += b.annual;
        a.recognized += b.recognized;
        a.refunded += b.refunded;
        a.refunded_unmatched += b.refunded_unmatched;
        a.amounts += b.amounts;
        for (month, (net, movements)) in b.months {
            let sum = a.months.entry(month).or_default();
            sum.0 += net;
            sum.1 += movements;
        }
        a
    }

    fn value(row: &Revenue, key: &str) -> serde_json::Value {
        let (period, currency) = key.split_once('/').unwrap_or((key, ""));
        let money = |minor: i128| shown(minor, currency);
        let moved: serde_json::Map<String, serde_json::Value> =
            CLASSES.iter().zip(row.moved).map(|(class, minor)| ((*class).to_owned(), money(minor))).collect();
        let mut value = json!({
            "currency": currency,
            "net_mrr_movement": money(row.net()),
            "mrr_movements": moved,
            "recognized": money(row.recognized),
            "refunded": money(row.refunded),
            "refunded_unmatched": money(row.refunded_unmatched),
        });
        if period == "current" {
            let mut mrr = 0;
            let months = row.months.iter().map(|(month, (net, _))| {
                mrr += net;
                json!({"month": month, "net": money(*net), "mrr_at_end": money(mrr)})
            });
            value["months"] = months.collect();
            value["mrr"] = money(row.net());
            value["arr"] = money(row.annual);
            let [mrr, recognized, refunded] = row.scheduled;
            value["mrr_scheduled"] = money(mrr);
            value["recognized_scheduled"] = money(recognized);
            value["refunded_scheduled"] = money(refunded);
        } else {
            value["month"] = period.into();
        }
        value
    }

    fn examples(&self) -> Vec<Event> {
        let money = |minor: i64, currency: &str| json!({"minor": minor, "currency": currency});
        let moved = |id: &str, hour: i64, class: &str, amount: i64, after: i64| {
            let data = json!({"subscription_id": "s1", "customer_id": "42", "class": class, "amount": money(amount, "USD"), "mrr_after": money(after, "USD"), "annual": 12 * amount});
            example(MrrMoved::TYPE, id, "customer/42", hour, &data)
        };
        let at = |hour: i64| EventTime::from_secs(1_767_225_600 + hour * 3_600);
        let recognized = json!({"customer_id": "43", "amount": money(900, "EUR"), "source": "order", "reference": "o2", "order_id": "o2"});
        let recognition = json!({"customer_id": "43", "source": "order", "reference": "o3", "now": {"amount": money(800, "EUR"), "at": at(3)}});
        let refunded = json!({"customer_id": "43", "amount": money(177, "EUR"), "reference": "r1"});
        let refund = json!({"customer_id": "43", "reference": "r2", "now": {"amount": money(0, "EUR"), "unmatched": 77, "at": at(3)}});
        let fact = |hour: i64| json!({"id": "f9", "kind": "subscription_changed", "at": at(hour)});
        let movement = json!({"class": "expansion", "amount": money(700, "USD"), "annual": 8_400});
        let restated = json!({"subscription_id": "s1", "customer_id": "42", "corrects": fact(900), "now": movement});
        let scheduled = json!({"customer_id": "42", "kind": "mrr", "reference": "s1", "of": fact(20_000), "now": money(300, "USD")});
        vec![
            moved("e1", 0, "new", 5_000, 5_000),
            moved("e2", 24, "expansion", 1_000, 6_000),
            moved("e3", 800, "contraction", -500, 5_500),
            moved("e4", 1_600, "churn", -5_500, 0),
            moved("e5", 1_700, "reactivation", 3_000, 3_000),
            example(Recognized::TYPE, "e6", "customer/43", 1, &recognized),
            example(Refunded::TYPE, "e7", "customer/43", 2, &refunded),
            example(MrrRestated::TYPE, "e8", "customer/42", 900, &restated),
            example(RecognitionRestated::TYPE, "e9", "customer/43", 3, &recognition),
            example(RefundRestated::TYPE, "e10", "customer/43", 3, &refund),
            example(Scheduled::TYPE, "e11", "customer/42", 1_701, &scheduled),
        ]
    }
}
