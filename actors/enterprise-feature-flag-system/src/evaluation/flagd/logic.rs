//! JSONLogic's comparisons, arithmetic and texts as flagd's JavaScript core computes them: the engine's own take null for an empty text, do not order texts,
//! and leave null out of `cat`, so that a `fractional` would split people otherwise than their SDK.

use std::borrow::Cow;
use std::cmp::Ordering;

use bumpalo::Bump;
use datalogic_rs::datavalue::NumberValue;
use datalogic_rs::operator::EvalContext;
use datalogic_rs::{ArenaExt, CustomOperator, DataValue, EngineBuilder, Error, Result};

use crate::evaluation::growthbook::{compare_texts, text_to_number};
use crate::evaluation::value::{Object, Value};

/// The operator that stands for a variable with a default.
const DEFAULT: &str = "js_default";

/// What iterators go over: nothing where there is no list.
const LIST: &str = "js_list";

/// Whether a value is nothing to go over, for which `all` holds.
const NOTHING: &str = "js_nothing";

/// The operators, by the name that the engine knows them by. Behind each stands what computes it.
type Operation = for<'a> fn(&[&'a DataValue<'a>], &'a Bump) -> Result<&'a DataValue<'a>>;

const OPERATIONS: [(&str, &str, Operation); 20] = [
    ("==", "js_equal", |args, arena| chain(args, arena, |a, b| loosely(a, b).map(|found| found == Some(Ordering::Equal)))),
    ("!=", "js_unequal", |args, arena| chain(args, arena, |a, b| loosely(a, b).map(|found| found != Some(Ordering::Equal)))),
    ("<", "js_less", |args, arena| chain(args, arena, |a, b| sized(a, b).map(|found| found.is_some_and(Ordering::is_lt)))),
    ("<=", "js_less_or_equal", |args, arena| chain(args, arena, |a, b| sized(a, b).map(|found| found.is_some_and(Ordering::is_le)))),
    (">", "js_greater", |args, arena| chain(args, arena, |a, b| sized(a, b).map(|found| found.is_some_and(Ordering::is_gt)))),
    (">=", "js_greater_or_equal", |args, arena| chain(args, arena, |a, b| sized(a, b).map(|found| found.is_some_and(Ordering::is_ge)))),
    ("===", "js_same", |args, arena| chain(args, arena, |a, b| Ok(same(a, b)))),
    ("!==", "js_other", |args, arena| chain(args, arena, |a, b| Ok(!same(a, b)))),
    ("+", "js_add", |args, arena| reckoned(args, arena, 0, |numbers| Ok(numbers.iter().sum()))),
    ("-", "js_subtract", |args, arena| reckoned(args, arena, 1, |numbers| Ok(if let [one] = numbers { -one } else { folded(numbers, |a, b| a - b) }))),
    ("*", "js_multiply", |args, arena| reckoned(args, arena, 0, |numbers| Ok(numbers.iter().product()))),
    ("/", "js_divide", |args, arena| reckoned(args, arena, 1, divided)),
    ("%", "js_remainder", |args, arena| reckoned(args, arena, 2, |numbers| Ok(folded(numbers, |a, b| a % b)))),
    ("cat", "js_cat", |args, arena| Ok(arena.string(&args.iter().map(|value| text(value)).collect::<String>()))),
    ("", "js_cat_without_null", |args, arena| Ok(arena.string(&walked_cat(args)?))),
    ("in", "js_in", |args, arena| Ok(arena.bool(is_in(args)?))),
    ("max", "js_max", |args, arena| reckoned(only_numbers(args)?, arena, 1, |numbers| Ok(folded(numbers, f64::max)))),
    ("min", "js_min", |args, arena| reckoned(only_numbers(args)?, arena, 1, |numbers| Ok(folded(numbers, f64::min)))),
    ("merge", "js_merge", |args, arena| Ok(merged(args, arena))),
    ("substr", "js_substr", |args, arena| Ok(arena.string(&substr(args)?))),
];

