//! 1,900 deployments as they really come, against a recount in the order of time.
//!
//! Facts arrive up to three hours late, some twice under another event id and source, some corrected. The recount knows neither rows nor tellings:
//! it sorts what was told by time, lets the later replace the earlier, and searches lists.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use tol_events::{Attribute, Event, EventTime};

use super::ServiceDeployments;
use crate::testing::{Owned, settle, store};
use crate::{EngineOptions, ProjectionEngine, RebuildState};

const TOPIC: &str = "facts.service";
const MINUTE: i64 = 60_000_000;
const DAY: i64 = 1_440 * MINUTE;
const BEGIN: i64 = 1_767_225_600_000_000; // 2026-01-01T00:00:00Z
/// Days over which the deployments lie.
const DAYS: i64 = 120;

fn now() -> EventTime {
    EventTime::from_micros(BEGIN + DAYS * DAY)
}

/// SplitMix64.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as i64
    }

    fn chance(&mut self, percent: i64) -> bool {
        self.below(100) < percent
    }
}

/// A fact, by name and time, of a service and environment.
#[derive(Clone)]
struct Told {
    id: String,
    time: i64,
    what: &'static str,
    place: (String, String),
    data: Value,
}

/// What happened to `count` deployments of `places`.
fn happened(draw: &mut Draw, count: usize, places: i64) -> Vec<Told> {
    let text = |micros: i64| EventTime::from_micros(micros).to_string();
    let mut told: Vec<Told> = Vec::new();
    for number in 0..count {
        let place = draw.below(places);
        let place = (format!("s{}", place / 2), if place % 2 == 0 { "production" } else { "staging" }.to_owned());
        // The last end a day before now, so that what follows them is past, too.
        let started = BEGIN + draw.below((DAYS - 2) * 1_440) * MINUTE + draw.below(1_000) * 1_000;
        let finished = started + draw.below(20) * MINUTE;
        let deployment = format!("d{number}");
        let common = json!({"deployment_id": deployment, "version": format!("v{number}"), "started_at": text(started)});
        let mut add = |suffix: &str, what: &'static str, time: i64, more: Value| {
            let mut data = json!({"service": place.0, "environment": place.1});
            data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            told.push(Told { id: format!("{deployment}-{suffix}"), time, what, place: place.clone(), data });
        };
        let with = |more: Value| {
            let mut data = common.clone();
            data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            data
        };
        let committed = draw.chance(70).then(|| text(started - draw.below(3_000) * MINUTE));
        if draw.chance(80) {
            let more = committed.as_ref().filter(|_| draw.chance(80)).map_or(json!({}), |at| json!({"committed_at": at}));
            add("started", "deployment_started", started, with(more));
        }
        if draw.chance(97) {
            let outcome = if draw.chance(12) { "failed" } else { "succeeded" };
            let mut more = json!({"outcome": outcome, "finished_at": text(finished)});
            if let Some(at) = committed.as_ref().filter(|_| draw.chance(50)) {
                more["committed_at"] = at.as_str().into();
            }
            add("finished", "deployment_finished", finished, with(more));
            if draw.chance(4) {
                let corrected = json!({"outcome": if draw.chance(70) { "failed" } else { "succeeded" }, "finished_at": text(finished)});
                add("corrected", "deployment_finished", finished + (1 + draw.below(60)) * MINUTE, with(corrected));
            }
        }
        if draw.chance(8) {
            let back = finished + draw.below(90) * MINUTE;
            add("back", "deployment_rolled_back", back, json!({"deployment_id": deployment, "version": "v", "rolled_back_at": text(back)}));
        }
        if draw.chance(15) {
            let opened = finished + (draw.below(50) - 5) * MINUTE;
            let mut more = json!({"incident_id": format!("i{number}"), "opened_at": text(opened)});
            if draw.chance(30) {
                more["deployment_id"] = deployment.as_str().into();
            }
            add("opened", "incident_opened", opened, more);
            if draw.chance(85) {
                let resolved = opened + draw.below(200) * MINUTE;
                add("resolved", "incident_resolved", resolved, json!({"incident_id": format!("i{number}"), "resolved_at": text(resolved)}));
            }
        }
    }
    told
}

