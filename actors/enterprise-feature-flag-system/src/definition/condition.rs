//! GrowthBook's conditions as constraints and back.

use serde_json::{Map, Value, json};

use super::model::{Constraint, Definition, Operator, attribute};
use crate::evaluation::Format;

const NUMBERS: [(&str, Operator); 4] =
    [("$gt", Operator::NumberAbove), ("$gte", Operator::NumberAtLeast), ("$lt", Operator::NumberBelow), ("$lte", Operator::NumberAtMost)];

/// The constraints that a condition stands for.
pub(super) fn read(condition: &Value) -> Result<Vec<Constraint>, String> {
    let fields = condition.as_object().ok_or("its condition is no object")?;
    fields.iter().map(|(attribute, test)| constraint(attribute, test)).collect()
}

fn constraint(attribute: &str, test: &Value) -> Result<Constraint, String> {
    if attribute.starts_with('$') {
        return Err(format!("its condition's {attribute} has no counterpart"));
    }
    let of = |operator, values| Constraint { attribute: attribute.to_owned(), operator, values, inverted: false, ignore_case: false };
    let nothing = || Err(format!("its condition on {attribute} has no counterpart"));
    let fields = match test {
        Value::String(text) => return Ok(of(Operator::Equals, vec![text.clone()])),
        Value::Object(fields) => fields,
        _ => return nothing(),
    };
    let mut entries = fields.iter();
    let (Some((operator, value)), None) = (entries.next(), entries.next()) else { return nothing() };
    let texts = |list: &Value| list.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    match (operator.as_str(), texts(value), value) {
        ("$in", Some(values), _) => Ok(of(Operator::In, values)),
        ("$nin", Some(values), _) => Ok(of(Operator::NotIn, values)),
        (name, _, Value::Number(number)) => match NUMBERS.iter().find(|(known, _)| *known == name) {
            Some((_, operator)) => Ok(of(*operator, vec![number.to_string()])),
            None => nothing(),
        },
        _ => nothing(),
    }
}

/// A condition that stands for constraints; `None` if there are none.
pub(super) fn write(flag: &Definition, constraints: &[Constraint]) -> Result<Option<Value>, String> {
    let mut all = Vec::new();
    for constraint in constraints {
        let name = attribute(flag, &constraint.attribute, Format::GrowthBook)?;
        all.push((name, test(constraint)?));
    }
    Ok(match all.as_slice() {
        [] => None,
        _ => {
            let one = |(name, test): (String, Value)| Value::Object(Map::from_iter([(name, test)]));
            let repeated = all.iter().enumerate().any(|(index, (name, _))| all[..index].iter().any(|(other, _)| other == name));
            let inverted = constraints.iter().any(|constraint| constraint.inverted);
            // A test that stands under another one needs an object of its own.
            if repeated || inverted {
                let parts = all.into_iter().zip(constraints).map(|(part, constraint)| if constraint.inverted { json!({"$not": one(part)}) } else { one(part) });
                Some(json!({"$and": parts.collect::<Vec<_>>()}))
            } else {
                Some(Value::Object(all.into_iter().collect()))
            }
        }
    })
}

fn test(constraint: &Constraint) -> Result<Value, String> {
    let values = &constraint.values;
    let first = || values.first().cloned().unwrap_or_default();
    let matching = |pattern: String| {
        let case = if constraint.ignore_case { "$regexi" } else { "$regex" };
        // Without the first part, a missing attribute would be matched as the text "null".
        json!({"$exists": true, case: pattern})
    };
    let any = || format!("({})", values.iter().map(|value| regex::escape(value)).collect::<Vec<_>>().join("|"));
    if let Some((name, _)) = NUMBERS.iter().find(|(_, operator)| *operator == constraint.operator) {
        let number: serde_json::Number = first().parse().map_err(|_| format!("\"{}\" is no number", first()))?;
        return Ok(json!({*name: number}));
    }
    Ok(match constraint.operator {
        Operator::Equals if constraint.ignore_case => json!({"$ini": values}),
        Operator::In if constraint.ignore_case => json!({"$ini": values}),
        Operator::NotIn if constraint.ignore_case => json!({"$nini": values}),
        Operator::Equals => first().into(),
        Operator::In => json!({"$in": values}),
        Operator::NotIn => json!({"$nin": values}),
        Operator::StartsWith => matching(format!("^{}", any())),
        Operator::EndsWith => matching(format!("{}$", any())),
        Operator::Contains => matching(any()),
        Operator::NumberEquals => {
            let number: serde_json::Number = first().parse().map_err(|_| format!("\"{}\" is no number", first()))?;
            json!({"$eq": number})
        }
        other => return Err(format!("its comparison {other:?} has no counterpart in growthbook")),
    })
}