/// Comparisons whose second side is a variable alone. There that core looks only at the variable for whether both can be compared, so that a text beside a
/// number is no error, and null is equal to nothing but null.
const BESIDE_VARIABLES: [(&str, &str, Operation); 6] = [
    ("==", "js_equal_variable", |args, arena| beside(args, arena, equal)),
    ("!=", "js_unequal_variable", |args, arena| beside(args, arena, |a, b| !equal(a, b))),
    ("<", "js_less_variable", |args, arena| beside(args, arena, |a, b| order(a, b).is_some_and(Ordering::is_lt))),
    ("<=", "js_less_or_equal_variable", |args, arena| beside(args, arena, |a, b| order(a, b).is_some_and(Ordering::is_le))),
    (">", "js_greater_variable", |args, arena| beside(args, arena, |a, b| order(a, b).is_some_and(Ordering::is_gt))),
    (">=", "js_greater_or_equal_variable", |args, arena| beside(args, arena, |a, b| order(a, b).is_some_and(Ordering::is_ge))),
];

/// How that core computes a part of a rule: it compiles rules, but what stands under an `if` without an `else` it walks through, with other answers about
/// null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Compiled,
    Walked,
}

impl Mode {
    /// The mode of an operation and what is below it.
    pub(super) fn within(self, operator: &str, arguments: &Value<'_>) -> Self {
        let compiled = !matches!(operator, "if" | "?:") || arguments.as_array().is_some_and(|parts| parts.len() > 2);
        if compiled { self } else { Self::Walked }
    }
}

/// An operation as the engine takes it: its name there, and its arguments.
pub(super) fn as_operation<'v>(operator: &str, arguments: Value<'v>, mode: Mode) -> (Cow<'v, str>, Value<'v>) {
    let name = |name: &'static str| Cow::Borrowed(name);
    match (operator, arguments) {
        // What is constant is walked through as well.
        ("cat", arguments) if mode == Mode::Walked || is_constant(&arguments) => (name("js_cat_without_null"), arguments),
        // A variable's default also stands for null.
        ("var", Value::Array(parts)) if parts.len() > 1 && mode == Mode::Compiled => {
            let mut parts = parts.into_iter();
            let path = object("var", parts.next().into_iter().collect());
            (name(DEFAULT), Value::Array(std::iter::once(path).chain(parts.next()).collect()))
        }
        ("all", Value::Array(parts)) if parts.len() == 2 && mode == Mode::Compiled => {
            let test = object(NOTHING, vec![parts[0].clone()]);
            (name("if"), Value::Array(vec![test, Value::Bool(true), object("all", listed(parts))]))
        }
        (operator @ ("map" | "filter" | "some" | "none" | "all" | "reduce"), Value::Array(parts)) => {
            (Cow::Owned(operator.to_owned()), Value::Array(listed(parts)))
        }
        (operator, arguments) => {
            let found =
                |operations: &'static [(&str, &str, Operation)]| operations.iter().find(|(known, ..)| *known == operator).map(|(_, engine, _)| name(engine));
            let beside_variable = mode == Mode::Compiled && matches!(&arguments, Value::Array(items) if items.len() == 2 && is_variable(&items[1]));
            let found = Some(&BESIDE_VARIABLES[..]).filter(|_| beside_variable).and_then(found).or_else(|| found(&OPERATIONS));
            (found.unwrap_or_else(|| Cow::Owned(operator.to_owned())), arguments)
        }
    }
}

fn object<'v>(operator: &'static str, arguments: Vec<Value<'v>>) -> Value<'v> {
    Value::Object(Object::new(vec![(Cow::Borrowed(operator), Value::Array(arguments))]))
}