/// The facts in the order in which they arrive, with the time at which they are recorded: up to three hours late, some twice.
fn arrived(draw: &mut Draw, told: &[Told]) -> Vec<Event> {
    let mut arriving: Vec<(i64, String, Event)> = Vec::new();
    for fact in told {
        let mut send = |id: String, source: &str, draw: &mut Draw| {
            let recorded = fact.time + draw.below(180 * MINUTE);
            let event = Event::new(&id, source, format!("delivery.{}.v1", fact.what), format!("service/{}", fact.place.0));
            let mut event = event.at(EventTime::from_micros(fact.time)).with_data(&fact.data).unwrap();
            event.set(Attribute::RecordedTime, EventTime::from_micros(recorded).to_string());
            arriving.push((recorded, id, event));
        };
        send(fact.id.clone(), "/webhook", draw);
        if draw.chance(60) {
            send(format!("{}-again", fact.id), "/nightly", draw);
        }
    }
    arriving.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    arriving.into_iter().map(|(_, _, event)| event).collect()
}

fn micros(value: &Value) -> Option<i64> {
    value.as_str().map(|text| EventTime::parse(text).unwrap().as_micros())
}

/// A deployment as the recount knows it.
#[derive(Default)]
struct Known {
    finished: Option<(i64, usize, bool, String)>,
    committed: Option<i64>,
    back: Option<i64>,
}

/// An incident as the recount knows it: when it opened, the deployment that is named, when it was resolved.
type KnownIncident = (Option<i64>, Option<String>, Option<i64>);

fn median(mut values: Vec<i64>) -> Value {
    values.sort_unstable();
    let half = values.len() / 2;
    match values.len() {
        0 => Value::Null,
        odd if odd % 2 == 1 => json!(values[half].div_euclid(1_000_000)),
        _ => json!(((i128::from(values[half - 1]) + i128::from(values[half])).div_euclid(2) as i64).div_euclid(1_000_000)),
    }
}

fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// The row of one place as of `now`, from its facts in the order of time.
fn recount(place: &(String, String), told: &[Told], now: i64) -> Value {
    let mut own: Vec<&Told> = told.iter().filter(|fact| fact.place == *place).collect();
    own.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
    let mut deployments: BTreeMap<String, Known> = BTreeMap::new();
    let mut incidents: BTreeMap<String, KnownIncident> = BTreeMap::new();
    for (order, fact) in own.iter().enumerate() {
        let name = |field: &str| fact.data[field].as_str().unwrap_or_default().to_owned();
        if fact.what.starts_with("deployment") {
            let known = deployments.entry(name("deployment_id")).or_default();
            known.committed = micros(&fact.data["committed_at"]).or(known.committed);
            match fact.what {
                "deployment_finished" => {
                    known.finished = Some((micros(&fact.data["finished_at"]).unwrap(), order, name("outcome") == "failed", name("version")))
                }
                "deployment_rolled_back" => known.back = micros(&fact.data["rolled_back_at"]),
                _ => {}
            }
        } else {
            let known = incidents.entry(name("incident_id")).or_default();
            match fact.what {
                "incident_opened" => *known = (micros(&fact.data["opened_at"]), fact.data["deployment_id"].as_str().map(str::to_owned), known.2),
                _ => known.2 = micros(&fact.data["resolved_at"]),
            }
        }
    }
    let mut done: Vec<(i64, usize, &str, &Known)> =
        deployments.iter().filter_map(|(id, known)| known.finished.as_ref().map(|finished| (finished.0, finished.1, id.as_str(), known))).collect();
    done.sort_by_key(|entry| (entry.0, entry.1));
    let laid_to = |opened: i64, cause: &Option<String>| -> Option<&str> {
        match cause {
            Some(cause) => done.iter().find(|entry| entry.2 == cause).map(|entry| entry.2),
            None => done.iter().rev().find(|entry| entry.0 <= opened).filter(|entry| opened - entry.0 <= 30 * MINUTE).map(|entry| entry.2),
        }
    };
    let blamed: Vec<&str> = incidents.values().filter_map(|(opened, cause, _)| laid_to((*opened)?, cause)).collect();
    let failed = |known: &Known| known.finished.as_ref().is_some_and(|finished| finished.2);
    let window = |from: Option<i64>, days: f64| {
        let within = |at: i64| from.is_none_or(|from| at > from) && at <= now;
        let ended: Vec<&(i64, usize, &str, &Known)> = done.iter().filter(|entry| within(entry.0)).collect();
        let bad = ended.iter().filter(|entry| failed(entry.3) || entry.3.back.is_some() || blamed.contains(&entry.2)).count();
        let good = ended.iter().filter(|entry| !failed(entry.3)).count();
        let lead: Vec<i64> = ended.iter().filter(|entry| !failed(entry.3)).filter_map(|entry| Some((entry.0 - entry.3.committed?).max(0))).collect();
        let open: Vec<&KnownIncident> = incidents.values().filter(|incident| incident.0.is_some_and(within)).collect();
        let restored: Vec<i64> = open.iter().filter_map(|incident| Some((incident.2? - incident.0?).max(0))).collect();
        let mended: Vec<i64> = ended
            .iter()
            .filter(|entry| !blamed.contains(&entry.2))
            .filter_map(|entry| {
                let next = done.iter().find(|other| (other.0, other.1) > (entry.0, entry.1) && !failed(other.3)).map(|other| other.0);
                let mended = if failed(entry.3) { [entry.3.back, next].into_iter().flatten().min() } else { entry.3.back };
                Some((mended? - entry.0).max(0))
            })
            .collect();
        json!({
            "complete": true,
            "deployments": ended.len(), "succeeded": good, "failed": ended.len() - good,
            "rolled_back": deployments.values().filter(|known| known.back.is_some_and(within)).count(),
            "incidents": open.len(), "change_failures": bad,
            "deployments_per_day": rounded(good as f64 / days),
            "lead_time_seconds": median(lead),
            "change_failure_rate": if ended.is_empty() { Value::Null } else { json!(rounded(bad as f64 / ended.len() as f64)) },
            "time_to_restore_seconds": median([restored.clone(), mended.clone()].concat()),
            "incident_restore_seconds": median(restored),
            "deployment_recovery_seconds": median(mended),
        })
    };
    let span = done.first().zip(done.last()).map_or(0.0, |(first, last)| (last.0 - first.0) as f64 / DAY as f64);
    let windows = json!({
        "7d": window(Some(now - 7 * DAY), 7.0), "30d": window(Some(now - 30 * DAY), 30.0), "90d": window(Some(now - 90 * DAY), 90.0), "all": window(None, span.max(1.0)),
    });
    let mut row = windows["30d"].clone();
    row.as_object_mut().unwrap().remove("complete");
    row["service"] = place.0.as_str().into();
    row["environment"] = place.1.as_str().into();
    row["open_incidents"] = incidents.values().filter(|incident| incident.0.is_some() && incident.2.is_none()).count().into();
    row["version"] = done.iter().rev().find(|entry| !failed(entry.3)).and_then(|entry| entry.3.finished.as_ref()).map(|finished| finished.3.clone()).into();
    row["last_deployed_at"] = done.last().map(|entry| EventTime::from_micros(entry.0).to_string()).into();
    row["scheduled"] = json!({"deployments": 0, "rollbacks": 0, "incidents": 0, "next_at": null});
    row["not_counted"] = json!({"too_late": 0, "too_many_scheduled": 0});
    row["windows"] = windows;
    row
}

