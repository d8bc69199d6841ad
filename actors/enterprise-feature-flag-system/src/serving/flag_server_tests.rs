use super::*;

fn row(key: &str, version: u64) -> (String, Option<FlagRow>) {
    let definition = serde_json::json!({"key": key, "type": "boolean", "family": "flagd", "environments": {"production": {"enabled": true}}});
    (format!("flag/{key}"), Some(FlagRow { version, definition: Some(definition.to_string()), ..FlagRow::default() }))
}

fn followed(anew: bool, rows: ChangedRows<FlagRow>, caught_up: bool) -> Followed<FlagRow> {
    Followed { anew, rows, caught_up, last_known: false }
}

fn last_known(rows: ChangedRows<FlagRow>) -> Followed<FlagRow> {
    Followed { anew: true, rows, caught_up: false, last_known: true }
}

fn keys(server: &FlagServer) -> Vec<String> {
    server.current().sorted().into_iter().map(|(key, served)| format!("{key}@{}", served.version)).collect()
}

#[test]
fn what_was_known_is_served_until_the_fold_has_caught_up() {
    let server = FlagServer::default();
    server.take(last_known(vec![row("a", 1), row("b", 1)]));
    assert_eq!((keys(&server), server.has_caught_up()), (vec!["a@1".to_owned(), "b@1".to_owned()], false));
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = told.clone();
    server.listen(Box::new(move |_, changed| listener.lock().unwrap().push(changed.clone())));
    // A cache that begins anew has nothing yet: no flag goes missing over it.
    server.take(followed(true, Vec::new(), false));
    server.take(followed(false, vec![row("a", 1)], false));
    assert_eq!(keys(&server), ["a@1", "b@1"]);
    server.take(followed(false, vec![row("c", 4)], true));
    assert_eq!((keys(&server), server.has_caught_up()), (vec!["a@1".to_owned(), "c@4".to_owned()], true));
    // Only what differs is told.
    let changed = Changed::Some { flags: ["b", "c"].map(str::to_owned).into(), shared: Default::default() };
    assert_eq!(told.lock().unwrap().last(), Some(&changed));
    // Rows of the last run that come late are older than what is served.
    server.take(last_known(vec![row("b", 1)]));
    assert_eq!(keys(&server), ["a@1", "c@4"]);
}

#[test]
fn listeners_are_told_of_each_change_before_it_shows() {
    let server = Arc::new(FlagServer::default());
    server.take(followed(true, vec![row("a", 1)], true));
    let told = Arc::new(Mutex::new(Vec::new()));
    let (listener, shown) = (told.clone(), Arc::downgrade(&server));
    server.listen(Box::new(move |set, changed| {
        if let (Some(server), Changed::Some { .. }) = (shown.upgrade(), changed) {
            assert!(server.current().revision() < set.revision());
        }
        listener.lock().unwrap().push((set.revision(), changed.clone()));
    }));
    let of = |key: &str| Changed::Some { flags: [key.to_owned()].into(), shared: Default::default() };
    server.take(followed(false, vec![row("b", 1)], true));
    server.take(followed(false, vec![row("a", 2)], true));
    // It begins with what there is.
    assert_eq!(*told.lock().unwrap(), [(1, Changed::Everything), (2, of("b")), (3, of("a"))]);
    server.close();
    server.take(followed(false, vec![row("a", 3)], true));
    assert_eq!((told.lock().unwrap().len(), keys(&server)), (3, vec!["a@3".to_owned(), "b@1".to_owned()]));
}

#[test]
fn a_flag_in_no_environment_is_gone_and_one_that_does_not_read_stays() {
    let server = FlagServer::default();
    server.take(followed(true, vec![row("a", 1), row("b", 1)], true));
    let nowhere = serde_json::json!({"key": "a", "type": "boolean", "family": "flagd"}).to_string();
    let broken = FlagRow { version: 2, definition: Some("{".into()), ..FlagRow::default() };
    let archived = FlagRow { version: 2, definition: Some(nowhere), ..FlagRow::default() };
    server.take(followed(false, vec![("flag/a".into(), Some(archived)), ("flag/b".into(), Some(broken))], true));
    assert_eq!(keys(&server), ["b@1"]);
}

