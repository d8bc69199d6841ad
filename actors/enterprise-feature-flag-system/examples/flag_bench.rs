//! Evaluations a second on one core: a gradual rollout with two constraints, here and in Unleash's own engine.
//!
//! `cargo run --release -p tol-enterprise-feature-flag-system --example flag_bench`

use std::hint::black_box;
use std::time::{Duration, Instant};

use tol_enterprise_feature_flag_system::evaluation::random::Random;
use tol_enterprise_feature_flag_system::evaluation::value::Value;
use tol_enterprise_feature_flag_system::evaluation::{flagd, growthbook, unleash};

const UNLEASH: &str = r#"{"version": 2, "features": [{"name": "f", "enabled": true, "strategies": [
    {"name": "flexibleRollout", "parameters": {"rollout": "50", "stickiness": "userId", "groupId": "f"}, "constraints": [
        {"contextName": "plan", "operator": "IN", "values": ["pro", "team", "enterprise"]},
        {"contextName": "seats", "operator": "NUM_GTE", "value": "5"}]}]}]}"#;
const GROWTHBOOK: &str = r#"{"f": {"defaultValue": false, "rules": [
    {"force": true, "coverage": 0.5, "hashVersion": 2, "condition": {"plan": {"$in": ["pro", "team", "enterprise"]}, "seats": {"$gte": 5}}}]}}"#;
const FLAGD: &str = r#"{"flags": {"f": {"state": "ENABLED", "defaultVariant": "off", "variants": {"on": true, "off": false}, "targeting":
    {"if": [{"and": [{"in": [{"var": "plan"}, ["pro", "team", "enterprise"]]}, {">=": [{"var": "seats"}, 5]}]}, {"fractional": [["on", 50], ["off", 50]]}]}}}}"#;

/// How many people are asked about in turn.
const PEOPLE: usize = 1024;

/// The best of five runs of half a second, as evaluations a second and the share that was on.
fn measure(name: &str, mut evaluate: impl FnMut(usize) -> bool) {
    let mut best = (0.0_f64, 0.0_f64);
    for _ in 0..5 {
        let (started, mut count, mut on) = (Instant::now(), 0_u64, 0_u64);
        while started.elapsed() < Duration::from_millis(500) {
            for person in 0..PEOPLE {
                on += u64::from(evaluate(person));
            }
            count += PEOPLE as u64;
        }
        #[allow(clippy::cast_precision_loss)]
        let rate = count as f64 / started.elapsed().as_secs_f64();
        #[allow(clippy::cast_precision_loss)]
        if rate > best.0 {
            best = (rate, on as f64 / count as f64);
        }
    }
    println!("{name:44} {:8.2} million/s  {:6.1} ns  on {:.3}", best.0 / 1e6, 1e9 / best.0, best.1);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let now = chrono::Utc::now();
    let texts: Vec<String> = (0..PEOPLE).map(|id| format!(r#"{{"userId": "user-{id}", "properties": {{"plan": "team", "seats": "7"}}}}"#)).collect();

    let set = unleash::CompiledFeatures::from_json(UNLEASH)?;
    let contexts = texts.iter().map(|text| unleash::Context::from_json(text, now)).collect::<Result<Vec<_>, _>>()?;
    let mut random = Random::seeded(1);
    measure("Unleash semantics: is_enabled", |person| black_box(set.is_enabled("f", black_box(&contexts[person]), &mut random)));
    measure("Unleash semantics: evaluate with variant", |person| black_box(set.evaluate("f", black_box(&contexts[person]), &mut random)).enabled);
    let flag = set.get("f").ok_or("no flag")?;
    measure("Unleash semantics: flag looked up before", |person| black_box(set.evaluate_flag(flag, black_box(&contexts[person]), &mut random)).enabled);

    let engine = unleash_yggdrasil::EngineState::default();
    engine.apply_client_features(serde_json::from_str(UNLEASH)?);
    let theirs = texts.iter().map(|text| serde_json::from_str(text)).collect::<Result<Vec<unleash_yggdrasil::Context>, _>>()?;
    measure("unleash-yggdrasil: is_enabled", |person| black_box(engine.is_enabled("f", black_box(&theirs[person]), &None)));
    measure("unleash-yggdrasil: check_enabled", |person| {
        let context = unleash_yggdrasil::state::EnrichedContext::from(black_box(&theirs[person]), "f", None);
        black_box(engine.check_enabled(&context)).unwrap_or(false)
    });

    let features = growthbook::Features::from_json(GROWTHBOOK)?;
    let texts: Vec<String> = (0..PEOPLE).map(|id| format!(r#"{{"id": "user-{id}", "targetingKey": "user-{id}", "plan": "team", "seats": 7}}"#)).collect();
    let contexts = texts.iter().map(|text| growthbook::Context::from_json(text)).collect::<Result<Vec<_>, _>>()?;
    measure("GrowthBook semantics: evaluate", |person| black_box(features.evaluate("f", black_box(&contexts[person]))).is_on());

    let flags = flagd::CompiledFlags::from_json(FLAGD)?;
    let contexts = texts.iter().map(|text| Value::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let mut scratch = flagd::Scratch::default();
    measure("flagd semantics: evaluate", |person| {
        let found = flags.evaluate("f", black_box(&contexts[person]), 0, &mut scratch);
        black_box(found).served.is_some_and(|(_, value)| *value == Value::Bool(true))
    });
    Ok(())
}
