//! Small histories in any order, told twice, corrected, from the future; keys; bounds.

use proptest::prelude::*;
use serde_json::{Value, json};
use tol_events::{Attribute, Event, EventTime};
use tol_system::projection::{NoRows, Projection, erase};

use super::ServiceDeployments;
use super::history::{KEPT, SCHEDULED};

const KEY: &str = "web/production";

/// A minute of 2026-03-02: `minute("10:05")`.
fn minute(text: &str) -> EventTime {
    EventTime::parse(&format!("2026-03-02T{text}:00Z")).unwrap()
}

/// A fact about `web` in production, told at `time`.
fn fact(id: &str, what: &str, time: EventTime, more: Value) -> Event {
    let mut data = json!({"service": "web", "environment": "production"});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Event::new(id, "/ci", format!("delivery.{what}.v1"), "service/web").at(time).with_data(&data).unwrap()
}

fn finished_as(id: &str, deployment: &str, time: &str, outcome: &str) -> Event {
    let at = minute(time);
    fact(id, "deployment_finished", at, json!({"deployment_id": deployment, "version": deployment, "outcome": outcome, "started_at": at, "finished_at": at}))
}

fn finished(deployment: &str, time: &str) -> Event {
    finished_as(&format!("{deployment}-finished"), deployment, time, "succeeded")
}

fn rolled_back(deployment: &str, time: &str) -> Event {
    let at = minute(time);
    fact(&format!("{deployment}-back"), "deployment_rolled_back", at, json!({"deployment_id": deployment, "version": deployment, "rolled_back_at": at}))
}

fn opened(incident: &str, time: &str, cause: Option<&str>) -> Event {
    let at = minute(time);
    let mut data = json!({"incident_id": incident, "opened_at": at});
    if let Some(cause) = cause {
        data["deployment_id"] = cause.into();
    }
    fact(&format!("{incident}-opened"), "incident_opened", at, data)
}

fn resolved(incident: &str, time: &str) -> Event {
    let at = minute(time);
    fact(&format!("{incident}-resolved"), "incident_resolved", at, json!({"incident_id": incident, "resolved_at": at}))
}

/// The row of [`KEY`] as of `now`, or as the digest sees it; each fact recorded as `recorded` says.
fn row_of(events: &[Event], recorded: impl Fn(&Event) -> EventTime, now: Option<EventTime>) -> Value {
    let projection = erase(ServiceDeployments);
    let mut overlay = projection.overlay();
    for event in events {
        let mut event = event.clone();
        let recorded = recorded(&event).to_string();
        event.set(Attribute::RecordedTime, recorded);
        overlay.fold(event.encode().view(), &NoRows).unwrap();
    }
    let mut rows = Vec::new();
    overlay.drain(&mut |key, row| rows.extend(row.filter(|_| key == KEY).map(<[u8]>::to_vec))).unwrap();
    let value = match now {
        Some(now) => projection.value_at(KEY, &rows, now),
        None => projection.value(KEY, &rows),
    };
    value.unwrap().unwrap()
}

/// The row at 23:00, of facts that were recorded at 22:00.
fn row(events: &[Event]) -> Value {
    row_of(events, |_| minute("22:00"), Some(minute("23:00")))
}

/// Checks `expected` fields of the row in both orders of two facts.
fn in_both_orders(facts: [Event; 2], expected: &Value) {
    let [first, second] = facts;
    for order in [[first.clone(), second.clone()], [second, first]] {
        let row = row(&order);
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&row[field], value, "{field} of {row}");
        }
    }
}

#[test]
fn an_incident_that_is_told_before_the_deployment_counts_as_its_failure() {
    in_both_orders([opened("i1", "10:05", None), finished("d1", "10:00")], &json!({"deployments": 1, "change_failures": 1, "change_failure_rate": 1.0}));
    in_both_orders([opened("i1", "12:00", Some("d1")), finished("d1", "10:00")], &json!({"change_failure_rate": 1.0}));
    in_both_orders([opened("i1", "10:31", None), finished("d1", "10:00")], &json!({"change_failure_rate": 0.0}));
}