#[test]
fn a_refused_request_about_an_unknown_flag_makes_no_flag() {
    let server = FlagServer::default();
    server.take(followed(true, vec![("flag/a".into(), Some(FlagRow::default()))], true));
    assert!(server.current().is_empty());
}

#[test]
fn what_is_compiled_already_answers_as_what_is_compiled_for_a_question() {
    use crate::evaluation::Format;
    use crate::serving::Serving;
    use crate::serving::evaluate::{Question, evaluate};
    let definition = |key: &str, family: &str, rules: serde_json::Value| {
        let variants = serde_json::json!({"a": "A", "b": "B"});
        let split = serde_json::json!({"of": 1000, "parts": [{"variant": "a", "weight": 500}, {"variant": "b", "weight": 500}]});
        let environment = serde_json::json!({"enabled": true, "rules": rules, "on": split});
        let json = serde_json::json!({"key": key, "type": "string", "family": family, "variants": variants, "environments": {"production": environment}});
        (format!("flag/{key}"), Some(FlagRow { version: 1, definition: Some(json.to_string()), ..FlagRow::default() }))
    };
    let pro = serde_json::json!([{"kind": "targeted", "constraints": [{"attribute": "plan", "operator": "in", "values": ["pro"]}], "serve": {"serve": "on"}}]);
    let all = serde_json::json!([{"kind": "targeted", "serve": {"serve": "on"}}]);
    let mixed = vec![definition("u", "unleash", pro.clone()), definition("all", "unleash", all), definition("g", "growthbook", pro), row("f", 1)];
    for rows in [mixed, vec![row("f", 1)]] {
        let server = FlagServer::default();
        server.take(followed(true, rows, true));
        let (set, asked) = (server.current(), ["f".to_owned(), "u".to_owned(), "unknown".to_owned()]);
        let serving = Serving::of(&set);
        for format in [Format::Unleash, Format::GrowthBook, Format::Flagd] {
            for context in [r#"{"userId": "7", "id": "7", "targetingKey": "7"}"#, r#"{"userId": "7", "id": "7", "targetingKey": "7", "plan": "pro"}"#] {
                for flags in [None, Some(asked.as_slice())] {
                    let question = Question { format, environment: "production", context, flags, now: chrono::DateTime::UNIX_EPOCH, seed: 1 };
                    let (compiled, anew) = (evaluate(&set, Some(&serving), &question).unwrap(), evaluate(&set, None, &question).unwrap());
                    assert_eq!(compiled, anew, "{format:?} {context}");
                    assert!(compiled.len() > usize::from(flags.is_some()), "{compiled:?}");
                }
            }
        }
        assert!(
            evaluate(
                &set,
                Some(&serving),
                &Question { format: Format::Unleash, environment: "production", context: "[]", flags: None, now: chrono::DateTime::UNIX_EPOCH, seed: 1 }
            )
            .is_err()
        );
    }
}

#[test]
fn flags_that_had_an_experiment_are_known_from_the_first_row_that_says_so() {
    let server = FlagServer::default();
    let with = |key: &str| {
        let experiments = [("e-1".to_owned(), crate::projections::flags::Experiment::default())].into();
        (format!("flag/{key}"), Some(FlagRow { experiments, ..FlagRow::default() }))
    };
    let known = || server.with_experiments().iter().cloned().collect::<Vec<_>>();
    server.take(last_known(vec![row("a", 1), with("b")]));
    assert_eq!(known(), ["b"]);
    // While rows are folded anew, those of before are shown.
    server.take(followed(true, vec![row("c", 1), with("d")], false));
    assert_eq!(known(), ["b", "d"]);
    server.take(followed(false, vec![with("a"), row("e", 1)], true));
    assert_eq!(known(), ["a", "b", "d"]);
}
