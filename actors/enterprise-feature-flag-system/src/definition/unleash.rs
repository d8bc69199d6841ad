//! One flag in and out of Unleash's client-features format.

use serde_json::{Map, Value, json};

use super::json::{scalar, take, take_list, take_text};
use super::model::{Constraint, Definition, Environment, Operator, Part, Prerequisite, Rule, Serve, Share, Split, Targeted, ValueType, WHOLE, attribute};
use super::set::{Effect, File, Problem};
use crate::evaluation::Format;

const OPERATORS: [(&str, Operator); 19] = [
    ("IN", Operator::In),
    ("NOT_IN", Operator::NotIn),
    ("STR_STARTS_WITH", Operator::StartsWith),
    ("STR_ENDS_WITH", Operator::EndsWith),
    ("STR_CONTAINS", Operator::Contains),
    ("NUM_EQ", Operator::NumberEquals),
    ("NUM_GT", Operator::NumberAbove),
    ("NUM_GTE", Operator::NumberAtLeast),
    ("NUM_LT", Operator::NumberBelow),
    ("NUM_LTE", Operator::NumberAtMost),
    ("DATE_AFTER", Operator::DateAfter),
    ("DATE_BEFORE", Operator::DateBefore),
    ("SEMVER_EQ", Operator::VersionEquals),
    ("SEMVER_GT", Operator::VersionAbove),
    ("SEMVER_GTE", Operator::VersionAtLeast),
    ("SEMVER_LT", Operator::VersionBelow),
    ("SEMVER_LTE", Operator::VersionAtMost),
    ("REGEX", Operator::Matches),
    ("IN_CIDR", Operator::InNetwork),
];

/// Takes a response, full or delta, apart.
pub(super) fn file(json: &str) -> Result<File, serde_json::Error> {
    let mut fields: Map<String, Value> = serde_json::from_str(json)?;
    let events = take_list(&mut fields, "events");
    let (mut features, mut segments) = (take_list(&mut fields, "features"), take_list(&mut fields, "segments"));
    let put = |items: &mut Vec<Value>, name: &str, item: Value| match items.iter_mut().find(|known| known.get(name) == item.get(name)) {
        Some(known) => *known = item,
        None => items.push(item),
    };
    for mut event in events {
        let mut part = |name: &str| event.get_mut(name).map(Value::take);
        match part("type").as_ref().and_then(Value::as_str) {
            Some("hydration") => {
                let list = |found: Option<Value>| found.and_then(|list| list.as_array().cloned()).unwrap_or_default();
                (features, segments) = (list(part("features")), list(part("segments")));
            }
            Some("feature-updated") => part("feature").into_iter().for_each(|feature| put(&mut features, "name", feature)),
            Some("segment-updated") => part("segment").into_iter().for_each(|segment| put(&mut segments, "id", segment)),
            Some("feature-removed") => {
                let name = part("featureName");
                features.retain(|feature| feature.get("name") != name.as_ref());
            }
            Some("segment-removed") => {
                let id = part("segmentId");
                segments.retain(|segment| segment.get("id") != id.as_ref());
            }
            _ => {}
        }
    }
    if !segments.is_empty() {
        fields.insert("segments".to_owned(), Value::Array(segments));
    }
    let key = |feature: &Value| feature.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(File { flags: features.into_iter().map(|feature| (key(&feature), feature)).collect(), shared: fields })
}

/// Puts a response together.
pub(super) fn whole(flags: Vec<(String, Value)>, mut shared: Map<String, Value>) -> Value {
    shared.entry("version").or_insert(Value::from(2));
    shared.insert("features".to_owned(), flags.into_iter().map(|(_, feature)| feature).collect());
    Value::Object(shared)
}

pub(super) fn read(key: &str, environment: &str, source: &Value) -> Definition {
    let mut fields = source.as_object().cloned().unwrap_or_default();
    fields.remove("name");
    let mut flag = Definition {
        key: key.to_owned(),
        value_type: ValueType::Boolean,
        family: Format::Unleash,
        description: take_text(&mut fields, "description"),
        owner: None,
        project: take_text(&mut fields, "project"),
        purpose: take_text(&mut fields, "type"),
        tags: Default::default(),
        services: Default::default(),
        variants: Default::default(),
        environments: Default::default(),
    };
    let mut live = Environment { enabled: take(&mut fields, "enabled").is_some_and(|enabled| enabled == Value::Bool(true)), ..Default::default() };
    let variants = take_list(&mut fields, "variants");
    if !variants.is_empty() {
        match split(&mut flag, &variants) {
            Ok(found) => {
                // The stickiness of the first counts for all.
                let by = variants.first().and_then(|first| first.get("stickiness")).and_then(Value::as_str).map(str::to_owned);
                live.on = Some(Split { by, ..found });
            }
            Err(_) => drop(fields.insert("variants".to_owned(), Value::Array(variants))),
        }
    }
    for dependency in take_list(&mut fields, "dependencies") {
        let texts = |found: Option<&Value>| found.and_then(Value::as_array).map(|names| names.iter().filter_map(scalar).collect()).unwrap_or_default();
        live.prerequisites.push(Prerequisite {
            flag: dependency.get("feature").and_then(Value::as_str).unwrap_or_default().to_owned(),
            enabled: dependency.get("enabled") != Some(&Value::Bool(false)),
            variants: texts(dependency.get("variants")),
        });
    }
    let strategies = take_list(&mut fields, "strategies");
    live.otherwise = strategies.is_empty().then_some(Serve::On);
    for strategy in strategies {
        let read = targeted(&mut flag, &strategy);
        live.rules.push(read.map_or_else(|why| Rule::Native { rule: strategy, why }, Rule::Targeted));
    }
    live.extra = fields;
    flag.value_type = ValueType::of(flag.variants.values().filter(|value| !value.is_null()));
    flag.environments.insert(environment.to_owned(), live);
    flag
}