#[test]
fn a_rollback_that_is_told_before_the_deployment_counts_as_its_failure() {
    in_both_orders(
        [rolled_back("d1", "10:30"), finished("d1", "10:00")],
        &json!({"rolled_back": 1, "change_failure_rate": 1.0, "deployment_recovery_seconds": 1_800}),
    );
}

#[test]
fn a_resolution_that_is_told_before_the_opening_closes_it() {
    let expected = json!({"incidents": 1, "open_incidents": 0, "time_to_restore_seconds": 3_300});
    in_both_orders([resolved("i1", "11:00"), opened("i1", "10:05", None)], &expected);
}

#[test]
fn a_start_that_is_told_after_the_finish_tells_the_lead_time() {
    let started = json!({"deployment_id": "d1", "version": "d1", "started_at": minute("09:55"), "committed_at": minute("08:00")});
    in_both_orders([finished("d1", "10:00"), fact("s1", "deployment_started", minute("09:55"), started)], &json!({"lead_time_seconds": 7_200}));
}

#[test]
fn what_is_told_twice_under_other_event_ids_counts_once() {
    let once = [finished("d1", "10:00"), rolled_back("d1", "10:30"), opened("i1", "10:05", None), resolved("i1", "11:00")];
    let again = once.clone().map(|event| {
        Event::new(format!("import-{}", event.get(Attribute::Id)), "/nightly", event.get(Attribute::Type), "service/web")
            .at(minute("21:00"))
            .with_data(&event.data_as::<Value>().unwrap())
            .unwrap()
    });
    assert_eq!(row(&[once.clone(), again.clone()].concat()), row(&once));
    assert_eq!(row(&[again, once.clone()].concat()), row(&once));
}

#[test]
fn a_correction_replaces_whichever_comes_first() {
    let corrected = |id: &str, outcome: &str, told: &str| {
        let data = json!({"deployment_id": "d1", "version": "d1", "outcome": outcome, "started_at": minute("10:00"), "finished_at": minute("10:00")});
        fact(id, "deployment_finished", minute(told), data)
    };
    in_both_orders([corrected("a", "succeeded", "10:00"), corrected("b", "failed", "10:20")], &json!({"deployments": 1, "succeeded": 0, "failed": 1}));
    in_both_orders([corrected("a", "succeeded", "10:20"), corrected("b", "failed", "10:00")], &json!({"deployments": 1, "succeeded": 1, "failed": 0}));
    // At the same time the event's id decides.
    in_both_orders([corrected("a", "succeeded", "10:00"), corrected("b", "failed", "10:00")], &json!({"deployments": 1, "failed": 1, "version": null}));
}

#[test]
fn failed_deployments_recover_by_rollback_or_the_next_success_and_incidents_tell_it_better() {
    let failed = finished_as("d1-finished", "d1", "10:00", "failed");
    let by_success = row(&[failed.clone(), finished("d2", "10:40"), finished("d3", "11:00")]);
    assert_eq!((&by_success["time_to_restore_seconds"], &by_success["deployment_recovery_seconds"]), (&json!(2_400), &json!(2_400)));
    let by_rollback = row(&[failed.clone(), rolled_back("d1", "10:05"), finished("d2", "10:40")]);
    assert_eq!(by_rollback["time_to_restore_seconds"], 300);
    let by_incident = row(&[failed.clone(), opened("i1", "10:02", Some("d1")), resolved("i1", "10:12"), finished("d2", "10:40")]);
    assert_eq!((&by_incident["time_to_restore_seconds"], &by_incident["deployment_recovery_seconds"]), (&json!(600), &Value::Null));
    assert_eq!(row(&[failed])["time_to_restore_seconds"], Value::Null);
}

