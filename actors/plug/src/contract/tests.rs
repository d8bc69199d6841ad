//! A plug that keeps its contract passes, and each defect of another is noticed.

use std::sync::Arc;

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tol_events::{Attribute, Event, EventTime, EventView};
use tol_system::system::Description as About;
use tol_system::{AnySystem, Decision, EffectOutcome, Error, Evolution, Failure, Input, InputSpec, OnStop, Projection, Rows, System, erase, projection};

use super::*;
use crate::testing::TestServer;
use crate::{
    Body, Content, Effect, Handler, Kind, MountedProjection, Outcome, Parameter, Platform as _, Plug, Problem, Reply, Request, Route, Runner, Spec, Start,
    StartError, Tables, with_body,
};

const COUNTED: &str = "tally.counted.v1";
const NOTED: &str = "tally.noted.v1";

/// Counts what is noted, has each count fetched once, and counts once more when a minute has passed.
struct Tally;

#[derive(Clone, Default, Serialize, Deserialize)]
struct Count {
    count: u64,
    fetched: u64,
}

impl System for Tally {
    type State = Count;

    fn describe(&self) -> About {
        About {
            name: "tally-system",
            tier: 5,
            code_version: "1",
            state_version: 1,
            about: "Counts what is noted.",
            inputs: vec![InputSpec { topic: "facts.other", types: &["tally."] }],
            emits: &[COUNTED, "tally.fetch_requested.v1", "tally.fetched.v1"],
            depends_on: &[],
            uptime_target: 0.99,
        }
    }

    fn decide(&self, state: &Count, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        match input {
            Input::Event(event) => {
                event.data_as::<serde_json::Map<String, Value>>().map_err(|problem| Error::malformed(&event, problem))?;
                decision.emit(COUNTED, &json!({"count": state.count + 1}));
                decision.emit("tally.fetch_requested.v1", &json!({"url": "x"}));
            }
            Input::Timer { .. } => _ = decision.emit(COUNTED, &json!({"count": state.count + 1})),
            Input::Effect { .. } => _ = decision.emit("tally.fetched.v1", &json!({})),
        }
        Ok(())
    }

    fn evolve(&self, state: &mut Count, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
        match event.event_type() {
            COUNTED => {
                state.count += 1;
                if state.count == 1 {
                    evolution.set_timer("again", event.time().unwrap_or_default().plus_micros(60_000_000));
                }
            }
            "tally.fetch_requested.v1" => evolution.request_effect("fetch", json!({"url": "x"})),
            "tally.fetched.v1" => state.fetched += 1,
            other => return Err(Error::UnknownOwnEvent(other.to_owned())),
        }
        Ok(())
    }

    fn examples(&self) -> Vec<Event> {
        vec![noted("1")]
    }
}

fn noted(id: &str) -> Event {
    let mut event = Event::new(id, "/test", NOTED, "tally/a").at(EventTime::from_secs(1_000));
    event.data = b"{}".to_vec();
    event
}

/// Counts by subject.
struct Counts;

impl Projection for Counts {
    type Row = u64;
    const NAME: &'static str = "tallies";
    const VERSION: u32 = 1;
    const TOPIC: &'static str = "tally-system.events";

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, u64>) -> Result<(), projection::Error> {
        if event.event_type() == COUNTED {
            *rows.get_mut(event.subject())? += 1;
        }
        Ok(())
    }

    fn merge(a: u64, b: u64) -> u64 {
        a + b
    }

    fn value(row: &u64, _: &str) -> Value {
        json!(row)
    }

    fn subject_of(key: &str) -> Option<String> {
        Some(key.to_owned())
    }

    fn examples(&self) -> Vec<Event> {
        let mut event = Event::new("1", "/systems/tally-system", COUNTED, "tally/a");
        event.data = b"{\"count\":1}".to_vec();
        vec![event]
    }
}

/// The same, but the last one that came wins.
struct Unmerged;

impl Projection for Unmerged {
    type Row = String;
    const NAME: &'static str = "last";
    const VERSION: u32 = 1;
    const TOPIC: &'static str = "tally-system.events";

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, String>) -> Result<(), projection::Error> {
        static LAST: std::sync::Mutex<String> = std::sync::Mutex::new(String::new());
        let mut last = LAST.lock().unwrap();
        *rows.get_mut(event.subject())? = last.clone();
        event.subject().clone_into(&mut last);
        Ok(())
    }

    fn merge(a: String, _: String) -> String {
        a
    }

    fn value(row: &String, _: &str) -> Value {
        json!(row)
    }

    fn examples(&self) -> Vec<Event> {
        Counts.examples()
    }
}

#[derive(Serialize, Deserialize, Default)]
struct Settings {
    greeting: String,
}

static KEY: Parameter = Parameter::path("key", "Whose count.", "a");

fn row(request: &Request<()>) -> Outcome {
    let key = format!("tally/{}", request.path("key"));
    match request.platform().row("tallies", &key, None)? {
        Some(row) => Ok(HttpResponse::Ok().json(row.value)),
        None => Err(Problem::new(Kind::ROW_NOT_FOUND, "no such row")),
    }
}

