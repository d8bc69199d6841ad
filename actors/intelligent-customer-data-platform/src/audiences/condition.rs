//! [`Condition`]: who is in an audience.

use serde_json::{Map, Value};

/// How deep conditions may be nested.
const DEEPEST: usize = 16;
/// How many parts a condition may have.
const MOST_PARTS: usize = 200;
/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;
/// Longest window: what is older is counted by totals only.
pub(crate) const LONGEST_DAYS: i64 = 400;

/// Why a condition does not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("where{path} {problem}")]
pub struct ConditionError {
    /// The part, as a path.
    path: String,
    /// What is wrong, and what would be right.
    problem: String,
}

/// Who is in an audience.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// All of these hold.
    All(Vec<Condition>),
    /// One of these holds.
    Any(Vec<Condition>),
    /// This does not hold.
    Not(Box<Condition>),
    /// A trait compares so.
    Trait(String, Comparison),
    /// A trait is known, or is not.
    HasTrait(String, bool),
    /// What a person did.
    Event(String, EventTest),
    /// What a person agreed to; without a word about the purpose neither `true` nor `false` holds.
    Consent(String, bool),
}

/// What is asked about events of a name.
#[derive(Clone, Debug, PartialEq)]
pub enum EventTest {
    /// How many there are within so many microseconds; without a window, ever.
    Count(Comparison, Option<i64>),
    /// The sum of a measure.
    Sum(String, Comparison, Option<i64>),
    /// The last one is at most so many microseconds ago.
    LastWithin(i64),
    /// There was one, and the last is longer ago.
    LastOlderThan(i64),
}

/// How a value compares.
#[derive(Clone, Debug, PartialEq)]
pub enum Comparison {
    /// It equals the value.
    Equals(Value),
    /// It is one of the values.
    In(Vec<Value>),
    /// It is a text that has this in it.
    Contains(String),
    /// It is a number so large or larger.
    AtLeast(f64),
    /// It is a number so small or smaller.
    AtMost(f64),
    /// It is a number above.
    Above(f64),
    /// It is a number below.
    Below(f64),
}

impl Comparison {
    /// Whether a value compares so. Text that is no number is never above or below one.
    pub fn holds(&self, value: &Value) -> bool {
        let number = value.as_f64();
        match self {
            Comparison::Equals(wanted) => same(wanted, value),
            Comparison::In(wanted) => wanted.iter().any(|wanted| same(wanted, value)),
            Comparison::Contains(part) => value.as_str().is_some_and(|text| text.contains(part.as_str())),
            Comparison::AtLeast(bound) => number.is_some_and(|number| number >= *bound),
            Comparison::AtMost(bound) => number.is_some_and(|number| number <= *bound),
            Comparison::Above(bound) => number.is_some_and(|number| number > *bound),
            Comparison::Below(bound) => number.is_some_and(|number| number < *bound),
        }
    }
}

/// 1 and 1.0 are the same number.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// The part that does not read.
    pub fn read(value: &Value) -> Result<Self, ConditionError> {
        let mut reader = Reader { path: String::new(), parts: 0 };
        reader.condition(value, 0)
    }

    /// Names the events that it asks about.
    pub fn events(&self) -> Vec<&str> {
        match self {
            Condition::All(parts) | Condition::Any(parts) => parts.iter().flat_map(Condition::events).collect(),
            Condition::Not(part) => part.events(),
            Condition::Event(name, _) => vec![name],
            Condition::Trait(..) | Condition::HasTrait(..) | Condition::Consent(..) => Vec::new(),
        }
    }
}

struct Reader {
    path: String,
    parts: usize,
}

impl Reader {
    fn error<T>(&self, problem: impl Into<String>) -> Result<T, ConditionError> {
        Err(ConditionError { path: self.path.clone(), problem: problem.into() })
    }

    fn condition(&mut self, value: &Value, depth: usize) -> Result<Condition, ConditionError> {
        self.parts += 1;
        if depth > DEEPEST || self.parts > MOST_PARTS {
            return self.error(format!("is too large: at most {MOST_PARTS} parts, {DEEPEST} deep"));
        }
        let Some(object) = value.as_object() else { return self.error("is no object, for example {\"trait\": \"plan\", \"equals\": \"pro\"}") };
        let (name, allowed): (&str, &[&str]) = match object {
            _ if object.contains_key("all") => ("all", &["all"]),
            _ if object.contains_key("any") => ("any", &["any"]),
            _ if object.contains_key("not") => ("not", &["not"]),
            _ if object.contains_key("trait") => ("trait", &["trait", "equals", "in", "contains", "at_least", "at_most", "above", "below", "exists"]),
            _ if object.contains_key("event") => ("event", &["event", "count", "sum", "is", "within", "last"]),
            _ if object.contains_key("consent") => ("consent", &["consent", "granted"]),
            _ => return self.error("has none of all, any, not, trait, event, consent"),
        };
        if let Some(unknown) = object.keys().find(|key| !allowed.contains(&key.as_str())) {
            return self.error(format!("has \"{unknown}\", which {name} does not take; it takes {}", allowed.join(", ")));
        }
        match name {
            "all" => self.parts_of(object, "all", depth).map(Condition::All),
            "any" => self.parts_of(object, "any", depth).map(Condition::Any),
            "not" => self.within(".not", |reader| reader.condition(&object["not"], depth + 1)).map(|part| Condition::Not(Box::new(part))),
            "trait" => self.of_trait(object),
            "event" => self.of_event(object),
            _ => {
                let purpose = self.text(object, "consent")?;
                match object.get("granted") {
                    None => Ok(Condition::Consent(purpose, true)),
                    Some(Value::Bool(granted)) => Ok(Condition::Consent(purpose, *granted)),
                    Some(_) => self.error(".granted is neither true nor false"),
                }
            }
        }
    }