/// The arguments of an iterator, its list made one.
fn listed(mut parts: Vec<Value<'_>>) -> Vec<Value<'_>> {
    if let Some(first) = parts.first_mut() {
        *first = object(LIST, vec![std::mem::replace(first, Value::Null)]);
    }
    parts
}

fn is_constant(rule: &Value<'_>) -> bool {
    match rule {
        Value::Object(_) => false,
        Value::Array(items) => items.iter().all(is_constant),
        _ => true,
    }
}

/// Whether a resolved rule is a variable.
fn is_variable(rule: &Value<'_>) -> bool {
    rule.as_object().is_some_and(|rule| rule.len() == 1 && (rule.get("var").is_some() || rule.get(DEFAULT).is_some()))
}

/// Adds these operators to an engine.
pub(super) fn with_operators(builder: EngineBuilder) -> EngineBuilder {
    let builder = builder.add_operator(DEFAULT, Operator(or_default)).add_operator(LIST, Operator(list)).add_operator(NOTHING, Operator(nothing));
    OPERATIONS.iter().chain(&BESIDE_VARIABLES).fold(builder, |builder, (_, name, operation)| builder.add_operator(*name, Operator(*operation)))
}

struct Operator(Operation);

impl CustomOperator for Operator {
    fn evaluate<'a>(&self, args: &[&'a DataValue<'a>], _context: &mut EvalContext<'_, 'a>, arena: &'a Bump) -> Result<&'a DataValue<'a>> {
        (self.0)(args, arena)
    }
}

fn refused() -> Error {
    Error::arithmetic_error("not a number")
}

/// Whether each argument stands in a relation to the next.
fn chain<'a>(args: &[&DataValue<'_>], arena: &'a Bump, holds: impl Fn(&DataValue<'_>, &DataValue<'_>) -> Result<bool>) -> Result<&'a DataValue<'a>> {
    if args.len() < 2 {
        return Err(refused());
    }
    for pair in args.windows(2) {
        if !holds(pair[0], pair[1])? {
            return Ok(arena.bool(false));
        }
    }
    Ok(arena.bool(true))
}

/// `Number(value)`; an error for objects and arrays, whose number nobody means.
fn number(value: &DataValue<'_>) -> Result<f64> {
    Ok(match value {
        DataValue::Null => 0.0,
        DataValue::Bool(bool) => f64::from(u8::from(*bool)),
        #[allow(clippy::cast_precision_loss)]
        DataValue::Number(NumberValue::Integer(number)) => *number as f64,
        DataValue::Number(NumberValue::Float(number)) => *number,
        DataValue::String(text) => text_to_number(text),
        _ => return Err(refused()),
    })
}

/// Both numbers of a comparison where not both sides are texts or null: a text that is no number is an error.
fn numbers(a: &DataValue<'_>, b: &DataValue<'_>) -> Result<(f64, f64)> {
    let (left, right) = (number(a)?, number(b)?);
    if left.is_nan() || right.is_nan() { Err(refused()) } else { Ok((left, right)) }
}

/// How `==` sees two values. Null is 0 and false, unlike in JavaScript itself, but no text.
fn loosely(a: &DataValue<'_>, b: &DataValue<'_>) -> Result<Option<Ordering>> {
    Ok(match (a, b) {
        (DataValue::Null, DataValue::Null) => Some(Ordering::Equal),
        (DataValue::String(a), DataValue::String(b)) => Some(a.cmp(b)),
        (DataValue::Null, DataValue::String(_)) | (DataValue::String(_), DataValue::Null) => None,
        _ => {
            let (left, right) = numbers(a, b)?;
            left.partial_cmp(&right)
        }
    })
}

/// How `<` and `>` see two values; texts by their UTF-16 units.
fn sized(a: &DataValue<'_>, b: &DataValue<'_>) -> Result<Option<Ordering>> {
    Ok(match (a, b) {
        (DataValue::String(a), DataValue::String(b)) => Some(compare_texts(a, b)),
        (DataValue::Null | DataValue::String(_), DataValue::Null | DataValue::String(_)) => number(a)?.partial_cmp(&number(b)?),
        _ => {
            let (left, right) = numbers(a, b)?;
            left.partial_cmp(&right)
        }
    })
}

fn beside<'a>(args: &[&DataValue<'_>], arena: &'a Bump, holds: impl Fn(&DataValue<'_>, &DataValue<'_>) -> bool) -> Result<&'a DataValue<'a>> {
    let [a, b] = args else { return Err(refused()) };
    if matches!(b, DataValue::Array(_) | DataValue::Object(_)) {
        return Err(refused());
    }
    Ok(arena.bool(holds(a, b)))
}

