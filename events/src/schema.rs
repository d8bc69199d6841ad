//! JSON Schemas of the known types, and the changes of a schema that break writers or readers of the type.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::domain::schema_uri;
use crate::registry::KnownType;

/// Writes the schema of a type as the document that is checked in and served: indented, with a final line feed.
pub fn document(known: &KnownType) -> String {
    let mut schema = (known.schema)();
    schema.insert("$id".to_owned(), schema_uri(known.event_type).into());
    schema.insert("title".to_owned(), known.event_type.into());
    format!("{:#}\n", schema.as_value())
}

/// Lists what in `new` breaks a writer or a reader of `old`. Such a change needs a new version of the type.
///
/// Breaking are: a property removed, a type no longer taken, a property newly required (or no longer), a value of an enumeration removed or
/// (for readers) the enumeration opened, and a pattern, format, minimum or closedness that refuses what was fine.
pub fn incompatible_changes(old: &Value, new: &Value) -> Vec<String> {
    let mut changes = Vec::new();
    compare(&Side { root: old, at: old }, &Side { root: new, at: new }, "data", &mut changes);
    changes
}

/// A place in a schema, with the document in which its references are looked up.
struct Side<'a> {
    root: &'a Value,
    at: &'a Value,
}

impl<'a> Side<'a> {
    /// The schema itself: references followed, and `anyOf [X, null]` taken as X; with whether null is taken beside it.
    fn resolved(&self) -> (Side<'a>, bool) {
        let mut at = self.at;
        let mut nullable = false;
        // References among the platform's own schemas do not form circles; the bound only keeps a bad file from hanging the test.
        for _ in 0..16 {
            if let Some(target) = at.get("$ref").and_then(Value::as_str).and_then(|reference| self.root.pointer(reference.strip_prefix('#')?)) {
                at = target;
                continue;
            }
            let is_null = |option: &&Value| option.get("type").is_some_and(|kind| kind == "null");
            match at.get("anyOf").and_then(Value::as_array).map(Vec::as_slice) {
                Some([value, null]) | Some([null, value]) if is_null(&null) => {
                    at = value;
                    nullable = true;
                }
                _ => break,
            }
        }
        (Side { root: self.root, at }, nullable)
    }

    fn types(&self, nullable: bool) -> BTreeSet<&'a str> {
        let mut types: BTreeSet<&str> = match self.at.get("type") {
            Some(Value::String(one)) => [one.as_str()].into(),
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ if self.values().is_some() => ["string"].into(),
            _ => return BTreeSet::new(),
        };
        if nullable {
            types.insert("null");
        }
        types
    }

    /// The values of an enumeration, in any of the forms a generator writes.
    fn values(&self) -> Option<BTreeSet<String>> {
        if let Some(values) = self.at.get("enum").and_then(Value::as_array) {
            return Some(values.iter().map(Value::to_string).collect());
        }
        if let Some(value) = self.at.get("const") {
            return Some([value.to_string()].into());
        }
        let options = self.at.get("oneOf").or_else(|| self.at.get("anyOf"))?.as_array()?;
        let mut values = BTreeSet::new();
        for option in options {
            values.extend(Side { root: self.root, at: option }.values()?);
        }
        Some(values)
    }

    fn properties(&self) -> Option<&'a Map<String, Value>> {
        self.at.get("properties").and_then(Value::as_object)
    }

    fn required(&self) -> BTreeSet<&'a str> {
        self.at.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    }
}