#[test]
fn an_incident_that_opens_again_is_open() {
    let again = fact("again", "incident_opened", minute("12:00"), json!({"incident_id": "i1", "opened_at": minute("12:00")}));
    let facts = [opened("i1", "10:00", None), resolved("i1", "11:00"), again];
    assert_eq!((&row(&facts)["incidents"], &row(&facts)["open_incidents"]), (&json!(1), &json!(1)));
}

#[test]
fn the_future_is_shown_apart_until_its_time_comes_without_a_write() {
    let recorded = |_: &Event| minute("09:00");
    let facts = [finished("d0", "08:00"), finished_as("e1", "d1", "12:00", "failed"), opened("i1", "12:10", None), rolled_back("d1", "12:20")];
    let before = row_of(&facts, recorded, Some(minute("11:59")));
    assert_eq!((&before["deployments"], &before["failed"], &before["incidents"], &before["version"]), (&json!(1), &json!(0), &json!(0), &json!("d0")));
    assert_eq!(before["scheduled"], json!({"deployments": 1, "rollbacks": 1, "incidents": 1, "next_at": "2026-03-02T12:00:00Z"}));
    let meanwhile = row_of(&facts, recorded, Some(minute("12:10")));
    assert_eq!((&meanwhile["deployments"], &meanwhile["open_incidents"], &meanwhile["rolled_back"]), (&json!(2), &json!(1), &json!(0)));
    let after = row_of(&facts, recorded, Some(minute("13:00")));
    assert_eq!(after, row_of(&facts, |_| minute("13:00"), Some(minute("13:00"))));
    assert_eq!((&after["rolled_back"], &after["scheduled"]["next_at"]), (&json!(1), &Value::Null));
    // A correction that is still to come replaces nothing yet.
    let corrected = [finished("d1", "08:00"), {
        let data = json!({"deployment_id": "d1", "version": "d1", "outcome": "failed", "started_at": minute("08:00"), "finished_at": minute("08:00")});
        fact("later", "deployment_finished", minute("15:00"), data)
    }];
    assert_eq!(row_of(&corrected, recorded, Some(minute("14:59")))["failed"], 0);
    assert_eq!(row_of(&corrected, recorded, Some(minute("15:00")))["failed"], 1);
}

#[test]
fn the_soonest_of_too_many_scheduled_facts_are_kept_and_the_others_counted() {
    let at = |number: usize| minute("12:00").plus_micros(number as i64 * 60_000_000);
    let facts: Vec<Event> = (0..SCHEDULED + 10)
        .rev()
        .map(|number| {
            let data =
                json!({"deployment_id": number.to_string(), "version": "1", "outcome": "succeeded", "started_at": at(number), "finished_at": at(number)});
            fact(&number.to_string(), "deployment_finished", at(number), data)
        })
        .collect();
    let row = row_of(&facts, |_| minute("09:00"), Some(minute("09:00")));
    assert_eq!((&row["scheduled"]["deployments"], &row["not_counted"]["too_many_scheduled"]), (&json!(SCHEDULED), &json!(10)));
    assert_eq!(row["scheduled"]["next_at"], "2026-03-02T12:00:00Z");
}

