//! `revenue`: recurring revenue and its movements by month, recognised revenue and refunds, by currency.
//!
//! Folded from what the revenue agent decided. Keys: `YYYY-MM/CUR` for what moved in a month, `current/CUR` for where it stands.
//! A month's customers lie in all partitions, so rows are merged by addition when queried. Currencies are never added up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tol_events::revenue::{MrrClass, MrrMoved, Recognized, Refunded};
use tol_events::{DomainEvent, Event, EventTime, EventView};
use tol_system::projection::{Error, Projection, Rows, refuse_other_version};

use crate::examples::example;

/// Sums of one month, or of all months in the row of `current`; minor units.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revenue {
    /// MRR moved, by class: new, expansion, contraction, churn, reactivation. Signed.
    pub moved: [i64; 5],
    /// Recognised from payments and orders.
    pub recognized: i64,
    /// Given back.
    pub refunded: i64,
    /// In the row of `current` only: net movement by month, so that the MRR at each month's end can be shown.
    pub months: BTreeMap<String, i64>,
}

/// The projection.
#[derive(Clone, Copy, Debug, Default)]
pub struct RevenueByMonth;

const CLASSES: [&str; 5] = ["new", "expansion", "contraction", "churn", "reactivation"];
/// The event types that the fold reads.
pub(crate) const KNOWN: [&str; 3] = [MrrMoved::TYPE, Recognized::TYPE, Refunded::TYPE];

fn class_index(class: MrrClass) -> usize {
    match class {
        MrrClass::New => 0,
        MrrClass::Expansion => 1,
        MrrClass::Contraction => 2,
        MrrClass::Churn => 3,
        MrrClass::Reactivation => 4,
    }
}

fn add(sum: &mut i64, amount: i64) -> Result<(), Error> {
    *sum = sum.checked_add(amount).ok_or_else(|| Error::TooLarge("a sum of revenue".to_owned()))?;
    Ok(())
}

impl Revenue {
    /// Net movement of MRR. Saturates: each sum was checked when folded.
    pub fn net(&self) -> i64 {
        self.moved.iter().fold(0, |sum, moved| sum.saturating_add(*moved))
    }
}

impl Projection for RevenueByMonth {
    type Row = Revenue;
    const NAME: &'static str = "revenue";
    const VERSION: u32 = 1;
    const ROWS_SINCE: u32 = 1;
    const TOPIC: &'static str = "revenue-agent-system.events";

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, Revenue>) -> Result<(), Error> {
        let month = event.time().or_else(|| event.recorded_time()).map(EventTime::month).unwrap_or_else(|| "unknown".to_owned());
        match event.event_type() {
            MrrMoved::TYPE => {
                let movement: MrrMoved<'_> = event.data_as()?;
                let (currency, amount) = (movement.amount.currency, movement.amount.minor);
                let class = class_index(movement.class);
                add(&mut rows.get_mut(&format!("{month}/{currency}"))?.moved[class], amount)?;
                let current = rows.get_mut(&format!("current/{currency}"))?;
                add(&mut current.moved[class], amount)?;
                add(current.months.entry(month).or_default(), amount)?;
            }
            Recognized::TYPE => {
                let recognized: Recognized<'_> = event.data_as()?;
                let (currency, amount) = (recognized.amount.currency, recognized.amount.minor);
                add(&mut rows.get_mut(&format!("{month}/{currency}"))?.recognized, amount)?;
                add(&mut rows.get_mut(&format!("current/{currency}"))?.recognized, amount)?;
            }
            Refunded::TYPE => {
                let refunded: Refunded<'_> = event.data_as()?;
                let (currency, amount) = (refunded.amount.currency, refunded.amount.minor);
                add(&mut rows.get_mut(&format!("{month}/{currency}"))?.refunded, amount)?;
                add(&mut rows.get_mut(&format!("current/{currency}"))?.refunded, amount)?;
            }
            other => refuse_other_version(other, &KNOWN)?,
        }
        Ok(())
    }

    fn merge(mut a: Revenue, b: Revenue) -> Revenue {
        // Sums of sums that were checked; wrapping keeps the operation free of order.
        for (into, from) in a.moved.iter_mut().zip(b.moved) {
            *into = into.wrapping_add(from);
        }
        a.recognized = a.recognized.wrapping_add(b.recognized);
        a.refunded = a.refunded.wrapping_add(b.refunded);
        for (month, net) in b.months {
            let sum = a.months.entry(month).or_default();
            *sum = sum.wrapping_add(net);
        }
        a
    }

    fn value(row: &Revenue, key: &str) -> serde_json::Value {
        let (period, currency) = key.split_once('/').unwrap_or((key, ""));
        let money = |minor: i64| json!({"minor": minor, "currency": currency});
        let moved: serde_json::Map<String, serde_json::Value> =
            CLASSES.iter().zip(row.moved).map(|(class, minor)| ((*class).to_owned(), money(minor))).collect();
        let mut value = json!({
            "currency": currency,
            "net_mrr_movement": money(row.net()),
            "mrr_movements": moved,
            "recognized": money(row.recognized),
            "refunded": money(row.refunded),
        });
        if period == "current" {
            let mut mrr = 0i64;
            let months = row.months.iter().map(|(month, net)| {
                mrr = mrr.saturating_add(*net);
                json!({"month": month, "net": money(*net), "mrr_at_end": money(mrr)})
            });
            value["months"] = months.collect();
            value["mrr"] = money(row.net());
            value["arr"] = money(row.net().saturating_mul(12));
        } else {
            value["month"] = period.into();
        }
        value
    }

    fn examples(&self) -> Vec<Event> {
        let money = |minor: i64, currency: &str| json!({"minor": minor, "currency": currency});
        let moved = |id: &str, hour: i64, class: &str, amount: i64, after: i64| {
            let data = json!({"subscription_id": "s1", "customer_id": "42", "class": class, "amount": money(amount, "USD"), "mrr_after": money(after, "USD")});
            example(MrrMoved::TYPE, id, "customer/42", hour, &data)
        };
        let recognized = json!({"customer_id": "43", "amount": money(900, "EUR"), "source": "order", "reference": "o2", "order_id": "o2"});
        let refunded = json!({"customer_id": "43", "amount": money(177, "EUR"), "reference": "r1"});
        vec![
            moved("e1", 0, "new", 5_000, 5_000),
            moved("e2", 24, "expansion", 1_000, 6_000),
            moved("e3", 800, "contraction", -500, 5_500),
            moved("e4", 1_600, "churn", -5_500, 0),
            moved("e5", 1_700, "reactivation", 3_000, 3_000),
            example(Recognized::TYPE, "e6", "customer/43", 1, &recognized),
            example(Refunded::TYPE, "e7", "customer/43", 2, &refunded),
        ]
    }
}