fn targeted(flag: &mut Definition, source: &Value) -> Result<Targeted, String> {
    let mut fields = source.as_object().cloned().ok_or("the strategy is no object")?;
    let name = take_text(&mut fields, "name").unwrap_or_default();
    let mut parameters = match take(&mut fields, "parameters") {
        Some(Value::Object(parameters)) => parameters,
        None => Map::new(),
        Some(_) => return Err("its parameters are no object".to_owned()),
    };
    let mut rule = Targeted::default();
    let variants = take_list(&mut fields, "variants");
    match name.as_str() {
        "default" => {}
        "flexibleRollout" => {
            let percentage = take(&mut parameters, "rollout").as_ref().and_then(scalar).and_then(|text| text.parse::<u32>().ok());
            let percentage = percentage.filter(|percentage| *percentage <= 100).ok_or("its rollout is no whole percentage from 0 to 100")?;
            let by = take_text(&mut parameters, "stickiness").filter(|by| by != "default");
            rule.share = Some(Share { part: percentage * (WHOLE / 100), by, salt: take_text(&mut parameters, "groupId") });
        }
        other => return Err(format!("strategy {other} has no counterpart")),
    }
    let sticky_without_rollout = rule.share.is_none() && !variants.is_empty() && ["groupId", "stickiness"].iter().any(|name| parameters.contains_key(*name));
    if sticky_without_rollout {
        return Err("its parameters decide who is served which variant".to_owned());
    }
    if !parameters.is_empty() {
        fields.insert("parameters".to_owned(), Value::Object(parameters));
    }
    for constraint in take_list(&mut fields, "constraints") {
        rule.constraints.push(self::constraint(&constraint)?);
    }
    for segment in take_list(&mut fields, "segments") {
        rule.segments.push(segment.as_i64().ok_or("a segment's id is no number")?);
    }
    if !variants.is_empty() {
        rule.serve = Serve::Split(split(flag, &variants)?);
    }
    rule.extra = fields;
    Ok(rule)
}

fn constraint(source: &Value) -> Result<Constraint, String> {
    let text = |name: &str| source.get(name).and_then(Value::as_str).unwrap_or_default();
    let operator = OPERATORS.iter().find(|(name, _)| *name == text("operator")).ok_or_else(|| format!("operator {} is not known", text("operator")))?.1;
    let flag = |name: &str| source.get(name) == Some(&Value::Bool(true));
    let values = if takes_list(operator) {
        let items = source.get("values").and_then(Value::as_array).ok_or("a constraint has no values")?;
        items.iter().map(scalar).collect::<Option<_>>().ok_or("a constraint's value is no text")?
    } else {
        vec![source.get("value").and_then(scalar).ok_or("a constraint has no value")?]
    };
    Ok(Constraint { attribute: text("contextName").to_owned(), operator, values, inverted: flag("inverted"), ignore_case: flag("caseInsensitive") })
}

fn takes_list(operator: Operator) -> bool {
    use Operator::{Contains, EndsWith, Equals, In, InNetwork, NotIn, StartsWith};
    matches!(operator, Equals | In | NotIn | StartsWith | EndsWith | Contains | InNetwork)
}

