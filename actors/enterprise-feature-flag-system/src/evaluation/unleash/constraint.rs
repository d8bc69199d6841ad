//! Compiled constraints: a field of the context, and what it must be.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use chrono::{DateTime, Utc};
use hashbrown::HashSet;
use ipnet::IpNet;
use regex::{Regex, RegexBuilder};
use semver::Version;
use smallvec::SmallVec;

use super::context::Context;
use super::literal::{Literal, escaped, quoted};
use super::model;

/// A regular expression may take this much memory when compiled; matching is linear in the text whatever the expression.
const REGEX_BYTES: usize = 10 * (1 << 20);

/// The feature cannot be compiled, and is off for everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) String);

/// A field of the context.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Field {
    UserId,
    SessionId,
    Environment,
    AppName,
    RemoteAddress,
    CurrentTime,
    Property(Box<str>),
}

impl Field {
    /// The field of that name in a constraint or a strategy's stickiness.
    pub(super) fn parse(name: &str) -> Result<Self, Broken> {
        match Self::named(name) {
            Self::Property(name) => match quoted(&name) {
                // The engine looks the name up as it stands between the quotes.
                Some(_) => Ok(Self::Property(name)),
                None => Err(Broken(format!("context field {name:?} cannot be written as a rule"))),
            },
            field => Ok(field),
        }
    }

    /// The field of that name, whatever it is.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "userId" => Self::UserId,
            "sessionId" => Self::SessionId,
            "environment" => Self::Environment,
            "appName" => Self::AppName,
            "remoteAddress" => Self::RemoteAddress,
            "currentTime" => Self::CurrentTime,
            _ => Self::Property(name.into()),
        }
    }

    /// Its value.
    #[inline]
    pub(super) fn of<'c>(&self, context: &'c Context<'_>) -> Option<&'c str> {
        match self {
            Self::UserId => context.user_id.as_deref(),
            Self::SessionId => context.session_id.as_deref(),
            Self::Environment => context.environment.as_deref(),
            Self::AppName => context.app_name.as_deref(),
            Self::RemoteAddress => context.remote_address.as_deref(),
            Self::CurrentTime => context.time(),
            Self::Property(name) => context.property(name),
        }
    }
}

/// A set of texts: a list while it is short, as that is faster than hashing.
#[derive(Clone, Debug)]
pub(super) enum Texts {
    Few(Box<[Box<str>]>),
    Many(HashSet<Box<str>>),
}

impl Texts {
    pub(super) fn new(texts: impl IntoIterator<Item = String>) -> Self {
        let texts: Vec<Box<str>> = texts.into_iter().map(String::into_boxed_str).collect();
        if texts.len() <= 8 { Self::Few(texts.into()) } else { Self::Many(texts.into_iter().collect()) }
    }