/// Checks every row of the engine against the recount.
fn check(engine: &ProjectionEngine, told: &[Told], when: &str) {
    let rows: BTreeMap<String, Value> = engine.list("deployments", 1_000, None).unwrap().items.into_iter().map(|item| (item.key, item.value)).collect();
    let places: std::collections::BTreeSet<&(String, String)> = told.iter().map(|fact| &fact.place).collect();
    assert_eq!(rows.len(), places.len());
    for place in places {
        let (found, expected) = (&rows[&format!("{}/{}", place.0, place.1)], recount(place, told, now().as_micros()));
        for (field, value) in expected.as_object().unwrap() {
            if field == "windows" {
                for (name, window) in value.as_object().unwrap() {
                    for (field, value) in window.as_object().unwrap() {
                        assert_eq!(&found["windows"][name][field], value, "{field} of {name} of {place:?}, {when}");
                    }
                }
            }
            assert_eq!(&found[field], value, "{field} of {place:?}, {when}");
        }
        assert_eq!(found.as_object().unwrap().len(), expected.as_object().unwrap().len(), "a field of {place:?} is not counted again");
    }
}

fn late_and_told_twice_equals_the_recount(seed: u64, places: i64, partitions: u32) {
    let mut draw = Draw(seed);
    let told = happened(&mut draw, 1_900, places);
    let events = arrived(&mut draw, &told);
    let mut owned = Owned::new(&[TOPIC], partitions);
    let folder = tempfile::tempdir().unwrap();
    let options = EngineOptions { read_bytes: 20_000, now, ..EngineOptions::default() };
    let mut engine = ProjectionEngine::new(Arc::new(owned.log.clone()), store(folder.path()), options).unwrap();
    engine.register(ServiceDeployments);
    for part in events.chunks(1_000) {
        owned.write(TOPIC, part, 100);
        settle(&engine);
    }
    check(&engine, &told, "live");
    let digest = engine.digest("deployments").unwrap().digest;
    engine.rebuild("deployments").unwrap();
    settle(&engine);
    assert_eq!(engine.rebuild_status("deployments").unwrap().state, RebuildState::Done);
    check(&engine, &told, "rebuilt");
    assert_eq!(engine.digest("deployments").unwrap().digest, digest);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3, ..ProptestConfig::default() })]

    #[test]
    fn deployments_up_to_three_hours_late_and_told_twice_equal_a_recount(seed in any::<u64>(), places in 1i64..17, partitions in 1u32..5) {
        late_and_told_twice_equals_the_recount(seed, places, partitions);
    }
}

#[test]
fn all_deployments_of_one_service_equal_a_recount() {
    late_and_told_twice_equals_the_recount(1, 1, 1);
}

#[test]
fn what_a_row_no_longer_keeps_left_its_counts_and_nothing_else_changed() {
    let mut draw = Draw(7);
    let told = happened(&mut draw, 6_000, 1);
    let mut owned = Owned::new(&[TOPIC], 1);
    owned.write(TOPIC, &arrived(&mut draw, &told), 500);
    let folder = tempfile::tempdir().unwrap();
    let mut engine = ProjectionEngine::new(Arc::new(owned.log.clone()), store(folder.path()), EngineOptions { now, ..EngineOptions::default() }).unwrap();
    engine.register(ServiceDeployments);
    settle(&engine);
    let (found, expected) = (engine.get("deployments", "s0/production").unwrap().unwrap(), recount(&told[0].place, &told, now().as_micros()));
    for name in ["7d", "30d"] {
        assert_eq!(found["windows"][name], expected["windows"][name], "{name}");
    }
    for field in ["deployments", "succeeded", "failed", "rolled_back", "incidents", "change_failures", "deployments_per_day", "change_failure_rate"] {
        assert_eq!(found["windows"]["all"][field], expected["windows"]["all"][field], "{field}");
    }
    assert_eq!((&found["windows"]["90d"]["complete"], &found["windows"]["all"]["complete"]), (&json!(false), &json!(false)));
    assert_eq!((&found["version"], &found["not_counted"]["too_late"]), (&expected["version"], &json!(0)));
}
