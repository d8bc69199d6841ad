//! One flag in and out of GrowthBook's map of features.

use serde_json::{Map, Value, json};

use super::condition;
use super::json::{fraction, take, take_list, take_text, ten_thousandths};
use super::model::{Definition, Environment, Part, Rule, Serve, Share, Split, Targeted, ValueType, WHOLE, attribute};
use super::set::{Effect, File, Problem};
use crate::evaluation::Format;

/// Fields of a rule that decide who gets it, or what, and that nothing in the common model stands for.
const UNSAID: [&str; 8] = ["range", "ranges", "namespace", "filters", "parentConditions", "contextualBanditRef", "contextualVariations", "weightsByLeaf"];

/// Takes a response or a bare map of features apart, by the rule that evaluation takes it by.
pub(super) fn file(mut fields: Map<String, Value>) -> File {
    let plain =
        |features: &Map<String, Value>| ["defaultValue", "rules"].iter().all(|name| !features.contains_key(*name)) || features.values().all(Value::is_object);
    let features = match fields.get("features") {
        Some(Value::Object(features)) if plain(features) => {
            let features = features.clone();
            fields.remove("features");
            features
        }
        _ => std::mem::take(&mut fields),
    };
    File { flags: features.into_iter().collect(), shared: fields }
}

/// Puts a response together.
pub(super) fn whole(flags: Vec<(String, Value)>, mut shared: Map<String, Value>) -> Value {
    shared.insert("features".to_owned(), Value::Object(flags.into_iter().collect()));
    Value::Object(shared)
}

/// The variant that stands for a value: `on` and `off`, a short text itself, else a number in order.
fn variant(flag: &mut Definition, value: &Value) -> String {
    if let Some((name, _)) = flag.variants.iter().find(|(_, known)| *known == value) {
        return name.clone();
    }
    let wish = match value {
        Value::Bool(true) => "on".to_owned(),
        Value::Bool(false) => "off".to_owned(),
        Value::String(text) if !text.is_empty() && text.len() <= 64 => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => format!("variant-{}", flag.variants.len()),
    };
    let mut name = wish.clone();
    let mut count = 1;
    while flag.variants.contains_key(&name) {
        count += 1;
        name = format!("{wish}-{count}");
    }
    flag.variants.insert(name.clone(), value.clone());
    name
}

pub(super) fn read(key: &str, environment: &str, source: &Value) -> Definition {
    let mut flag = Definition {
        key: key.to_owned(),
        value_type: ValueType::Boolean,
        family: Format::GrowthBook,
        description: None,
        owner: None,
        project: None,
        purpose: None,
        tags: Default::default(),
        services: Default::default(),
        variants: Default::default(),
        environments: Default::default(),
    };
    let mut fields = source.as_object().cloned().unwrap_or_default();
    let mut live = Environment::default();
    if let Some(value) = fields.remove("defaultValue") {
        live.otherwise = Some(Serve::Variant { name: variant(&mut flag, &value) });
    }
    for rule in take_list(&mut fields, "rules") {
        let read = targeted(&mut flag, &rule);
        live.rules.push(read.map_or_else(|why| Rule::Native { rule, why }, Rule::Targeted));
    }
    live.extra = fields;
    flag.value_type = ValueType::of(flag.variants.values());
    flag.environments.insert(environment.to_owned(), live);
    flag
}