/// A value as JavaScript compares it with a text or a number: a list or an object is written out.
fn primitive<'v>(value: &'v DataValue<'_>) -> (Option<Cow<'v, str>>, f64) {
    match value {
        DataValue::String(_) | DataValue::Array(_) | DataValue::Object(_) => {
            let text = text(value);
            let number = text_to_number(&text);
            (Some(text), number)
        }
        value => (None, number(value).unwrap_or(f64::NAN)),
    }
}

/// JavaScript's `==` with what is no list or object.
fn equal(a: &DataValue<'_>, b: &DataValue<'_>) -> bool {
    match (a, b) {
        (DataValue::Null, DataValue::Null) => true,
        (DataValue::Null, _) | (_, DataValue::Null) => false,
        _ => match (primitive(a), primitive(b)) {
            ((Some(a), _), (Some(b), _)) => a == b,
            ((_, a), (_, b)) => a == b,
        },
    }
}

/// How JavaScript's `<` and `>` see two values.
fn order(a: &DataValue<'_>, b: &DataValue<'_>) -> Option<Ordering> {
    match (primitive(a), primitive(b)) {
        ((Some(a), _), (Some(b), _)) => Some(compare_texts(&a, &b)),
        ((_, a), (_, b)) => a.partial_cmp(&b),
    }
}

/// The value of a variable, or its default.
fn or_default<'a>(args: &[&'a DataValue<'a>], _arena: &'a Bump) -> Result<&'a DataValue<'a>> {
    let value = |place: usize| args.get(place).copied().unwrap_or(&DataValue::Null);
    Ok(if matches!(value(0), DataValue::Null) { value(1) } else { value(0) })
}

fn is_nothing(value: &DataValue<'_>) -> bool {
    match value {
        DataValue::Null | DataValue::Bool(false) => true,
        DataValue::Number(_) => number(value).is_ok_and(|number| number == 0.0),
        DataValue::String(text) => text.is_empty(),
        _ => false,
    }
}

fn nothing<'a>(args: &[&'a DataValue<'a>], arena: &'a Bump) -> Result<&'a DataValue<'a>> {
    Ok(arena.bool(args.first().is_none_or(|value| is_nothing(value))))
}

fn list<'a>(args: &[&'a DataValue<'a>], arena: &'a Bump) -> Result<&'a DataValue<'a>> {
    match args.first() {
        Some(found @ DataValue::Array(_)) => Ok(found),
        Some(value) if !is_nothing(value) => Err(Error::type_error("not a list")),
        _ => Ok(arena.array(&[])),
    }
}

/// Lists put together, one level deep; null stays.
fn merged<'a>(args: &[&'a DataValue<'a>], arena: &'a Bump) -> &'a DataValue<'a> {
    let items = args.iter().flat_map(|value| match value {
        DataValue::Array(items) => *items,
        value => std::slice::from_ref(*value),
    });
    arena.array(&items.copied().collect::<Vec<_>>())
}

/// `===`: arrays and objects are the same only if they are one.
fn same(a: &DataValue<'_>, b: &DataValue<'_>) -> bool {
    match (a, b) {
        (DataValue::Null, DataValue::Null) => true,
        (DataValue::Bool(a), DataValue::Bool(b)) => a == b,
        (DataValue::Number(_), DataValue::Number(_)) => number(a).ok() == number(b).ok(),
        (DataValue::String(a), DataValue::String(b)) => a == b,
        (DataValue::Array(a), DataValue::Array(b)) => !a.is_empty() && std::ptr::eq(*a, *b),
        (DataValue::Object(a), DataValue::Object(b)) => !a.is_empty() && std::ptr::eq(*a, *b),
        _ => false,
    }
}

/// Arithmetic: what is no number is an error.
fn reckoned<'a>(args: &[&DataValue<'_>], arena: &'a Bump, least: usize, operation: impl Fn(&[f64]) -> Result<f64>) -> Result<&'a DataValue<'a>> {
    let numbers: smallvec::SmallVec<[f64; 4]> = args.iter().map(|value| number(value)).collect::<Result<_>>()?;
    if numbers.len() < least {
        return Err(refused());
    }
    let found = operation(&numbers)?;
    if found.is_nan() { Err(refused()) } else { Ok(arena.alloc(DataValue::Number(NumberValue::from_f64(found)))) }
}

