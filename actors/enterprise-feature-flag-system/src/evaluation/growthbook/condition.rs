//! GrowthBook's conditions: MongoDB's query language, compared as JavaScript compares.

use std::borrow::Cow;
use std::cmp::Ordering;

use hashbrown::HashSet;
use regex::Regex;
use smallvec::SmallVec;

use super::groups::Groups;
use super::js::{compare, compare_texts, padded_version, same, to_number, to_text, type_name};
use super::regex::{compile as compile_regex, units};
use crate::evaluation::value::{Object, Value};

/// A compiled condition: all clauses must hold.
#[derive(Clone, Debug, Default)]
pub struct Condition(Box<[Clause]>);

#[derive(Clone, Debug)]
enum Clause {
    Or(Box<[Condition]>),
    Nor(Box<[Condition]>),
    And(Box<[Condition]>),
    Not(Condition),
    /// Membership in a saved group, by the attribute named here or else by the group's own.
    Group {
        id: Box<str>,
        attribute: Option<Path>,
    },
    Never,
    Attribute(Path, Test),
}

/// A dotted path into the attributes.
pub(super) type Path = Box<[Box<str>]>;

/// What one value must be.
#[derive(Clone, Debug)]
enum Test {
    Text(Box<str>),
    /// Without regard to letters' case; the text is in lower case.
    Folded(Box<str>),
    Number(f64),
    Bool(bool),
    Null,
    /// The same JSON.
    Json(Value<'static>),
    /// All of these.
    All(Box<[Operator]>),
}

#[derive(Clone, Debug)]
enum Operator {
    Version { padded: Box<str>, wanted: Wanted },
    Same { value: Value<'static>, wanted: bool },
    Order { value: Value<'static>, wanted: Wanted },
    Exists(bool),
    In { members: Members, wanted: bool },
    InGroup { id: Box<str>, wanted: bool },
    Not(Test),
    Size(Test),
    Element(Element),
    Every(Box<[Test]>),
    Regex(Box<Regex>),
    Type(Box<str>),
    Never,
}

#[derive(Clone, Debug)]
enum Element {
    Value(Test),
    Object(Condition),
}

#[derive(Clone, Copy, Debug)]
enum Wanted {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Wanted {
    fn holds(self, found: Ordering) -> bool {
        match self {
            Self::Equal => found.is_eq(),
            Self::NotEqual => found.is_ne(),
            Self::Less => found.is_lt(),
            Self::LessOrEqual => found.is_le(),
            Self::Greater => found.is_gt(),
            Self::GreaterOrEqual => found.is_ge(),
        }
    }
}

/// A list that a value may be in.
#[derive(Clone, Debug)]
pub(super) struct Members {
    texts: HashSet<Box<str>>,
    numbers: Box<[f64]>,
    null: bool,
    bools: [bool; 2],
    folded: bool,
}

impl Members {
    pub(super) fn new(items: &[Value<'_>], folded: bool) -> Self {
        let mut members = Self { texts: HashSet::new(), numbers: Box::default(), null: false, bools: [false; 2], folded };
        let mut numbers = Vec::new();
        for item in items {
            match item {
                Value::Null => members.null = true,
                Value::Bool(bool) => members.bools[usize::from(*bool)] = true,
                Value::Number(number) => numbers.push(*number),
                Value::String(text) => {
                    let text = if folded { text.to_lowercase() } else { text.clone().into_owned() };
                    members.texts.insert(text.into_boxed_str());
                }
                // Two objects are never one.
                Value::Array(_) | Value::Object(_) => {}
            }
        }
        numbers.sort_by(f64::total_cmp);
        members.numbers = numbers.into();
        members
    }

    /// Whether the value is in the list or, if it is an array, any of its items is.
    pub(super) fn contain(&self, value: &Value<'_>) -> bool {
        match value {
            Value::Array(items) => items.iter().any(|item| self.contain_one(item)),
            value => self.contain_one(value),
        }
    }

    fn contain_one(&self, value: &Value<'_>) -> bool {
        match value {
            Value::Null => self.null,
            Value::Bool(bool) => self.bools[usize::from(*bool)],
            // -0 is 0: adding 0 makes it so.
            Value::Number(number) => self.numbers.binary_search_by(|known| (known + 0.0).total_cmp(&(number + 0.0))).is_ok(),
            Value::String(text) if self.folded => self.texts.contains(lower(text).as_ref()),
            Value::String(text) => self.texts.contains(text.as_ref()),
            Value::Array(_) | Value::Object(_) => false,
        }
    }
}

/// What a condition is evaluated with.
pub(super) struct Scope<'s> {
    pub(super) groups: &'s Groups,
    /// Groups that are being resolved, so that one that refers to itself holds for nobody.
    pub(super) visited: SmallVec<[&'s str; 4]>,
}

impl<'s> Scope<'s> {
    pub(super) fn new(groups: &'s Groups) -> Self {
        Self { groups, visited: SmallVec::new() }
    }
}

impl Condition {
    /// Compiles a condition. What is not understood holds for nobody.
    pub fn compile(source: &Value<'_>) -> Self {
        let of_list = |items: &[Value<'_>]| Self(items.iter().enumerate().map(|(place, item)| Clause::compile(&place.to_string(), item)).collect());
        match source {
            Value::Object(source) => Self(source.iter().map(|(key, value)| Clause::compile(key, value)).collect()),
            // Lists and texts have their places for keys.
            Value::Array(items) => of_list(items),
            Value::String(text) => of_list(&characters(text)),
            _ => Self::default(),
        }
    }

    pub(super) fn holds<'s>(&'s self, attributes: &Value<'_>, scope: &mut Scope<'s>) -> bool {
        self.0.iter().all(|clause| clause.holds(attributes, scope))
    }
}

impl Clause {
    fn compile(key: &str, value: &Value<'_>) -> Self {
        let conditions = || match value {
            Value::String(text) => characters(text).iter().map(Condition::compile).collect(),
            value => value.as_array().unwrap_or_default().iter().map(Condition::compile).collect(),
        };
        match key {
            "$or" => Self::Or(conditions()),
            "$nor" => Self::Nor(conditions()),
            "$and" => Self::And(conditions()),
            "$not" => Self::Not(Condition::compile(value)),
            "$savedGroup" => match (value.get("id"), value.get("attributeKey")) {
                (Some(Value::String(id)), None) => Self::Group { id: id.as_ref().into(), attribute: None },
                (Some(Value::String(id)), Some(Value::String(key))) => Self::Group { id: id.as_ref().into(), attribute: Some(path(key)) },
                _ => Self::Never,
            },
            _ => Self::Attribute(path(key), Test::compile(value, false)),
        }
    }

    fn holds<'s>(&'s self, attributes: &Value<'_>, scope: &mut Scope<'s>) -> bool {
        let any =
            |conditions: &'s [Condition], scope: &mut Scope<'s>| conditions.is_empty() || conditions.iter().any(|condition| condition.holds(attributes, scope));
        match self {
            Self::Or(conditions) => any(conditions, scope),
            Self::Nor(conditions) => !any(conditions, scope),
            Self::And(conditions) => conditions.iter().all(|condition| condition.holds(attributes, scope)),
            Self::Not(condition) => !condition.holds(attributes, scope),
            Self::Group { id, attribute } => scope.groups.holds(id, attribute.as_deref(), attributes, scope),
            Self::Never => false,
            Self::Attribute(path, test) => with(attributes, path, |value| test.holds(value, scope)),
        }
    }
}

/// A text's UTF-16 units, which JavaScript takes for its items.
fn characters(text: &str) -> Vec<Value<'static>> {
    text.encode_utf16().map(|unit| Value::String(String::from_utf16_lossy(&[unit]).into())).collect()
}

/// A dotted path.
pub(super) fn path(text: &str) -> Path {
    text.split('.').map(Box::from).collect()
}

/// Calls with the value at a path; with `null` if there is none.
pub(super) fn with<T>(attributes: &Value<'_>, path: &[Box<str>], call: impl FnOnce(&Value<'_>) -> T) -> T {
    let mut value = attributes;
    for (depth, part) in path.iter().enumerate() {
        let next = match value {
            Value::Object(object) => object.get(part),
            #[allow(clippy::cast_precision_loss)]
            Value::Array(items) if part.as_ref() == "length" && depth + 1 == path.len() => return call(&Value::Number(items.len() as f64)),
            Value::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        };
        match next {
            Some(next) => value = next,
            None => return call(&Value::Null),
        }
    }
    call(value)
}

/// Whether all keys are operators, and there is one.
fn is_operators(object: &Object<'_>) -> bool {
    !object.is_empty() && object.iter().all(|(key, _)| key.starts_with('$'))
}

impl Test {
    fn compile(source: &Value<'_>, folded: bool) -> Self {
        match source {
            Value::String(text) if folded => Self::Folded(text.to_lowercase().into()),
            Value::String(text) => Self::Text(text.as_ref().into()),
            Value::Number(number) => Self::Number(*number),
            Value::Bool(bool) => Self::Bool(*bool),
            Value::Null => Self::Null,
            Value::Object(object) if is_operators(object) => Self::All(object.iter().map(|(operator, value)| Operator::compile(operator, value)).collect()),
            Value::Array(_) | Value::Object(_) => Self::Json(source.clone().into_owned()),
        }
    }