async fn note(request: Request<()>, payload: actix_web::dev::Payload) -> Outcome {
    let body: Value = request.json(payload).await?;
    let published = request.platform().admit(vec![noted(&body.to_string())]).await?;
    Ok(HttpResponse::Ok().json(published.accepted))
}

fn wait_for_the_end(_: &Arc<()>, effect: &Effect<'_>) -> Result<Value, Failure> {
    if effect.wait_cancelled(std::time::Duration::from_secs(60)) { Err(Failure::Cancelled) } else { Ok(Value::Null) }
}

fn fetched() -> Vec<(Value, EffectOutcome)> {
    vec![(json!({"url": "x"}), EffectOutcome::Completed(Value::Null))]
}

const FETCH: Runner<()> = Runner {
    name: "fetch",
    at_once: 1,
    tries: 1,
    limit: std::time::Duration::from_secs(60),
    on_stop: OnStop::Cancel,
    examples: fetched,
    run: wait_for_the_end,
};
const ROW: Spec = Spec {
    parameters: &[&KEY],
    answers: &[Reply::ok("The count.", Content::AnyJson)],
    problems: &[Kind::ROW_NOT_FOUND, Kind::UNKNOWN_PROJECTION],
    ..Spec::get("tally", "/tally/{key}", "tally", "Shows a count")
};
const NOTE: Spec = Spec {
    body: Body::AnyJson("{}"),
    answers: &[Reply::ok("Noted.", Content::AnyJson)],
    problems: &[Kind::INVALID_DATA],
    ..Spec::post("note", "/tally", "tally", "Counts one more")
};

/// A plug of these tables and projections.
macro_rules! plug {
    ($name:ident, $projections:expr, $tables:expr) => {
        struct $name;
        impl Plug for $name {
            const NAME: &'static str = "tally-system";
            const SHORT: &'static str = "tally";
            type Settings = Settings;
            type Serving = ();
            fn serving(_: Settings, _: &Start) -> Result<(), StartError> {
                Ok(())
            }
            fn systems(_: &Settings) -> Vec<Arc<dyn AnySystem>> {
                vec![erase(Tally)]
            }
            fn projections(_: &Arc<()>) -> Vec<MountedProjection> {
                $projections
            }
            fn tables() -> Tables<()> {
                $tables
            }
        }
    };
}

static ROUTES: &[Route<()>] = &[ROW.by(Handler::Immediate(row)), NOTE.by(with_body!(note))];
static RUNNERS: &[Runner<()>] = &[FETCH];

plug!(Good, vec![MountedProjection::of(Counts)], Tables { routes: ROUTES, runners: RUNNERS, ..Tables::EMPTY });

#[test]
fn a_plug_that_keeps_its_contract_passes() {
    let report = check::<Good>().unwrap_or_else(|violations| panic!("{violations}"));
    assert_eq!((report.projections.as_slice(), report.runners, report.answered.as_slice()), (&[("tallies", 3)][..], 1, &["tally", "note"][..]));
    assert!(report.requests > 12 && report.systems[0].effects > 0, "{report:?}");
}

/// The rules that a plug breaks.
fn broken<P: Plug>() -> Vec<(Rule, String)> {
    let violations = check::<P>().expect_err("nothing was noticed");
    violations.0.into_iter().map(|violation| (violation.rule, violation.detail)).collect()
}

#[test]
fn rows_that_do_not_fit_their_plug_are_noticed() {
    static BAD: &[Route<()>] = &[
        Spec { tag: "other", path: "/elsewhere/{key}", ..ROW }.by(Handler::Immediate(|_| Ok(HttpResponse::Ok().finish()))),
        Spec {
            operation: "tally",
            parameters: &[],
            answers: &[Reply::ok("x", Content::Json("Nowhere"))],
            access: crate::Access::Scope(crate::Scope("x:y")),
            ..ROW
        }
        .by(Handler::Immediate(|_| Ok(HttpResponse::Ok().finish()))),
    ];
    plug!(Bad, Vec::new(), Tables { routes: BAD, runners: RUNNERS, scopes: &[(crate::Scope("other:x"), "")], ..Tables::EMPTY });
    let found = broken::<Bad>();
    for (rule, part) in [
        (Rule::Rows, "the tag \"other\""),
        (Rule::Names, "begins with none of the words"),
        (Rule::Names, "the operation \"tally\" stands 2 times"),
        (Rule::Rows, "documents {}"),
        (Rule::Rows, "the component Nowhere"),
        (Rule::Rows, "the scope x:y, which nobody declares"),
        (Rule::Names, "the scope other:x does not begin"),
    ] {
        assert!(found.iter().any(|(of, detail)| *of == rule && detail.contains(part)), "nobody noticed {part}: {found:#?}");
    }
}