/// The arguments, where nothing has to be made a number first.
fn only_numbers<'s, 'a>(args: &'s [&'a DataValue<'a>]) -> Result<&'s [&'a DataValue<'a>]> {
    if args.iter().all(|value| matches!(value, DataValue::Number(_))) { Ok(args) } else { Err(refused()) }
}

fn folded(numbers: &[f64], operation: impl Fn(f64, f64) -> f64) -> f64 {
    numbers.iter().copied().reduce(operation).unwrap_or(f64::NAN)
}

fn divided(numbers: &[f64]) -> Result<f64> {
    let (first, divisors) = match numbers {
        [one] => (1.0, std::slice::from_ref(one)),
        [first, divisors @ ..] => (*first, divisors),
        [] => return Err(refused()),
    };
    if divisors.contains(&0.0) { Err(refused()) } else { Ok(divisors.iter().fold(first, |a, b| a / b)) }
}

/// `String(value)`.
pub(super) fn text<'v>(value: &'v DataValue<'_>) -> Cow<'v, str> {
    match value {
        DataValue::String(text) => Cow::Borrowed(text),
        DataValue::Null => Cow::Borrowed("null"),
        DataValue::Bool(true) => Cow::Borrowed("true"),
        DataValue::Bool(false) => Cow::Borrowed("false"),
        DataValue::Number(_) => Cow::Owned(ryu_js::Buffer::new().format(number(value).unwrap_or(f64::NAN)).to_owned()),
        DataValue::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| if matches!(item, DataValue::Null) { Cow::Borrowed("") } else { text(item) }).collect();
            Cow::Owned(items.join(","))
        }
        _ => Cow::Borrowed("[object Object]"),
    }
}

/// `cat` where rules are walked through: null is left out, and one argument stands for itself.
fn walked_cat(args: &[&DataValue<'_>]) -> Result<String> {
    let written = |value: &DataValue<'_>| if matches!(value, DataValue::Null) { String::new() } else { text(value).into_owned() };
    match args {
        [DataValue::Null] => Err(Error::type_error("nothing to write")),
        [DataValue::Array(items)] => Ok(items.iter().map(written).collect()),
        args => Ok(args.iter().map(|value| written(value)).collect()),
    }
}

/// Whether a list has a value, or a text has a part.
fn is_in(args: &[&DataValue<'_>]) -> Result<bool> {
    let (item, whole) = (args.first().copied().unwrap_or(&DataValue::Null), args.get(1).copied().unwrap_or(&DataValue::Null));
    match whole {
        DataValue::Array(items) => Ok(items.iter().any(|known| same(known, item))),
        DataValue::String(whole) => Ok(!whole.is_empty() && whole.contains(text(item).as_ref())),
        DataValue::Null | DataValue::Bool(false) => Ok(false),
        DataValue::Number(_) if number(whole)? == 0.0 => Ok(false),
        _ => Err(refused()),
    }
}

/// `text.substr(from, length)`, by UTF-16 units; a negative length is counted from the end.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
fn substr(args: &[&DataValue<'_>]) -> Result<String> {
    let Some(DataValue::String(whole)) = args.first() else { return Err(refused()) };
    let units: Vec<u16> = whole.encode_utf16().collect();
    // A cast takes what is no number for 0, and saturates.
    let place = |value: &DataValue<'_>| number(value).map_or(0, |number| number as i64);
    let from = args.get(1).map_or(0, |from| place(from));
    let from = (if from < 0 { units.len() as i64 + from } else { from }).clamp(0, units.len() as i64) as usize;
    let rest = &units[from..];
    let length = args.get(2).map_or(rest.len() as i64, |length| place(length));
    let length = if length < 0 { rest.len() as i64 + length } else { length }.clamp(0, rest.len() as i64) as usize;
    Ok(String::from_utf16_lossy(&rest[..length]))
}