fn targeted(flag: &mut Definition, source: &Value) -> Result<Targeted, String> {
    let mut fields = source.as_object().cloned().ok_or("the rule is no object")?;
    if let Some(name) = UNSAID.iter().find(|name| fields.contains_key(**name)) {
        return Err(format!("its {name} has no counterpart"));
    }
    let passes = |meta: &Value| meta.get("passthrough").is_some_and(|passes| *passes != Value::Bool(false));
    if fields.get("meta").and_then(Value::as_array).is_some_and(|meta| meta.iter().any(passes)) {
        return Err("a variation that passes people on has no counterpart".to_owned());
    }
    let mut rule = Targeted::default();
    if let Some(condition) = take(&mut fields, "condition") {
        rule.constraints = condition::read(&condition)?;
    }
    let share = match fields.remove("coverage") {
        None => None,
        Some(coverage) => Some(coverage.as_f64().and_then(ten_thousandths).ok_or("its coverage is no share in ten-thousandths")?),
    };
    match (fields.remove("force"), fields.remove("variations")) {
        (Some(value), variations) => {
            if variations.is_some() {
                return Err("it forces a value and has variations".to_owned());
            }
            rule.serve = Serve::Variant { name: variant(flag, &value) };
            rule.share = share.map(|part| Share { part, by: take_text(&mut fields, "hashAttribute"), salt: take_text(&mut fields, "seed") });
        }
        (None, Some(Value::Array(variations))) if variations.len() > 1 => {
            let weights = match take(&mut fields, "weights") {
                None => None,
                Some(weights) => Some(weights_of(&weights, variations.len())?),
            };
            let of = if weights.is_some() { WHOLE } else { 0 };
            let weights = weights.unwrap_or_else(|| vec![1; variations.len()]);
            let parts = variations.iter().zip(weights).map(|(value, weight)| Part { variant: variant(flag, value), weight, extra: Map::new() }).collect();
            let (by, salt) = (take_text(&mut fields, "hashAttribute"), take_text(&mut fields, "seed"));
            rule.share = share.map(|part| Share { part, by: by.clone(), salt: salt.clone() });
            rule.serve = Serve::Split(Split { by, salt, of, parts });
        }
        _ => return Err("it neither forces a value nor has variations".to_owned()),
    }
    rule.extra = fields;
    Ok(rule)
}

/// Weights in ten-thousandths, where they say exactly that and add up; others are taken as equal by the SDKs, so they stay as they are.
fn weights_of(weights: &Value, count: usize) -> Result<Vec<u32>, String> {
    let found: Option<Vec<u32>> = weights.as_array().and_then(|list| list.iter().map(|weight| weight.as_f64().and_then(ten_thousandths)).collect());
    match found {
        Some(found) if found.len() == count && (9_900..=10_100).contains(&found.iter().sum::<u32>()) => Ok(found),
        _ => Err("its weights are no shares in ten-thousandths that add up".to_owned()),
    }
}

pub(super) fn write(flag: &Definition, live: &Environment, problems: &mut Vec<Problem>) -> Option<Value> {
    if !live.is_live() {
        problems.push(Problem::new(&flag.key, Effect::LeftOut, "the flag is off; GrowthBook's own server leaves such a flag out of what it sends"));
        return None;
    }
    match written(flag, live, problems) {
        Ok(feature) => Some(feature),
        Err(why) => {
            problems.push(Problem::new(&flag.key, Effect::LeftOut, format!("left out of growthbook: {why}")));
            None
        }
    }
}

/// What another format calls on and off is `true` and `false` here.
fn on_value(flag: &Definition, name: &str) -> Value {
    match flag.variants.get(name) {
        // Unleash's variants may carry nothing: their name is what an application looks at.
        Some(Value::Null) if flag.family == Format::Unleash => name.into(),
        Some(value) => value.clone(),
        None => Value::Null,
    }
}