/// Variants by weight; their values become the flag's. Two of one name with other values cannot be said.
fn split(flag: &mut Definition, variants: &[Value]) -> Result<Split, String> {
    let (mut parts, mut values) = (Vec::new(), Vec::new());
    for variant in variants {
        let mut fields = variant.as_object().cloned().ok_or("a variant is no object")?;
        let name = take_text(&mut fields, "name").ok_or("a variant has no name")?;
        let value = match take(&mut fields, "payload") {
            Some(payload) => {
                let value = value_of(&payload);
                if payload_of(&value).as_ref() != Some(&payload) {
                    // As text it is another one than it would be written, e.g. with other spaces.
                    fields.insert("payload".to_owned(), payload);
                }
                value
            }
            None => Value::Null,
        };
        let clashes = |known: &Value| *known != value;
        if flag.variants.get(&name).is_some_and(clashes) || values.iter().any(|(other, known)| *other == name && clashes(known)) {
            return Err(format!("variant {name} has several values"));
        }
        let weight = take(&mut fields, "weight").as_ref().and_then(Value::as_i64).unwrap_or(0);
        let weight = u32::try_from(weight).map_err(|_| format!("variant {name} has the weight {weight}"))?;
        fields.remove("stickiness");
        parts.push(Part { variant: name.clone(), weight, extra: fields });
        values.push((name, value));
    }
    let of = parts.iter().try_fold(0_u32, |total, part| total.checked_add(part.weight)).ok_or("the weights are beyond 32 bits")?;
    flag.variants.extend(values);
    // 0 would mean equal weights: here it means that nobody is served.
    Ok(Split { by: None, salt: None, of: of.max(1), parts })
}

fn value_of(payload: &Value) -> Value {
    let text = payload.get("value").and_then(scalar).unwrap_or_default();
    match payload.get("type").and_then(Value::as_str) {
        Some("json") => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        Some("number") => text.parse::<serde_json::Number>().map_or(Value::String(text), Value::Number),
        _ => Value::String(text),
    }
}

fn payload_of(value: &Value) -> Option<Value> {
    let payload = |kind: &str, text: String| Some(json!({"type": kind, "value": text}));
    match value {
        Value::Null => None,
        Value::String(text) => payload("string", text.clone()),
        Value::Number(number) => payload("number", number.to_string()),
        other => payload("json", other.to_string()),
    }
}

pub(super) fn write(flag: &Definition, live: &Environment, problems: &mut Vec<Problem>) -> Option<Value> {
    match written(flag, live, problems) {
        Ok(feature) => Some(feature),
        Err(why) => {
            problems.push(Problem::new(&flag.key, Effect::LeftOut, format!("left out of unleash: {why}")));
            None
        }
    }
}

fn written(flag: &Definition, live: &Environment, problems: &mut Vec<Problem>) -> Result<Value, String> {
    let own = flag.family == Format::Unleash;
    let mut feature = if own { live.extra.clone() } else { Map::new() };
    if !own {
        for name in live.extra.keys() {
            problems.push(Problem::new(&flag.key, Effect::Omitted, format!("field {name} of {} has no counterpart in unleash", flag.family.name())));
        }
    }
    feature.insert("name".to_owned(), flag.key.clone().into());
    feature.insert("enabled".to_owned(), live.is_live().into());
    for (name, text) in [("description", &flag.description), ("project", &flag.project), ("type", &flag.purpose)] {
        text.iter().for_each(|text| drop(feature.insert(name.to_owned(), text.as_str().into())));
    }
    if let Some(split) = &live.on {
        feature.insert("variants".to_owned(), variants(flag, split, true)?);
    }
    if !live.prerequisites.is_empty() {
        let dependency = |one: &Prerequisite| {
            let mut dependency = json!({"feature": one.flag, "enabled": one.enabled});
            if !one.variants.is_empty() {
                dependency["variants"] = one.variants.clone().into();
            }
            dependency
        };
        feature.insert("dependencies".to_owned(), live.prerequisites.iter().map(dependency).collect());
    }
    let mut strategies = Vec::new();
    for (index, rule) in live.rules.iter().enumerate() {
        match rule {
            Rule::Native { rule, .. } if own => strategies.push(rule.clone()),
            Rule::Native { why, .. } => return Err(format!("rule {index} stands in {}'s own words: {why}", flag.family.name())),
            Rule::Targeted(rule) => strategies.push(strategy(flag, rule, problems).map_err(|why| format!("rule {index}: {why}"))?),
        }
    }
    match &live.otherwise {
        None => {
            // No strategies would mean everyone.
            if strategies.is_empty() {
                feature.insert("enabled".to_owned(), Value::Bool(false));
            }
        }
        Some(Serve::On) if strategies.is_empty() => {}
        Some(otherwise) if is_off(flag, otherwise) => {
            if strategies.is_empty() {
                feature.insert("enabled".to_owned(), Value::Bool(false));
            }
        }
        Some(otherwise) => strategies.push(strategy(flag, &Targeted { serve: otherwise.clone(), ..Default::default() }, problems)?),
    }
    feature.insert("strategies".to_owned(), Value::Array(strategies));
    Ok(Value::Object(feature))
}

/// Whether serving this is what Unleash calls off.
fn is_off(flag: &Definition, serve: &Serve) -> bool {
    matches!(serve, Serve::Variant { name } if flag.variants.get(name) == Some(&Value::Bool(false)))
}

