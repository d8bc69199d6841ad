//! What the plug declares, beside what its contract checks.

use serde_json::{Value, json};
use tol_enterprise_feature_flag_system::Flags;
use tol_plug::{Scope, mount};

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