#[test]
fn windows_slide_with_the_time_of_the_question() {
    let facts = [finished("d1", "10:00"), finished_as("d2-finished", "d2", "11:00", "failed"), finished("d3", "12:00")];
    let days = |days: i64| row_of(&facts, |_| minute("22:00"), Some(minute("12:00").plus_micros(days * 86_400_000_000)));
    let counts = |row: &Value| ["7d", "30d", "90d", "all"].map(|name| row["windows"][name]["deployments"].as_u64().unwrap());
    assert_eq!(counts(&days(0)), [3, 3, 3, 3]);
    assert_eq!(counts(&days(7)), [0, 3, 3, 3]);
    assert_eq!(counts(&days(30)), [0, 0, 3, 3]);
    assert_eq!(counts(&days(90)), [0, 0, 0, 3]);
    let late = days(30);
    assert_eq!(
        (&late["deployments"], &late["change_failure_rate"], &late["version"], &late["last_deployed_at"]),
        (&json!(0), &Value::Null, &json!("d3"), &json!("2026-03-02T12:00:00Z"))
    );
    let row = days(1);
    let a_moment_later = row_of(&facts, |_| minute("22:00"), Some(minute("12:00").plus_micros(86_400_000_001)));
    assert_eq!(a_moment_later, row, "only what slides out of a window changes a value");
    for (name, days) in [("7d", 7.0), ("30d", 30.0), ("90d", 90.0), ("all", 1.0)] {
        let window = &row["windows"][name];
        assert_eq!(window["deployments_per_day"], json!((2.0_f64 / days * 10_000.0).round() / 10_000.0), "only successful ones, {name}");
        assert_eq!((&window["failed"], &window["change_failure_rate"], &window["complete"]), (&json!(1), &json!(0.3333), &json!(true)), "{name}");
    }
    for (field, value) in row["windows"]["30d"].as_object().unwrap().iter().filter(|(field, _)| *field != "complete") {
        assert_eq!(&row[field], value, "{field}");
    }
}

#[test]
fn keys_of_other_names_do_not_collide_and_plain_ones_stay() {
    let keys = [("web", "production", "web/production"), ("a/b", "c", "a/b/c"), ("a", "b/c", "a/b%2Fc"), ("a", "b%2Fc", "a/b%252Fc"), ("a%2F", "é", "a%2F/é")];
    for (service, environment, key) in keys {
        assert_eq!(super::key_of(service, environment), key);
        assert_eq!(super::parts_of(key), (service, environment.to_owned()));
        assert_eq!(ServiceDeployments::subject_of(key), Some(format!("service/{service}")));
    }
}

#[test]
fn a_row_is_bounded_and_says_what_it_no_longer_counts() {
    let second = |number: usize| minute("00:00").plus_micros(number as i64 * 1_000_000);
    let many = KEPT + 500;
    let long = "x".repeat(100_000);
    let mut facts: Vec<Event> = (0..many)
        .map(|number| {
            let outcome = if number % 10 == 0 { "failed" } else { "succeeded" };
            let data = json!({"deployment_id": format!("{long}{number}"), "version": long, "outcome": outcome, "started_at": second(number), "finished_at": second(number)});
            fact(&format!("{long}{number}"), "deployment_finished", second(number), data)
        })
        .collect();
    facts.extend((0..many).map(|number| {
        let data = json!({"incident_id": number.to_string(), "opened_at": second(number), "deployment_id": format!("{long}{}", number / 5 * 5)});
        fact(&format!("i{number}"), "incident_opened", second(number), data)
    }));
    let bytes = {
        let mut overlay = erase(ServiceDeployments).overlay();
        facts.iter().for_each(|fact| overlay.fold(fact.encode().view(), &NoRows).unwrap());
        let mut bytes = 0;
        overlay.drain(&mut |_, row| bytes += row.unwrap().len()).unwrap();
        bytes
    };
    assert!(bytes < 2 << 20, "{bytes}");
    let row_now = |facts: &[Event]| row_of(facts, |_| minute("22:00"), Some(minute("23:00")));
    let row = row_now(&facts);
    let all = &row["windows"]["all"];
    assert_eq!(
        (&all["deployments"], &all["failed"], &all["incidents"], &all["complete"]),
        (&json!(many), &json!(many.div_ceil(10)), &json!(many), &json!(false))
    );
    let window = &row["windows"]["7d"];
    assert_eq!((&window["deployments"], &window["complete"]), (&json!(KEPT), &json!(false)));
    assert_eq!(row["not_counted"]["too_late"], 0);
    facts.push(finished("one-of-the-night-before", "00:00"));
    let late = row_now(&facts);
    assert_eq!((&late["windows"]["all"]["deployments"], &late["not_counted"]["too_late"]), (&json!(many), &json!(1)));
}

