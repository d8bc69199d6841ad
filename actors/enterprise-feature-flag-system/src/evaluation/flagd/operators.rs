//! The operators that flagd adds to JSONLogic. What they cannot work with is `null`, which makes the flag fall back to its default.

use std::borrow::Cow;
use std::hash::Hasher;

use bumpalo::Bump;
use datalogic_rs::datavalue::NumberValue;
use datalogic_rs::operator::EvalContext;
use datalogic_rs::{ArenaExt, CustomOperator, DataValue, Engine};
use semver::Version;

/// JSONLogic with flagd's operators.
pub(super) fn engine() -> Engine {
    super::logic::with_operators(Engine::builder())
        .add_operator("fractional", Fractional)
        .add_operator("sem_ver", SemVer)
        .add_operator("starts_with", Affix(|text, affix| text.starts_with(affix)))
        .add_operator("ends_with", Affix(|text, affix| text.ends_with(affix)))
        .build()
}

/// What flagd's schema of targeting allows. JSONLogic's engine notices an unknown operator only when it gets there.
pub(super) const KNOWN: [&str; 39] = [
    "var",
    "missing",
    "missing_some",
    "if",
    "?:",
    "==",
    "===",
    "!=",
    "!==",
    ">",
    ">=",
    "<",
    "<=",
    "%",
    "/",
    "*",
    "+",
    "-",
    "!",
    "!!",
    "or",
    "and",
    "max",
    "min",
    "merge",
    "cat",
    "substr",
    "in",
    "map",
    "filter",
    "all",
    "none",
    "some",
    "reduce",
    "starts_with",
    "ends_with",
    "sem_ver",
    "fractional",
    "val",
];

/// The largest sum of weights.
const MAX_WEIGHT: u64 = 2_147_483_647;

struct Fractional;

impl CustomOperator for Fractional {
    fn evaluate<'a>(&self, args: &[&'a DataValue<'a>], context: &mut EvalContext<'_, 'a>, _arena: &'a Bump) -> datalogic_rs::Result<&'a DataValue<'a>> {
        Ok(fractional(args, context.root_input()).unwrap_or(&DataValue::Null))
    }
}

/// The variant whose share of the weights the hash falls into.
fn fractional<'a>(args: &[&'a DataValue<'a>], root: &'a DataValue<'a>) -> Option<&'a DataValue<'a>> {
    // Without a text to hash: the flag's key and the targeting key, so that two flags do not split people alike.
    let (hash, buckets) = match args.split_first()? {
        (DataValue::String(text), buckets) => (mur3::murmurhash3_x86_32(text.as_bytes(), 0), buckets),
        _ => {
            let key = text_of(root, "targetingKey").filter(|key| !key.is_empty())?;
            let flag = field(root, "$flagd").and_then(|properties| text_of(properties, "flagKey"))?;
            let mut hasher = mur3::Hasher32::with_seed(0);
            hasher.write(flag.as_bytes());
            hasher.write(key.as_bytes());
            (hasher.finish32(), args)
        }
    };
    let mut total = 0;
    for bucket in buckets {
        total += weight(bucket)?;
    }
    if total > MAX_WEIGHT {
        return None;
    }
    let place = (u64::from(hash) * total) >> 32;
    let mut reached = 0;
    for bucket in buckets {
        reached += weight(bucket)?;
        if reached > place {
            return items(bucket)?.first();
        }
    }
    None
}

fn items<'a>(value: &'a DataValue<'a>) -> Option<&'a [DataValue<'a>]> {
    match value {
        DataValue::Array(items) => Some(items),
        _ => None,
    }
}

/// The weight of `[variant, weight]`: 1 if it is left out, 0 if it is negative. `None` if the bucket has another form.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn weight(bucket: &DataValue<'_>) -> Option<u64> {
    let (variant, weight) = match bucket {
        DataValue::Array([variant]) => (variant, None),
        DataValue::Array([variant, weight]) => (variant, Some(weight)),
        _ => return None,
    };
    if !matches!(variant, DataValue::String(_) | DataValue::Number(_) | DataValue::Bool(_) | DataValue::Null) {
        return None;
    }
    match weight {
        None => Some(1),
        Some(DataValue::Number(NumberValue::Integer(weight))) => Some(weight.max(&0).unsigned_abs().min(MAX_WEIGHT + 1)),
        // Saturates, which is above the largest sum, so nothing is lost.
        Some(DataValue::Number(NumberValue::Float(weight))) if weight.fract() == 0.0 => Some((weight.max(0.0) as u64).min(MAX_WEIGHT + 1)),
        Some(_) => None,
    }
}

fn field<'a>(value: &'a DataValue<'a>, name: &str) -> Option<&'a DataValue<'a>> {
    match value {
        DataValue::Object(entries) => entries.iter().find(|(key, _)| *key == name).map(|(_, value)| value),
        _ => None,
    }
}

fn text_of<'a>(value: &'a DataValue<'a>, name: &str) -> Option<&'a str> {
    match field(value, name) {
        Some(DataValue::String(text)) => Some(text),
        _ => None,
    }
}

struct SemVer;

impl CustomOperator for SemVer {
    fn evaluate<'a>(&self, args: &[&'a DataValue<'a>], _context: &mut EvalContext<'_, 'a>, arena: &'a Bump) -> datalogic_rs::Result<&'a DataValue<'a>> {
        Ok(sem_ver(args).map_or(&DataValue::Null, |holds| arena.bool(holds)))
    }
}

fn sem_ver(args: &[&DataValue<'_>]) -> Option<bool> {
    let [version, operator, other] = args else { return None };
    let DataValue::String(operator) = operator else { return None };
    let (version, other) = (parse_version(version)?, parse_version(other)?);
    let order = version.cmp_precedence(&other);
    Some(match *operator {
        "=" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        "^" => version.major == other.major,
        "~" => version.major == other.major && version.minor == other.minor,
        _ => return None,
    })
}

/// A version as flagd reads it: a leading `v` is dropped, `1` and `1.2` are completed, a number is taken as text.
fn parse_version(value: &DataValue<'_>) -> Option<Version> {
    let text: Cow<'_, str> = match value {
        DataValue::String(text) => Cow::Borrowed(text),
        DataValue::Number(NumberValue::Integer(number)) => Cow::Owned(number.to_string()),
        DataValue::Number(NumberValue::Float(number)) => Cow::Owned(ryu_js::Buffer::new().format(*number).to_owned()),
        _ => return None,
    };
    let text = text.strip_prefix(['v', 'V']).unwrap_or(&text).trim();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    if digits(major) && digits(minor) {
        return Some(Version::new(major.parse().ok()?, minor.parse().ok()?, 0));
    }
    Version::parse(text).ok()
}

struct Affix(fn(&str, &str) -> bool);

impl CustomOperator for Affix {
    fn evaluate<'a>(&self, args: &[&'a DataValue<'a>], _context: &mut EvalContext<'_, 'a>, arena: &'a Bump) -> datalogic_rs::Result<&'a DataValue<'a>> {
        Ok(match args {
            [DataValue::String(text), DataValue::String(affix)] => arena.bool((self.0)(text, affix)),
            _ => &DataValue::Null,
        })
    }
}