    #[inline]
    pub(super) fn contains(&self, text: &str) -> bool {
        match self {
            Self::Few(texts) => texts.iter().any(|known| known.as_ref() == text),
            Self::Many(texts) => texts.contains(text),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Start,
    End,
    Anywhere,
}

#[derive(Clone, Debug)]
enum Test {
    Never,
    In(Texts),
    NotIn(Texts),
    Contains { part: Part, texts: Box<[Box<str>]>, ignore_case: bool },
    Number { order: Order, literal: f64 },
    Date { order: Order, literal: DateTime<Utc> },
    Version { order: Order, literal: Version },
    Regex(Box<Regex>),
    Networks(Box<[IpNet]>),
}

/// A compiled constraint.
#[derive(Clone, Debug)]
pub(super) struct Constraint {
    field: Field,
    inverted: bool,
    test: Test,
}

impl Constraint {
    pub(super) fn compile(source: &model::Constraint) -> Result<Self, Broken> {
        let broken = |what: &str| Broken(format!("constraint {} {}: {what}", source.context_name, source.operator));
        let value = || source.value.as_deref().ok_or_else(|| broken("has no value"));
        let strings = || source.values.iter().flatten().map(|text| escaped(text)).collect::<Option<Vec<_>>>().ok_or_else(|| broken("ends in a backslash"));
        // An empty list of texts has no form in the engine's language, except for IN and NOT_IN.
        let some_strings = || strings().and_then(|texts| if texts.is_empty() { Err(broken("has no values")) } else { Ok(texts) });
        let contains = |part| {
            let ignore_case = source.case_insensitive;
            let texts = some_strings()?.into_iter().map(|text| if ignore_case { text.to_lowercase() } else { text }.into_boxed_str()).collect();
            Ok(Test::Contains { part, texts, ignore_case })
        };
        let ordered = |order, version: bool| {
            if version && value()?.starts_with('v') {
                return Ok(None);
            }
            match Literal::parse(value()?).ok_or_else(|| broken("has a value of no known form"))? {
                Literal::Number(literal) => Ok(Some(Test::Number { order, literal })),
                Literal::Date(literal) => Ok(Some(Test::Date { order, literal })),
                Literal::Version(literal) => Ok(Some(Test::Version { order, literal })),
            }
        };
        let field = Field::parse(&source.context_name);
        let test = match source.operator.as_str() {
            "IN" => Some(Test::In(Texts::new(strings()?))),
            "NOT_IN" => Some(Test::NotIn(Texts::new(strings()?))),
            "STR_STARTS_WITH" => Some(contains(Part::Start)?),
            "STR_ENDS_WITH" => Some(contains(Part::End)?),
            "STR_CONTAINS" => Some(contains(Part::Anywhere)?),
            "NUM_EQ" => ordered(Order::Equal, false)?,
            "NUM_GT" | "DATE_AFTER" => ordered(Order::Greater, false)?,
            "NUM_GTE" => ordered(Order::GreaterOrEqual, false)?,
            "NUM_LT" | "DATE_BEFORE" => ordered(Order::Less, false)?,
            "NUM_LTE" => ordered(Order::LessOrEqual, false)?,
            "SEMVER_EQ" => ordered(Order::Equal, true)?,
            "SEMVER_GT" => ordered(Order::Greater, true)?,
            "SEMVER_GTE" => ordered(Order::GreaterOrEqual, true)?,
            "SEMVER_LT" => ordered(Order::Less, true)?,
            "SEMVER_LTE" => ordered(Order::LessOrEqual, true)?,
            "REGEX" => Some(regex(source).ok_or_else(|| broken("ends in a backslash"))?),
            "IN_CIDR" => Some(Test::Networks(some_strings()?.iter().filter_map(|text| network(text)).collect())),
            _ => return Err(broken("is of no known operator")),
        };
        match test {
            Some(test) => Ok(Self { field: field?, inverted: source.inverted, test }),
            // A version with a leading `v` matches nobody, inverted or not.
            None => Ok(Self { field: Field::UserId, inverted: false, test: Test::Never }),
        }
    }

    /// Whether the context satisfies it.
    #[inline]
    pub(super) fn holds(&self, context: &Context<'_>) -> bool {
        self.test.holds(&self.field, context) != self.inverted
    }
}

impl Test {
    #[inline]
    fn holds(&self, field: &Field, context: &Context<'_>) -> bool {
        if let (Self::Date { order, literal }, Field::CurrentTime) = (self, field) {
            return context.date().is_some_and(|date| order.holds(date.cmp(literal)));
        }
        let Some(value) = field.of(context) else {
            return matches!(self, Self::NotIn(_));
        };
        match self {
            Self::Never => false,
            Self::In(texts) => texts.contains(value),
            Self::NotIn(texts) => !texts.contains(value),
            Self::Contains { part, texts, ignore_case: false } => contains(value.as_bytes(), *part, texts),
            Self::Contains { part, texts, ignore_case: true } => {
                if value.is_ascii() {
                    // On the stack: the usual value is short, and an evaluation does not allocate.
                    let mut lower: SmallVec<[u8; 128]> = SmallVec::from_slice(value.as_bytes());
                    lower.make_ascii_lowercase();
                    contains(&lower, *part, texts)
                } else {
                    contains(value.to_lowercase().as_bytes(), *part, texts)
                }
            }
            Self::Number { order, literal } => match (value.parse::<f64>(), order) {
                (Ok(number), Order::Equal) => (number - literal).abs() < f64::EPSILON,
                (Ok(number), order) => number.partial_cmp(literal).is_some_and(|found| order.holds(found)),
                (Err(_), _) => false,
            },
            Self::Date { order, literal } => value.parse::<DateTime<Utc>>().is_ok_and(|date| order.holds(date.cmp(literal))),
            Self::Version { order, literal } => Version::parse(value).is_ok_and(|version| order.holds(version.cmp_precedence(literal))),
            Self::Regex(regex) => regex.is_match(value),
            Self::Networks(networks) => in_networks(value, networks),
        }
    }
}

/// Whether any of the texts is at that part of the value.
fn contains(value: &[u8], part: Part, texts: &[Box<str>]) -> bool {
    texts.iter().any(|text| {
        let text = text.as_bytes();
        match part {
            Part::Start => value.starts_with(text),
            Part::End => value.ends_with(text),
            Part::Anywhere => text.is_empty() || value.windows(text.len()).any(|window| window == text),
        }
    })
}

/// A regular expression that cannot be compiled matches nothing. `None` if it cannot be written as a rule.
fn regex(source: &model::Constraint) -> Option<Test> {
    let pattern = escaped(source.value.as_deref().unwrap_or_default())?;
    let compiled = RegexBuilder::new(&pattern).case_insensitive(source.case_insensitive).size_limit(REGEX_BYTES).build();
    Some(compiled.map_or(Test::Never, |regex| Test::Regex(Box::new(regex))))
}

/// `10.0.0.0/8`, `10.0.0.0/255.0.0.0`, `10.1.2.3`, `fd00::/8`.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().ok()?;
    let full = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => full,
        Some(mask) if address.is_ipv4() && mask.parse::<Ipv4Addr>().is_ok() => ipnet::ip_mask_to_prefix(mask.parse().ok()?).ok()?,
        Some(prefix) => prefix.parse().ok()?,
    };
    IpNet::new(address, prefix).ok()
}

/// Whether a text is an address in any of the networks.
pub(super) fn in_networks(value: &str, networks: &[IpNet]) -> bool {
    value.parse::<IpAddr>().is_ok_and(|address| networks.iter().any(|network| network.contains(&address)))
}

/// A text in lower case, on the stack where it can be.
pub(super) fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) }
}