    fn holds<'s>(&'s self, value: &Value<'_>, scope: &mut Scope<'s>) -> bool {
        match self {
            Self::Text(text) => match value {
                Value::String(value) => value == text.as_ref(),
                value => to_text(value) == text.as_ref(),
            },
            Self::Folded(text) => lower(&to_text(value)) == text.as_ref(),
            Self::Number(number) => to_number(value) == *number,
            Self::Bool(bool) => *value != Value::Null && value.is_truthy() == *bool,
            Self::Null => *value == Value::Null,
            Self::Json(json) => value == json,
            Self::All(operators) => operators.iter().all(|operator| operator.holds(value, scope)),
        }
    }
}

impl Operator {
    fn compile(operator: &str, value: &Value<'_>) -> Self {
        let owned = || value.clone().into_owned();
        let version = |wanted| Self::Version { padded: padded_version(value).into(), wanted };
        let order = |wanted| Self::Order { value: owned(), wanted };
        let list = |folded, wanted| value.as_array().map_or(Self::Never, |items| Self::In { members: Members::new(items, folded), wanted });
        let every = |folded| value.as_array().map_or(Self::Never, |items| Self::Every(items.iter().map(|item| Test::compile(item, folded)).collect()));
        let regex = |folded| match value {
            Value::String(source) => compile_regex(source, folded).map_or(Self::Never, |regex| Self::Regex(Box::new(regex))),
            _ => Self::Never,
        };
        match operator {
            "$veq" => version(Wanted::Equal),
            "$vne" => version(Wanted::NotEqual),
            "$vgt" => version(Wanted::Greater),
            "$vgte" => version(Wanted::GreaterOrEqual),
            "$vlt" => version(Wanted::Less),
            "$vlte" => version(Wanted::LessOrEqual),
            "$eq" => Self::Same { value: owned(), wanted: true },
            "$ne" => Self::Same { value: owned(), wanted: false },
            "$lt" => order(Wanted::Less),
            "$lte" => order(Wanted::LessOrEqual),
            "$gt" => order(Wanted::Greater),
            "$gte" => order(Wanted::GreaterOrEqual),
            "$exists" => Self::Exists(value.is_truthy()),
            "$in" => list(false, true),
            "$ini" => list(true, true),
            "$nin" => list(false, false),
            "$nini" => list(true, false),
            "$inGroup" => Self::InGroup { id: to_text(value).into(), wanted: true },
            "$notInGroup" => Self::InGroup { id: to_text(value).into(), wanted: false },
            "$not" => Self::Not(Test::compile(value, false)),
            "$size" => Self::Size(Test::compile(value, false)),
            "$elemMatch" => match value {
                Value::Object(object) if is_operators(object) => Self::Element(Element::Value(Test::compile(value, false))),
                Value::Object(_) => Self::Element(Element::Object(Condition::compile(value))),
                _ => Self::Never,
            },
            "$all" => every(false),
            "$alli" => every(true),
            "$regex" => regex(false),
            "$regexi" => regex(true),
            "$type" => value.as_str().map_or(Self::Never, |name| Self::Type(name.into())),
            _ => Self::Never,
        }
    }