fn written(flag: &Definition, live: &Environment, problems: &mut Vec<Problem>) -> Result<Value, String> {
    let own = flag.family == Format::GrowthBook;
    let mut feature = if own { live.extra.clone() } else { Map::new() };
    if !own {
        for name in live.extra.keys() {
            problems.push(Problem::new(&flag.key, Effect::Omitted, format!("field {name} of {} has no counterpart in growthbook", flag.family.name())));
        }
        if !live.prerequisites.is_empty() {
            return Err("its prerequisites are not said in growthbook".to_owned());
        }
    }
    match &live.otherwise {
        Some(Serve::Variant { name }) => drop(feature.insert("defaultValue".to_owned(), on_value(flag, name))),
        None if own => {}
        // Off is off, also for flags of values: `null` is GrowthBook's.
        None => drop(feature.insert("defaultValue".to_owned(), if live.on.is_some() { Value::Null } else { Value::Bool(false) })),
        Some(Serve::On) if live.on.is_none() => drop(feature.insert("defaultValue".to_owned(), Value::Bool(true))),
        Some(Serve::On | Serve::Split(_)) => drop(feature.insert("defaultValue".to_owned(), Value::Null)),
    }
    let mut rules = Vec::new();
    for (index, rule) in live.rules.iter().enumerate() {
        match rule {
            Rule::Native { rule, .. } if own => rules.push(rule.clone()),
            Rule::Native { why, .. } => return Err(format!("rule {index} stands in {}'s own words: {why}", flag.family.name())),
            Rule::Targeted(rule) => rules.push(write_rule(flag, live, rule, problems).map_err(|why| format!("rule {index}: {why}"))?),
        }
    }
    if let Some(otherwise @ (Serve::On | Serve::Split(_))) = &live.otherwise
        && (live.on.is_some() || matches!(otherwise, Serve::Split(_)))
    {
        rules.push(write_rule(flag, live, &Targeted { serve: otherwise.clone(), ..Default::default() }, problems)?);
    }
    if own || !rules.is_empty() {
        // An absent list and an empty one are the same.
        if !rules.is_empty() {
            feature.insert("rules".to_owned(), Value::Array(rules));
        }
    }
    Ok(Value::Object(feature))
}

fn write_rule(flag: &Definition, live: &Environment, rule: &Targeted, problems: &mut Vec<Problem>) -> Result<Value, String> {
    let own = flag.family == Format::GrowthBook;
    let mut written = if own { rule.extra.clone() } else { Map::new() };
    if !own {
        for name in rule.extra.keys() {
            problems.push(Problem::new(&flag.key, Effect::Omitted, format!("a rule's field {name} has no counterpart in growthbook")));
        }
    }
    if !rule.segments.is_empty() {
        return Err("segments are not said in growthbook".to_owned());
    }
    if let Some(condition) = condition::write(flag, &rule.constraints)? {
        written.insert("condition".to_owned(), condition);
    }
    let split = match (&rule.serve, &live.on) {
        (Serve::Split(split), _) | (Serve::On, Some(split)) => Some(split),
        (Serve::On | Serve::Variant { .. }, _) => None,
    };
    if let Some(share) = &rule.share {
        written.insert("coverage".to_owned(), fraction(share.part, WHOLE));
    }
    let sticky = rule.share.as_ref().map(|share| (&share.by, &share.salt)).or_else(|| split.map(|split| (&split.by, &split.salt)));
    if let Some((by, salt)) = sticky {
        if let Some(by) = by {
            if !own && by == "random" {
                return Err("a share that is drawn anew each time has no counterpart".to_owned());
            }
            written.insert("hashAttribute".to_owned(), attribute(flag, by, Format::GrowthBook)?.into());
        }
        salt.iter().for_each(|salt| drop(written.insert("seed".to_owned(), salt.as_str().into())));
        if !own {
            // The first version of the hash is biased and counts in thousandths only.
            written.insert("hashVersion".to_owned(), Value::from(2));
        }
    }
    match (split, &rule.serve) {
        (Some(split), _) => {
            if !own && split.parts.iter().any(|part| part.extra.contains_key("overrides")) {
                return Err("people who always see a variant are not said in growthbook".to_owned());
            }
            if split.parts.len() == 1 {
                written.insert("force".to_owned(), on_value(flag, &split.parts[0].variant));
                return Ok(Value::Object(written));
            }
            written.insert("variations".to_owned(), split.parts.iter().map(|part| on_value(flag, &part.variant)).collect());
            if split.of != 0 {
                written.insert("weights".to_owned(), split.parts.iter().map(|part| fraction(part.weight, split.of)).collect());
            }
            if !own {
                let meta = |part: &Part| json!({"key": part.variant});
                written.insert("meta".to_owned(), split.parts.iter().map(meta).collect());
            }
        }
        (None, Serve::Variant { name }) => drop(written.insert("force".to_owned(), on_value(flag, name))),
        (None, _) => drop(written.insert("force".to_owned(), Value::Bool(true))),
    }
    Ok(Value::Object(written))
}
