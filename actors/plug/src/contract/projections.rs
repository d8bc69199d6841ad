//! Projections of a plug, from their examples.

use std::collections::BTreeMap;

use tol_events::{Attribute, Event, id};
use tol_system::AnyProjection;
use tol_system::projection::Error;

use super::{Broken, Report, Rule, caught};
use crate::testing::view::{StoredRows, View};
use crate::{Mount, Start};

/// Partitions among which examples are spread.
const PARTITIONS: u32 = 8;

pub(super) fn check(mount: &Mount, report: &mut Report, broken: &mut Broken) {
    let start = Start { data: std::env::temp_dir(), partitions: PARTITIONS, seed: 1 };
    let mounted = match caught(broken, "serving", || (mount.start)(&super::settings::none(), &start)) {
        Some(Ok(mounted)) => mounted,
        Some(Err(error)) => return broken.add(Rule::Starts, error),
        None => return,
    };
    for projection in caught(broken, "projections", || mounted.projections()).unwrap_or_default() {
        one(&projection.projection, report, broken);
    }
    caught(broken, "closing", || mounted.closing());
}

/// Events by partition, in their order.
type Log = BTreeMap<u32, Vec<Event>>;

fn one(projection: &std::sync::Arc<dyn AnyProjection>, report: &mut Report, broken: &mut Broken) {
    let name = projection.name();
    let Some(examples) = caught(broken, name, || projection.examples()) else { return };
    let mut log = Log::new();
    for event in ["", "-b", "-c"].iter().flat_map(|suffix| examples.iter().map(move |example| tol_system::contract::moved_to(example, suffix))) {
        log.entry(id::partition_of(event.get(Attribute::Subject), PARTITIONS)).or_default().push(event);
    }
    let rebuilt = |order: &[u32]| -> Result<View, Error> {
        let mut view = View::new(projection.clone());
        for (partition, event) in order.iter().flat_map(|partition| log[partition].iter().map(move |event| (*partition, event))) {
            view.fold(partition, event)?;
        }
        view.store()?;
        Ok(view)
    };
    let ascending: Vec<u32> = log.keys().copied().collect();
    let descending: Vec<u32> = ascending.iter().rev().copied().collect();
    let folded = caught(broken, name, || {
        let first = rebuilt(&ascending)?;
        let values = first.values()?;
        Ok::<_, Error>((first.rows, values, rebuilt(&descending)?.values()?, live(projection, &log)?))
    });
    match folded {
        None => {}
        Some(Err(error)) => broken.add(Rule::Projections, format!("{name} does not fold its examples: {error}")),
        Some(Ok((rows, values, other_order, live))) => {
            broken.check(Rule::Projections, !values.is_empty(), || format!("the {} examples of {name} make no row", examples.len()));
            broken.check(Rule::Projections, values == other_order, || format!("{name} depends on the order between partitions"));
            broken.check(Rule::Projections, rows == live, || format!("a rebuild of {name} gives other rows than folding event by event through the store"));
            report.projections.push((name, values.len()));
        }
    }
}

/// Folds event by event, turn by turn of partitions, through the store.
fn live(projection: &std::sync::Arc<dyn AnyProjection>, log: &Log) -> Result<StoredRows, Error> {
    let mut view = View::new(projection.clone());
    let longest = log.values().map(Vec::len).max().unwrap_or_default();
    for turn in 0..longest {
        for (partition, events) in log {
            if let Some(event) = events.get(turn) {
                view.fold_stored(*partition, event)?;
            }
        }
    }
    Ok(view.rows)
}