    fn holds<'s>(&'s self, value: &Value<'_>, scope: &mut Scope<'s>) -> bool {
        match self {
            Self::Version { padded, wanted } => wanted.holds(compare_texts(&padded_version(value), padded)),
            Self::Same { value: known, wanted } => same(value, known) == *wanted,
            Self::Order { value: known, wanted } => compare(value, known).is_some_and(|found| wanted.holds(found)),
            Self::Exists(wanted) => (*value != Value::Null) == *wanted,
            Self::In { members, wanted } => members.contain(value) == *wanted,
            Self::InGroup { id, wanted } => scope.groups.list(id).is_some_and(|members| members.is_some_and(|members| members.contain(value)) == *wanted),
            Self::Not(test) => !test.holds(value, scope),
            #[allow(clippy::cast_precision_loss)]
            Self::Size(test) => value.as_array().is_some_and(|items| test.holds(&Value::Number(items.len() as f64), scope)),
            Self::Element(element) => value.as_array().is_some_and(|items| {
                items.iter().filter(|item| **item != Value::Null).any(|item| match element {
                    Element::Value(test) => test.holds(item, scope),
                    Element::Object(condition) => condition.holds(item, scope),
                })
            }),
            Self::Every(tests) => value.as_array().is_some_and(|items| tests.iter().all(|test| items.iter().any(|item| test.holds(item, scope)))),
            Self::Regex(regex) => match value {
                Value::String(text) => regex.is_match(&units(text)),
                value => regex.is_match(&units(&to_text(value))),
            },
            Self::Type(name) => type_name(value) == name.as_ref(),
            Self::Never => false,
        }
    }
}

/// A text in lower case, borrowed where it is.
pub(super) fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) }
}
