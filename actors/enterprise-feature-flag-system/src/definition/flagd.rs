//! One flag in and out of flagd's file.

use serde_json::{Map, Value, json};

use super::json::{take, take_text};
use super::model::{Definition, Environment, Rule, Serve, ValueType};
use super::set::{Effect, File, Problem};
use super::targeting;
use crate::evaluation::Format;

/// The variants of a flag that is only on or off.
pub(super) const ON: &str = "on";
const OFF: &str = "off";

/// Takes a file apart.
pub(super) fn file(mut fields: Map<String, Value>) -> File {
    let flags = match fields.remove("flags") {
        Some(Value::Object(flags)) => flags.into_iter().collect(),
        Some(Value::Array(flags)) => {
            let key = |flag: &Value| flag.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
            flags.into_iter().map(|flag| (key(&flag), flag)).collect()
        }
        _ => Vec::new(),
    };
    File { flags, shared: fields }
}

/// Puts a file together.
pub(super) fn whole(flags: Vec<(String, Value)>, mut shared: Map<String, Value>) -> Value {
    shared.insert("flags".to_owned(), Value::Object(flags.into_iter().collect()));
    Value::Object(shared)
}

pub(super) fn read(key: &str, environment: &str, source: &Value) -> Definition {
    let mut fields = source.as_object().cloned().unwrap_or_default();
    let variants: Map<String, Value> = match take(&mut fields, "variants") {
        Some(Value::Object(variants)) => variants,
        _ => Map::new(),
    };
    let mut live = Environment { enabled: fields.remove("state").is_some_and(|state| state == "ENABLED"), ..Default::default() };
    live.otherwise = take_text(&mut fields, "defaultVariant").filter(|name| !name.is_empty()).map(|name| Serve::Variant { name });
    match take(&mut fields, "targeting") {
        None => {}
        Some(Value::Object(rule)) if rule.is_empty() => {}
        Some(rule) => {
            let known = |serve: &Serve| match serve {
                Serve::On => true,
                Serve::Variant { name } => variants.contains_key(name),
                Serve::Split(split) => split.parts.iter().all(|part| variants.contains_key(&part.variant)),
            };
            match targeting::read(&rule) {
                Ok(rules) if rules.iter().all(|rule| known(&rule.serve)) => live.rules = rules.into_iter().map(Rule::Targeted).collect(),
                Ok(_) => live.rules.push(Rule::Native { rule, why: "its targeting names a variant that does not exist".to_owned() }),
                Err(why) => live.rules.push(Rule::Native { rule, why }),
            }
        }
    }
    live.extra = fields;
    Definition {
        key: key.to_owned(),
        value_type: ValueType::of(variants.values()),
        family: Format::Flagd,
        description: None,
        owner: None,
        project: None,
        purpose: None,
        tags: Default::default(),
        services: Default::default(),
        variants: variants.into_iter().collect(),
        environments: [(environment.to_owned(), live)].into(),
    }
}

pub(super) fn write(flag: &Definition, live: &Environment, problems: &mut Vec<Problem>) -> Option<Value> {
    match written(flag, live, problems) {
        Ok(written) => Some(written),
        Err(why) => {
            problems.push(Problem::new(&flag.key, Effect::LeftOut, format!("left out of flagd: {why}")));
            None
        }
    }
}

fn written(flag: &Definition, live: &Environment, problems: &mut Vec<Problem>) -> Result<Value, String> {
    let own = flag.family == Format::Flagd;
    let mut fields = if own { live.extra.clone() } else { Map::new() };
    if !own {
        let of_rules = live.rules.iter().filter_map(|rule| match rule {
            Rule::Targeted(rule) => Some(rule.extra.keys()),
            Rule::Native { .. } => None,
        });
        for name in live.extra.keys().chain(of_rules.flatten()) {
            problems.push(Problem::new(&flag.key, Effect::Omitted, format!("field {name} of {} has no counterpart in flagd", flag.family.name())));
        }
        if !live.prerequisites.is_empty() {
            return Err("its prerequisites are not said in flagd".to_owned());
        }
    }
    if let Some(description) = &flag.description
        && let Some(metadata) = fields.entry("metadata").or_insert_with(|| json!({})).as_object_mut()
    {
        metadata.insert("description".to_owned(), description.as_str().into());
    }
    fields.insert("state".to_owned(), if live.is_live() { "ENABLED" } else { "DISABLED" }.into());
    // A variant that carries nothing is known by its name.
    let value = |(name, value): (&String, &Value)| {
        (name.clone(), if !own && value.is_null() && flag.family == Format::Unleash { name.clone().into() } else { value.clone() })
    };
    let mut variants: Map<String, Value> = flag.variants.iter().map(value).collect();
    if !own && flag.family == Format::Unleash && live.on.is_none() {
        let serves_on = |serve: &Serve| *serve == Serve::On;
        let any_on =
            live.otherwise.as_ref().is_some_and(serves_on) || live.rules.iter().any(|rule| matches!(rule, Rule::Targeted(rule) if serves_on(&rule.serve)));
        if any_on || variants.is_empty() {
            if variants.contains_key(ON) || variants.contains_key(OFF) {
                return Err("it has a variant on or off that is not just that".to_owned());
            }
            variants.insert(ON.to_owned(), true.into());
            variants.insert(OFF.to_owned(), false.into());
        }
    }
    let mut live = live.clone();
    let default = match live.otherwise.take() {
        Some(Serve::Variant { name }) => Some(name),
        None if own => None,
        None => variants.contains_key(OFF).then(|| OFF.to_owned()),
        Some(Serve::On) if live.on.is_none() => Some(ON.to_owned()),
        // What everyone else is served by weight is the last rule.
        Some(serve) => {
            live.rules.push(Rule::Targeted(super::model::Targeted { serve, ..Default::default() }));
            None
        }
    };
    default.into_iter().for_each(|name| drop(fields.insert("defaultVariant".to_owned(), name.into())));
    fields.insert("variants".to_owned(), Value::Object(variants));
    match live.rules.as_slice() {
        [Rule::Native { rule, .. }] if own => drop(fields.insert("targeting".to_owned(), rule.clone())),
        _ => targeting::write(flag, &live)?.into_iter().for_each(|rule| drop(fields.insert("targeting".to_owned(), rule))),
    }
    Ok(Value::Object(fields))
}