fn compare(old: &Side<'_>, new: &Side<'_>, path: &str, changes: &mut Vec<String>) {
    let ((old, old_nullable), (new, new_nullable)) = (old.resolved(), new.resolved());
    let (old_types, new_types) = (old.types(old_nullable), new.types(new_nullable));
    let takes = |kind: &&&str| new_types.contains(**kind) || (**kind == "integer" && new_types.contains("number"));
    let lost: Vec<&str> = old_types.iter().filter(|kind| !new_types.is_empty() && !takes(kind)).copied().collect();
    if !lost.is_empty() {
        changes.push(format!("{path}: the type {} is no longer taken", lost.join(", ")));
        return;
    }
    match (old.values(), new.values()) {
        (Some(old), Some(new)) => changes.extend(old.difference(&new).map(|value| format!("{path}: the value {value} was removed"))),
        (None, Some(_)) => changes.push(format!("{path}: was open and is now an enumeration")),
        (Some(_), None) => changes.push(format!("{path}: was an enumeration and is now open")),
        (None, None) => {}
    }
    for keyword in ["pattern", "format", "maximum", "maxLength", "minLength", "minimum"] {
        let (before, after) = (old.at.get(keyword), new.at.get(keyword));
        let looser = match (keyword, before.and_then(Value::as_f64), after.and_then(Value::as_f64)) {
            ("minimum" | "minLength", Some(before), Some(after)) => after <= before,
            ("maximum" | "maxLength", Some(before), Some(after)) => after >= before,
            _ => false,
        };
        if let Some(after) = after.filter(|_| before != after && !looser) {
            changes.push(format!("{path}: {keyword} {after} refuses what was fine"));
        }
    }
    let closed = |side: &Side<'_>| side.at.get("additionalProperties") == Some(&Value::Bool(false));
    if closed(&new) && !closed(&old) {
        changes.push(format!("{path}: unknown properties are no longer taken"));
    }
    for name in new.required().difference(&old.required()) {
        changes.push(format!("{path}.{name}: is newly required"));
    }
    for name in old.required().difference(&new.required()) {
        changes.push(format!("{path}.{name}: is no longer required, but readers count on it"));
    }
    for (name, old_property) in old.properties().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match new.properties().and_then(|properties| properties.get(name)) {
            Some(new_property) => compare(&Side { root: old.root, at: old_property }, &Side { root: new.root, at: new_property }, &path, changes),
            None => changes.push(format!("{path}: was removed")),
        }
    }
    if let (Some(old_items), Some(new_items)) = (old.at.get("items"), new.at.get("items")) {
        compare(&Side { root: old.root, at: old_items }, &Side { root: new.root, at: new_items }, &format!("{path}[]"), changes);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base() -> Value {
        json!({
            "type": "object", "required": ["id", "price"],
            "properties": {
                "id": {"type": "string"},
                "count": {"type": "integer", "minimum": 0},
                "note": {"type": ["string", "null"]},
                "kind": {"oneOf": [{"const": "a", "type": "string"}, {"const": "b", "type": "string"}]},
                "price": {"$ref": "#/$defs/Money"},
                "perhaps": {"anyOf": [{"$ref": "#/$defs/Money"}, {"type": "null"}]},
                "items": {"type": "array", "items": {"$ref": "#/$defs/Money"}},
            },
            "$defs": {"Money": {"type": "object", "required": ["minor"], "properties": {"minor": {"type": "integer"}}}},
        })
    }

    fn after(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut new = base();
        change(&mut new);
        incompatible_changes(&base(), &new)
    }

    #[test]
    fn breaking_changes_are_found() {
        let removed = |schema: &mut Value| drop(schema["properties"].as_object_mut().unwrap().remove("note"));
        assert_eq!(after(removed), ["data.note: was removed"]);
        assert_eq!(after(|s| s["properties"]["id"] = json!({"type": "integer"})), ["data.id: the type string is no longer taken"]);
        assert_eq!(after(|s| s["properties"]["note"] = json!({"type": "string"})), ["data.note: the type null is no longer taken"]);
        assert_eq!(after(|s| s["required"] = json!(["id", "price", "count"])), ["data.count: is newly required"]);
        assert_eq!(after(|s| s["required"] = json!(["id"])), ["data.price: is no longer required, but readers count on it"]);
        assert_eq!(after(|s| s["properties"]["kind"] = json!({"enum": ["a"]})), ["data.kind: the value \"b\" was removed"]);
        assert_eq!(after(|s| s["properties"]["kind"] = json!({"type": "string"})), ["data.kind: was an enumeration and is now open"]);
        assert_eq!(after(|s| s["properties"]["id"] = json!({"type": "string", "enum": ["x"]})), ["data.id: was open and is now an enumeration"]);
        assert_eq!(after(|s| s["properties"]["count"]["minimum"] = json!(1)), ["data.count: minimum 1 refuses what was fine"]);
        assert_eq!(after(|s| s["properties"]["id"]["pattern"] = json!("^a")), ["data.id: pattern \"^a\" refuses what was fine"]);
        assert_eq!(after(|s| s["additionalProperties"] = json!(false)), ["data: unknown properties are no longer taken"]);
        let through_references = after(|s| s["$defs"]["Money"]["properties"]["minor"] = json!({"type": "string"}));
        assert_eq!(through_references.len(), 3, "price, perhaps and items: {through_references:?}");
        assert_eq!(after(|s| s["properties"]["perhaps"] = json!({"$ref": "#/$defs/Money"})), ["data.perhaps: the type null is no longer taken"]);
    }

    #[test]
    fn harmless_changes_pass() {
        assert_eq!(after(|_| ()), [""; 0]);
        assert_eq!(after(|s| s["properties"]["new"] = json!({"type": "string"})), [""; 0]);
        assert_eq!(after(|s| s["properties"]["id"] = json!({"type": ["string", "null"], "description": "d"})), [""; 0]);
        assert_eq!(after(|s| s["properties"]["kind"] = json!({"enum": ["a", "b", "c"]})), [""; 0]);
        assert_eq!(after(|s| s["properties"]["count"] = json!({"type": "number"})), [""; 0]);
    }
}