    fn within<T>(&mut self, step: &str, read: impl FnOnce(&mut Self) -> Result<T, ConditionError>) -> Result<T, ConditionError> {
        let length = self.path.len();
        self.path.push_str(step);
        let result = read(self)?;
        self.path.truncate(length);
        Ok(result)
    }

    fn parts_of(&mut self, object: &Map<String, Value>, name: &str, depth: usize) -> Result<Vec<Condition>, ConditionError> {
        let Some(parts) = object[name].as_array().filter(|parts| !parts.is_empty()) else { return self.error(format!(".{name} is no list of conditions")) };
        parts.iter().enumerate().map(|(at, part)| self.within(&format!(".{name}[{at}]"), |reader| reader.condition(part, depth + 1))).collect()
    }

    fn text(&self, object: &Map<String, Value>, name: &str) -> Result<String, ConditionError> {
        match object[name].as_str().filter(|text| !text.is_empty()) {
            Some(text) => Ok(text.to_owned()),
            None => self.error(format!(".{name} is no name")),
        }
    }

    fn of_trait(&self, object: &Map<String, Value>) -> Result<Condition, ConditionError> {
        let name = self.text(object, "trait")?;
        let tests: Vec<(&String, &Value)> = object.iter().filter(|(key, _)| *key != "trait").collect();
        match tests.as_slice() {
            [(key, Value::Bool(known))] if *key == "exists" => Ok(Condition::HasTrait(name, *known)),
            [(key, value)] if *key != "exists" => Ok(Condition::Trait(name, self.comparison(key, value)?)),
            _ => self.error("needs one of equals, in, contains, at_least, at_most, above, below, exists"),
        }
    }

    fn of_event(&self, object: &Map<String, Value>) -> Result<Condition, ConditionError> {
        let name = self.text(object, "event")?;
        let window = object.get("within").map(|value| self.duration("within", value)).transpose()?;
        let test = match (object.get("count"), object.get("sum"), object.get("last")) {
            (None, None, None) => EventTest::Count(Comparison::AtLeast(1.0), window),
            (Some(count), None, None) => EventTest::Count(self.one_comparison("count", count)?, window),
            (None, Some(_), None) => {
                let Some(is) = object.get("is") else { return self.error("has a sum and no \"is\", for example {\"at_least\": 100}") };
                EventTest::Sum(self.text(object, "sum")?, self.one_comparison("is", is)?, window)
            }
            (None, None, Some(last)) if window.is_none() => match last.as_object().map(|last| last.iter().collect::<Vec<_>>()).as_deref() {
                Some([(key, value)]) if *key == "within" => EventTest::LastWithin(self.duration("last.within", value)?),
                Some([(key, value)]) if *key == "older_than" => EventTest::LastOlderThan(self.duration("last.older_than", value)?),
                _ => return self.error(".last needs one of within, older_than"),
            },
            _ => return self.error("takes one of count, sum, last"),
        };
        Ok(Condition::Event(name, test))
    }

    fn one_comparison(&self, name: &str, value: &Value) -> Result<Comparison, ConditionError> {
        match value.as_object().map(|object| object.iter().collect::<Vec<_>>()).as_deref() {
            Some([(key, value)]) => self.comparison(key, value),
            _ => self.error(format!(".{name} needs one comparison, for example {{\"at_least\": 3}}")),
        }
    }

    fn comparison(&self, key: &str, value: &Value) -> Result<Comparison, ConditionError> {
        let number = || value.as_f64().map_or_else(|| self.error(format!(".{key} is no number")), Ok);
        match key {
            "equals" if !value.is_object() && !value.is_array() => Ok(Comparison::Equals(value.clone())),
            "in" => value.as_array().map_or_else(|| self.error(".in is no list"), |values| Ok(Comparison::In(values.clone()))),
            "contains" => value.as_str().map_or_else(|| self.error(".contains is no text"), |text| Ok(Comparison::Contains(text.to_owned()))),
            "at_least" => number().map(Comparison::AtLeast),
            "at_most" => number().map(Comparison::AtMost),
            "above" => number().map(Comparison::Above),
            "below" => number().map(Comparison::Below),
            _ => self.error(format!(".{key} is no comparison")),
        }
    }

    /// `30d`, `12h`, `15m`, `90s`.
    fn duration(&self, name: &str, value: &Value) -> Result<i64, ConditionError> {
        let read = value.as_str().and_then(|text| {
            let unit = match text.chars().last()? {
                'd' => DAY,
                'h' => DAY / 24,
                'm' => 60_000_000,
                's' => 1_000_000,
                _ => return None,
            };
            text[..text.len() - 1].parse::<i64>().ok()?.checked_mul(unit)
        });
        match read.filter(|micros| (1..=LONGEST_DAYS * DAY).contains(micros)) {
            Some(micros) => Ok(micros),
            None => self.error(format!(".{name} is no time such as 30d, 12h, 15m or 90s; at most {LONGEST_DAYS}d")),
        }
    }
}