fn strategy(flag: &Definition, rule: &Targeted, problems: &mut Vec<Problem>) -> Result<Value, String> {
    let own = flag.family == Format::Unleash;
    let mut strategy = if own { rule.extra.clone() } else { Map::new() };
    if !own {
        for name in rule.extra.keys() {
            problems.push(Problem::new(&flag.key, Effect::Omitted, format!("a rule's field {name} has no counterpart in unleash")));
        }
    }
    if is_off(flag, &rule.serve) {
        return Err("a rule switches off; unleash's strategies only switch on".to_owned());
    }
    let mut parameters = match strategy.remove("parameters") {
        Some(Value::Object(parameters)) => parameters,
        _ => Map::new(),
    };
    let sticky = |by: &Option<String>, salt: &Option<String>, parameters: &mut Map<String, Value>| -> Result<(), String> {
        let by = by.as_deref().map(|by| attribute(flag, by, Format::Unleash)).transpose()?;
        match by {
            Some(by) => drop(parameters.insert("stickiness".to_owned(), by.into())),
            None => drop(parameters.entry("stickiness").or_insert_with(|| "default".into())),
        }
        salt.iter().for_each(|salt| drop(parameters.insert("groupId".to_owned(), salt.as_str().into())));
        Ok(())
    };
    let mut name = "default";
    if let Some(share) = &rule.share {
        if share.part % (WHOLE / 100) != 0 {
            return Err(format!("{} of {WHOLE} is no whole percentage", share.part));
        }
        name = "flexibleRollout";
        parameters.insert("rollout".to_owned(), (share.part / (WHOLE / 100)).to_string().into());
        sticky(&share.by, &share.salt, &mut parameters)?;
    }
    match &rule.serve {
        Serve::On => {}
        Serve::Variant { name } if flag.variants.get(name) == Some(&Value::Bool(true)) => {}
        Serve::Variant { name } => {
            let split = Split { by: None, salt: None, of: 1, parts: vec![Part { variant: name.clone(), weight: 1, extra: Map::new() }] };
            strategy.insert("variants".to_owned(), variants(flag, &split, false)?);
        }
        Serve::Split(split) => {
            strategy.insert("variants".to_owned(), variants(flag, split, false)?);
            if !own && rule.share.is_none() {
                sticky(&split.by, &split.salt, &mut parameters)?;
            }
        }
    }
    strategy.insert("name".to_owned(), name.into());
    strategy.insert("parameters".to_owned(), Value::Object(parameters));
    let constraints = rule.constraints.iter().map(|one| write_constraint(flag, one)).collect::<Result<Vec<_>, _>>()?;
    strategy.insert("constraints".to_owned(), Value::Array(constraints));
    if !rule.segments.is_empty() {
        strategy.insert("segments".to_owned(), rule.segments.clone().into());
    }
    Ok(Value::Object(strategy))
}

fn write_constraint(flag: &Definition, constraint: &Constraint) -> Result<Value, String> {
    let operator = if constraint.operator == Operator::Equals { Operator::In } else { constraint.operator };
    let name = OPERATORS.iter().find(|(_, known)| *known == operator).map(|(name, _)| *name).ok_or("an operator has no counterpart")?;
    let mut written = json!({"contextName": attribute(flag, &constraint.attribute, Format::Unleash)?, "operator": name});
    if takes_list(operator) {
        written["values"] = constraint.values.clone().into();
    } else {
        written["value"] = constraint.values.first().cloned().unwrap_or_default().into();
    }
    if constraint.inverted {
        written["inverted"] = true.into();
    }
    if constraint.ignore_case {
        written["caseInsensitive"] = true.into();
    }
    Ok(written)
}

fn variants(flag: &Definition, split: &Split, with_stickiness: bool) -> Result<Value, String> {
    let own = flag.family == Format::Unleash;
    let mut written = Vec::new();
    for part in &split.parts {
        let mut variant = if own { part.extra.clone() } else { Map::new() };
        let weight = if split.of == 0 { 1 } else { part.weight };
        variant.insert("name".to_owned(), part.variant.clone().into());
        variant.insert("weight".to_owned(), weight.into());
        if let Some(by) = split.by.as_deref().filter(|_| with_stickiness) {
            variant.insert("stickiness".to_owned(), attribute(flag, by, Format::Unleash)?.into());
        }
        let value = flag.variants.get(&part.variant).unwrap_or(&Value::Null);
        // The text as it came, as long as it says the value.
        if variant.get("payload").is_none_or(|payload| value_of(payload) != *value) {
            variant.remove("payload");
            payload_of(value).into_iter().for_each(|payload| drop(variant.insert("payload".to_owned(), payload)));
        }
        written.push(Value::Object(variant));
    }
    Ok(Value::Array(written))
}
