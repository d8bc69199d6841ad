//! What the plug declares.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tol_enterprise_feature_flag_system::Flags;
use tol_plug::{Access, Body, Content, Scope, mount};

#[test]
fn the_components_that_rows_name_are_there_and_refer_to_nothing_that_is_not() {
    let description = (mount::<Flags>().describe)();
    let components = (description.components)();
    // Those of the platform are in the node's own document.
    let of_the_platform = ["Running", "Reason"];
    let mut named = BTreeSet::new();
    for spec in &description.routes {
        if let Body::Json(name) | Body::OptionalJson(name) = spec.body {
            named.insert(name);
        }
        named.extend(spec.answers.iter().filter_map(|answer| match answer.content {
            Content::Json(name) | Content::List(name) => Some(name),
            _ => None,
        }));
    }
    assert!(named.len() > 10);
    for name in named.into_iter().filter(|name| !of_the_platform.contains(name)) {
        assert!(components[name].is_object(), "{name} is no component");
    }
    let text = components.to_string();
    for reference in text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(components[reference].is_object(), "{reference} is no component");
    }
}

#[test]
fn rows_are_unique_and_begin_with_a_word_of_the_system() {
    let description = (mount::<Flags>().describe)();
    let protocols = description.protocols.iter().flat_map(|protocol| protocol.routes.iter().map(|spec| (protocol.name, spec)));
    let all: Vec<_> = description.routes.iter().map(|spec| ("", spec)).chain(protocols).collect();
    let operations: BTreeSet<&str> = all.iter().map(|(_, spec)| spec.operation).collect();
    let places: BTreeSet<_> = all.iter().map(|(protocol, spec)| (protocol, spec.method, spec.path)).collect();
    assert_eq!((operations.len(), places.len()), (all.len(), all.len()));
    for spec in &description.routes {
        let word = spec.path.split('/').nth(1).unwrap();
        assert!(description.words.contains(&word), "{}", spec.path);
    }
    assert!(all.iter().all(|(_, spec)| spec.access != Access::Open && spec.tag == "flags"));
}

#[test]
fn scopes_of_protocols_tell_rules_from_answers() {
    let description = (mount::<Flags>().describe)();
    let scopes: Vec<(String, &str)> = description
        .protocols
        .iter()
        .flat_map(|protocol| {
            protocol.routes.iter().map(move |spec| (format!("{} {}{}", spec.method, protocol.name, spec.path), spec.access.scope().unwrap().0))
        })
        .collect();
    let of = |scope: &str| scopes.iter().filter(|(_, needed)| *needed == scope).map(|(place, _)| place.as_str()).collect::<Vec<_>>();
    let definitions = [
        "GET unleash/api/client/features",
        "GET unleash/api/client/delta",
        "GET unleash/api/client/streaming",
        "POST unleash/api/client/register",
        "POST unleash/api/client/metrics",
        "GET growthbook/api/features/{*key}",
        "GET growthbook/sub/{*key}",
    ];
    let evaluate = [
        "GET unleash/api/frontend",
        "POST unleash/api/frontend",
        "POST unleash/api/frontend/client/register",
        "POST unleash/api/frontend/client/metrics",
        "POST ofrep/ofrep/v1/evaluate/flags",
        "POST ofrep/ofrep/v1/evaluate/flags/{*key}",
        "POST growthbook/api/eval/{*key}",
    ];
    assert_eq!((of("flags:definitions"), of("flags:evaluate")), (definitions.to_vec(), evaluate.to_vec()));
    let declared: Vec<Scope> = description.scopes.iter().map(|(scope, _)| *scope).collect();
    assert_eq!(declared, [Scope("flags:evaluate"), Scope("flags:definitions")]);
}

#[test]
fn settings_have_defaults_and_refuse_what_they_do_not_know() {
    let mount = mount::<Flags>();
    assert_eq!((mount.settings)(&Value::Null).unwrap(), json!({"max_streams": 10_000}));
    assert_eq!((mount.settings)(&json!({"max_streams": 5})).unwrap(), json!({"max_streams": 5}));
    assert!((mount.settings)(&json!({"max_stream": 5})).is_err());
    let systems = (mount.systems)(&Value::Null).unwrap();
    let names: Vec<&str> = systems.iter().map(|system| system.describe().name).collect();
    assert_eq!(names, ["enterprise-feature-flag-system", "flag-attribution"]);
}
