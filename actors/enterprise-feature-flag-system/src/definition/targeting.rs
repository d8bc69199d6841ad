//! flagd's JSONLogic as rules and back.

use serde_json::{Map, Value, json};

use super::model::{Constraint, Definition, Environment, Operator, Part, Rule, Serve, Share, Split, Targeted, WHOLE, attribute};
use crate::evaluation::Format;

/// Chains of conditions are read this deep.
const DEPTH: u32 = 32;

/// The rules that a targeting stands for: a chain of conditions, each with what it serves.
pub(super) fn read(targeting: &Value) -> Result<Vec<Targeted>, String> {
    let mut rules = Vec::new();
    chain(targeting, &mut rules, DEPTH)?;
    Ok(rules)
}

fn only<'v>(value: &'v Value, operator: &str) -> Option<&'v Vec<Value>> {
    let fields = value.as_object().filter(|fields| fields.len() == 1)?;
    fields.get(operator)?.as_array()
}

fn chain(value: &Value, rules: &mut Vec<Targeted>, depth: u32) -> Result<(), String> {
    let depth = depth.checked_sub(1).ok_or("its targeting is nested too deeply")?;
    if value.is_null() {
        return Ok(());
    }
    let Some(branches) = only(value, "if") else {
        rules.push(Targeted { serve: serve(value)?, ..Default::default() });
        return Ok(());
    };
    let mut rest = branches.as_slice();
    while let [condition, served, after @ ..] = rest {
        let mut constraints = Vec::new();
        match only(condition, "and") {
            Some(all) if !all.is_empty() => all.iter().try_for_each(|one| constraint(one).map(|found| constraints.push(found)))?,
            _ if *condition == Value::Bool(true) => {}
            _ => constraints.push(constraint(condition)?),
        }
        rules.push(Targeted { constraints, serve: serve(served)?, ..Default::default() });
        rest = after;
    }
    match rest {
        [otherwise] => chain(otherwise, rules, depth),
        _ => Ok(()),
    }
}

fn serve(value: &Value) -> Result<Serve, String> {
    if let Value::String(name) = value {
        return Ok(Serve::Variant { name: name.clone() });
    }
    let nothing = || "what its targeting serves is no variant and no plain split".to_owned();
    let arguments = only(value, "fractional").ok_or_else(nothing)?;
    let (by, salt, buckets) = match arguments.split_first().ok_or_else(nothing)? {
        (Value::Array(_), _) => (None, None, arguments.as_slice()),
        (seed, buckets) => {
            let attribute = |value: &Value| {
                value.get("var").and_then(Value::as_str).filter(|_| value.as_object().is_some_and(|fields| fields.len() == 1)).map(str::to_owned)
            };
            match only(seed, "cat").map(Vec::as_slice) {
                Some([key, by]) if attribute(key).as_deref() == Some("$flagd.flagKey") => (Some(attribute(by).ok_or_else(nothing)?), None, buckets),
                Some([Value::String(salt), by]) => (Some(attribute(by).ok_or_else(nothing)?), Some(salt.clone()), buckets),
                _ => return Err(nothing()),
            }
        }
    };
    let mut parts = Vec::new();
    for bucket in buckets {
        match bucket.as_array().map(Vec::as_slice) {
            Some([Value::String(variant), weight]) => {
                let weight = weight.as_u64().and_then(|weight| u32::try_from(weight).ok()).ok_or_else(nothing)?;
                parts.push(Part { variant: variant.clone(), weight, extra: Map::new() });
            }
            _ => return Err(nothing()),
        }
    }
    let of = parts.iter().try_fold(0_u32, |total, part| total.checked_add(part.weight)).filter(|of| *of > 0).ok_or_else(nothing)?;
    Ok(Serve::Split(Split { by, salt, of, parts }))
}