#[test]
fn answers_that_no_row_documents_and_panics_are_noticed() {
    static BAD: &[Route<()>] = &[
        ROW.by(Handler::Immediate(|_| Ok(HttpResponse::ImATeapot().finish()))),
        NOTE.by(Handler::Immediate(|_| Ok(HttpResponse::Ok().finish()))),
        Spec { operation: "panics", path: "/tally/panics", parameters: &[], ..ROW }.by(Handler::Immediate(|_| panic!("as it must"))),
    ];
    plug!(Bad, Vec::new(), Tables { routes: BAD, runners: RUNNERS, ..Tables::EMPTY });
    let found = broken::<Bad>();
    for (rule, part) in [
        (Rule::DocumentedAnswers, "answers 418"),
        (Rule::DamagedRequests, "answers 200 to the body \"{\""),
        (Rule::DamagedRequests, "answers 200 to a body over its limit"),
        (Rule::NoPanic, "as it must"),
    ] {
        assert!(found.iter().any(|(of, detail)| *of == rule && detail.contains(part)), "nobody noticed {part}: {found:#?}");
    }
}

#[test]
fn a_projection_that_depends_on_the_order_between_partitions_is_noticed() {
    plug!(Bad, vec![MountedProjection::of(Unmerged)], Tables { runners: RUNNERS, ..Tables::EMPTY });
    let found = broken::<Bad>();
    assert!(
        found.iter().all(|(rule, _)| *rule == Rule::Projections) && found.iter().any(|(_, detail)| detail.contains("order between partitions")),
        "{found:?}"
    );
}

#[test]
fn runners_that_act_during_a_stop_or_are_not_there_are_noticed() {
    static ACTS: &[Runner<()>] = &[Runner { run: |_, _| Ok(Value::Null), ..FETCH }];
    static GIVES_UP: &[Runner<()>] = &[Runner { run: |_, _| Err(Failure::permanent("it is stopped")), ..FETCH }];
    plug!(Acts, Vec::new(), Tables { runners: ACTS, ..Tables::EMPTY });
    plug!(GivesUp, Vec::new(), Tables { runners: GIVES_UP, ..Tables::EMPTY });
    plug!(Missing, Vec::new(), Tables::EMPTY);
    for (found, part) in [
        (broken::<Acts>(), "during an emergency stop"),
        (broken::<GivesUp>(), "gave its effect up"),
        (broken::<Missing>(), "the runner fetch, which is not there"),
    ] {
        assert!(found.iter().any(|(rule, detail)| *rule == Rule::Runners && detail.contains(part)), "nobody noticed {part}: {found:?}");
    }
}

#[test]
fn the_fake_platform_decides_folds_and_answers_as_a_node_does() {
    let server = TestServer::start::<Good>(&json!({})).unwrap();
    let platform = &server.platform;
    let admit = |id: &str| futures_util::FutureExt::now_or_never(platform.admit(vec![noted(id)])).unwrap();
    assert_eq!((admit("1").unwrap().accepted, admit("1").unwrap().duplicates), (1, 1));
    let types = || platform.events().iter().map(|event| event.get(Attribute::Type).to_owned()).collect::<Vec<_>>();
    assert_eq!(types(), [NOTED, COUNTED, "tally.fetch_requested.v1", "tally.fetched.v1"], "the effect ended as the runner's example says");
    assert_eq!(server.get("/tally/a").json(), json!(1));
    assert_eq!(platform.fire_timers(EventTime::from_secs(1_059)), 0);
    assert_eq!((platform.fire_timers(EventTime::from_secs(1_060)), server.get("/tally/a").json()), (1, json!(2)));
    // The same id with other content.
    let mut other = noted("1");
    other.data = b"{\"a\":1}".to_vec();
    let refused = futures_util::FutureExt::now_or_never(platform.admit(vec![other])).unwrap();
    assert_eq!(refused.unwrap_err().kind, Kind::ID_CONFLICT);
    // A stop holds decisions back, and its release makes up for them.
    platform.set_stopped(true);
    admit("2").unwrap();
    assert_eq!((server.get("/tally/a").json(), platform.permit().is_none()), (json!(2), true));
    platform.set_stopped(false);
    assert_eq!(server.get("/tally/a").json(), json!(3));
    let past = crate::platform::Past::AsOf(EventTime::from_secs(1_059));
    assert_eq!(platform.row("tallies", "tally/a", Some(past)).unwrap().unwrap().value, json!(2));
    futures_util::FutureExt::now_or_never(platform.erase("tally/a", "ada", "asked")).unwrap().unwrap();
    server.get("/tally/a").problem("row-not-found");
    assert_eq!(platform.parked(), [""; 0]);
}

#[test]
fn requests_are_let_in_by_scope_and_unknown_parameters_refused() {
    let mut server = TestServer::start::<Good>(&json!({})).unwrap();
    server.get("/tally/a?x=1").problem("invalid-parameter");
    server.set_scopes(Some(&[crate::Scope::READ]));
    server.post_json("/tally", "{}").problem("missing-scope");
    server.set_scopes(Some(&[crate::Scope::ADMIN]));
    assert_eq!(server.post_json("/tally", "{}").status, 200);
    server.get("/elsewhere").problem("not-found");
}