#[test]
fn what_leaves_a_row_left_its_failures_counted() {
    let second = |number: usize| minute("00:00").plus_micros(number as i64 * 3_600_000_000);
    let many = KEPT + 300;
    let mut facts = Vec::new();
    for number in 0..many {
        let id = format!("d{number:05}");
        let data = json!({"deployment_id": id, "version": id, "outcome": "succeeded", "started_at": second(number), "finished_at": second(number)});
        facts.push(fact(&id, "deployment_finished", second(number), data));
        if number % 3 == 0 {
            let opened = second(number).plus_micros(60_000_000);
            facts.push(fact(&format!("i{number:05}"), "incident_opened", opened, json!({"incident_id": id, "opened_at": opened})));
        }
    }
    let now = second(many);
    let row = row_of(&facts, |event| EventTime::parse(event.get(Attribute::Time)).unwrap(), Some(now));
    assert_eq!((&row["windows"]["all"]["deployments"], &row["windows"]["all"]["change_failures"]), (&json!(many), &json!(many.div_ceil(3))));
    assert_eq!(row["windows"]["all"]["incidents"], json!(many.div_ceil(3)));
}

/// A fact of a small history: what, of which deployment or incident, at which minute.
type Small = (u8, u8, u8);

fn small(number: usize, (kind, id, at): Small) -> Event {
    let time = minute("10:00").plus_micros(i64::from(at) * 60_000_000);
    let (deployment, event) = (format!("d{}", id % 3), format!("e{number}"));
    match kind % 8 {
        0 | 1 => {
            let outcome = if kind % 8 == 0 { "failed" } else { "succeeded" };
            let data = json!({"deployment_id": deployment, "version": event, "outcome": outcome, "started_at": time, "finished_at": time});
            fact(&event, "deployment_finished", time, data)
        }
        2 => fact(
            &event,
            "deployment_started",
            time,
            json!({"deployment_id": deployment, "version": "1", "started_at": time, "committed_at": time.plus_micros(-1_000_000)}),
        ),
        3 => fact(&event, "deployment_rolled_back", time, json!({"deployment_id": deployment, "version": "1", "rolled_back_at": time})),
        4 => fact(&event, "incident_opened", time, json!({"incident_id": format!("i{}", id % 2), "opened_at": time})),
        5 => fact(&event, "incident_opened", time, json!({"incident_id": format!("i{}", id % 2), "opened_at": time, "deployment_id": deployment})),
        _ => fact(&event, "incident_resolved", time, json!({"incident_id": format!("i{}", id % 2), "resolved_at": time})),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_order_of_a_small_history_shows_the_same(facts in proptest::collection::vec((0u8..8, 0u8..6, 0u8..90), 1..6), recorded in 0u8..100, now in 0u8..100) {
        let facts: Vec<Event> = facts.iter().enumerate().map(|(number, fact)| small(number, *fact)).collect();
        let at = |minutes: u8| minute("10:00").plus_micros(i64::from(minutes) * 60_000_000);
        // Asked after all was recorded, as every question about the present is.
        let now = at(now.max(recorded));
        let (expected, digested) = (row_of(&facts, |_| at(recorded), Some(now)), row_of(&facts, |_| at(recorded), None));
        let mut order: Vec<usize> = (0..facts.len()).collect();
        let mut orders = 0;
        permute(&mut order, 0, &mut |order| {
            orders += 1;
            let arrived: Vec<Event> = order.iter().map(|place| facts[*place].clone()).collect();
            assert_eq!(row_of(&arrived, |_| at(recorded), Some(now)), expected);
            assert_eq!(row_of(&arrived, |_| at(recorded), None), digested);
        });
        prop_assert_eq!(orders, (1..=facts.len()).product::<usize>());
    }
}

fn permute(order: &mut [usize], from: usize, visit: &mut impl FnMut(&[usize])) {
    if from == order.len() {
        return visit(order);
    }
    for place in from..order.len() {
        order.swap(from, place);
        permute(order, from + 1, visit);
        order.swap(from, place);
    }
}