fn constraint(value: &Value) -> Result<Constraint, String> {
    if let Some([inner]) = only(value, "!").map(Vec::as_slice) {
        let found = constraint(inner)?;
        return if found.inverted { Err("its condition is turned round twice".to_owned()) } else { Ok(Constraint { inverted: true, ..found }) };
    }
    let nothing = || "its condition has no counterpart".to_owned();
    let fields = value.as_object().filter(|fields| fields.len() == 1).ok_or_else(nothing)?;
    let (operator, arguments) = fields.iter().next().ok_or_else(nothing)?;
    let arguments = arguments.as_array().map(Vec::as_slice).ok_or_else(nothing)?;
    let var = |value: &Value| only_var(value).map(str::to_owned);
    let of = |attribute: Option<String>, operator, values| {
        attribute.map(|attribute| Constraint { attribute, operator, values, inverted: false, ignore_case: false }).ok_or_else(nothing)
    };
    match (operator.as_str(), arguments) {
        ("==", [left, Value::String(text)]) => of(var(left), Operator::Equals, vec![text.clone()]),
        ("in", [left, Value::Array(items)]) => {
            let values = items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<_>>().ok_or_else(nothing)?;
            of(var(left), Operator::In, values)
        }
        ("in", [Value::String(text), right]) => of(var(right), Operator::Contains, vec![text.clone()]),
        ("starts_with", [left, Value::String(text)]) => of(var(left), Operator::StartsWith, vec![text.clone()]),
        ("ends_with", [left, Value::String(text)]) => of(var(left), Operator::EndsWith, vec![text.clone()]),
        (name, [left, Value::Number(number)]) => {
            let (_, operator) = NUMBERS.iter().find(|(known, _)| *known == name).ok_or_else(nothing)?;
            of(var(left), *operator, vec![number.to_string()])
        }
        ("sem_ver", [left, Value::String(name), Value::String(version)]) => {
            let (_, operator) = VERSIONS.iter().find(|(known, _)| known == name).ok_or_else(nothing)?;
            of(var(left), *operator, vec![version.clone()])
        }
        _ => Err(nothing()),
    }
}

fn only_var(value: &Value) -> Option<&str> {
    value.as_object().filter(|fields| fields.len() == 1)?.get("var")?.as_str()
}

const NUMBERS: [(&str, Operator); 4] =
    [(">", Operator::NumberAbove), (">=", Operator::NumberAtLeast), ("<", Operator::NumberBelow), ("<=", Operator::NumberAtMost)];

const VERSIONS: [(&str, Operator); 5] = [
    ("=", Operator::VersionEquals),
    (">", Operator::VersionAbove),
    (">=", Operator::VersionAtLeast),
    ("<", Operator::VersionBelow),
    ("<=", Operator::VersionAtMost),
];

/// A targeting that stands for rules; `None` if there are none.
pub(super) fn write(flag: &Definition, live: &Environment) -> Result<Option<Value>, String> {
    let mut branches = Vec::new();
    let last = live.rules.len().saturating_sub(1);
    for (index, rule) in live.rules.iter().enumerate() {
        let rule = match rule {
            Rule::Targeted(rule) => rule,
            Rule::Native { why, .. } => return Err(format!("rule {index} stands in {}'s own words: {why}", flag.family.name())),
        };
        let wrong = |why: String| format!("rule {index}: {why}");
        if rule.share.as_ref().is_some_and(|share| share.part < WHOLE) && index < last {
            return Err(wrong("those outside its percentage would have to go on to the next rule, which flagd does not do".to_owned()));
        }
        if !rule.segments.is_empty() {
            return Err(wrong("segments are not said in flagd".to_owned()));
        }
        let mut tests = rule.constraints.iter().map(|one| test(flag, one)).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        branches.push(match tests.len() {
            0 => Value::Bool(true),
            1 => tests.remove(0),
            _ => json!({"and": tests}),
        });
        branches.push(written(flag, live, rule).map_err(wrong)?);
    }
    // A last rule for everyone is the chain's end.
    if let [.., Value::Bool(true), _] = branches.as_slice() {
        let end = branches.pop();
        branches.pop();
        if branches.is_empty() {
            let end = end.unwrap_or_default();
            // A targeting is an object, so a lone variant needs one around it.
            return Ok(Some(if end.is_object() { end } else { json!({"if": [true, end]}) }));
        }
        branches.extend(end);
    }
    Ok((!branches.is_empty()).then(|| json!({"if": branches})))
}

fn written(flag: &Definition, live: &Environment, rule: &Targeted) -> Result<Value, String> {
    let share = rule.share.as_ref();
    let plain = |name: &str| match share {
        None => Ok(name.into()),
        Some(share) => {
            // `null` makes the flag fall back to its default.
            let buckets = vec![json!([name, share.part]), json!([null, WHOLE.saturating_sub(share.part)])];
            fractional(flag, share.by.as_deref(), share.salt.as_deref(), buckets)
        }
    };
    match (&rule.serve, &live.on) {
        (Serve::Variant { name }, _) => plain(name),
        (Serve::On, None) => plain(super::flagd::ON),
        (Serve::Split(split), _) | (Serve::On, Some(split)) => {
            if flag.family != Format::Flagd && split.parts.iter().any(|part| part.extra.contains_key("overrides")) {
                return Err("people who always see a variant are not said in flagd".to_owned());
            }
            let Share { part, by, salt } = share.cloned().unwrap_or(Share { part: WHOLE, by: split.by.clone(), salt: split.salt.clone() });
            let of = |weight: u32| u64::from(if split.of == 0 { 1 } else { weight });
            let total: u64 = split.parts.iter().map(|one| of(one.weight)).sum();
            // All weights are kept as they are unless a share is taken of them first.
            let whole = part >= WHOLE;
            let times = if whole { 1 } else { u64::from(part) };
            let mut buckets: Vec<Value> = split.parts.iter().map(|one| json!([one.variant, of(one.weight) * times])).collect();
            if !whole {
                buckets.push(json!([null, total * u64::from(WHOLE - part)]));
            }
            if total * u64::from(WHOLE) > 2_147_483_647 && !whole {
                return Err("its weights are too large for a part of them to be taken".to_owned());
            }
            fractional(flag, by.as_deref(), salt.as_deref(), buckets)
        }
    }
}

fn fractional(flag: &Definition, by: Option<&str>, salt: Option<&str>, mut buckets: Vec<Value>) -> Result<Value, String> {
    if flag.family != Format::Flagd && by == Some("random") {
        return Err("a share that is drawn anew each time has no counterpart in flagd".to_owned());
    }
    let by = by.map(|by| attribute(flag, by, Format::Flagd)).transpose()?;
    let seed = match (by, salt) {
        (None, None) => None,
        (by, salt) => {
            let first = salt.map_or_else(|| json!({"var": "$flagd.flagKey"}), Value::from);
            Some(json!({"cat": [first, {"var": by.as_deref().unwrap_or("targetingKey")}]}))
        }
    };
    if let Some(seed) = seed {
        buckets.insert(0, seed);
    }
    Ok(json!({"fractional": buckets}))
}

fn test(flag: &Definition, constraint: &Constraint) -> Result<Value, String> {
    if constraint.ignore_case {
        return Err("letters' case is never ignored in flagd".to_owned());
    }
    let var = json!({"var": attribute(flag, &constraint.attribute, Format::Flagd)?});
    let first = constraint.values.first().cloned().unwrap_or_default();
    let any = |test: &dyn Fn(&String) -> Value| match constraint.values.as_slice() {
        [one] => test(one),
        several => json!({"or": several.iter().map(test).collect::<Vec<_>>()}),
    };
    let number =
        |operator: &str| first.parse::<serde_json::Number>().map(|number| json!({operator: [var, number]})).map_err(|_| format!("\"{first}\" is no number"));
    let known = |table: &[(&'static str, Operator)]| table.iter().find(|(_, operator)| *operator == constraint.operator).map(|(name, _)| *name);
    let mut inverted = constraint.inverted;
    let written = match constraint.operator {
        Operator::Equals => json!({"==": [var, first]}),
        Operator::In => json!({"in": [var, constraint.values]}),
        Operator::NotIn => {
            inverted = !inverted;
            json!({"in": [var, constraint.values]})
        }
        Operator::StartsWith => any(&|value| json!({"starts_with": [var, value]})),
        Operator::EndsWith => any(&|value| json!({"ends_with": [var, value]})),
        Operator::Contains => any(&|value| json!({"in": [value, var]})),
        Operator::NumberEquals => number("==")?,
        other => match (known(&NUMBERS), known(&VERSIONS)) {
            (Some(name), _) => number(name)?,
            (None, Some(name)) if flag.family == Format::Flagd => json!({"sem_ver": [var, name, first]}),
            _ => return Err(format!("its comparison {other:?} has no counterpart in flagd")),
        },
    };
    Ok(if inverted { json!({"!": [written]}) } else { written })
}
