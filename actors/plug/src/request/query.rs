//! [`Query`]: query parameters. An error names the parameter. A parameter that the route does not have is an error, because a misspelt
//! `as_of` would silently answer about now.

use std::borrow::Cow;
use std::time::Duration;

use actix_web::HttpRequest;
use tol_events::{EventTime, Position, TopicPartition};

use crate::platform::Past;
use crate::problem::{Kind, Problem};
use crate::request::percent::check_encoding;
use crate::route::Spec;
use crate::route::parameters::{LIMIT_DEFAULT, LIMIT_MAX, TIMEOUT_DEFAULT_MS, TIMEOUT_MAX_MS};

/// Most positions one request may wait for: more than a topic has partitions.
const POSITIONS_MAX: usize = 1_024;

/// The query parameters of a request, decoded.
pub struct Query<'r>(Vec<(Cow<'r, str>, Cow<'r, str>)>);

impl<'r> Query<'r> {
    /// Decodes the query parameters of a request.
    pub fn of(request: &'r HttpRequest) -> Result<Self, Problem> {
        let text = request.query_string();
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        if let Err(why) = check_encoding(text) {
            return Err(Problem::new(Kind::INVALID_PARAMETER, format!("the query string {why}; encode it as UTF-8 and write % itself as %25")));
        }
        Ok(Self(url::form_urlencoded::parse(text.as_bytes()).collect()))
    }

    /// Refuses parameters that the route does not have, and a second value of a parameter that takes one.
    pub fn check(&self, route: &Spec) -> Result<(), Problem> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            if !route.takes(name) {
                let known: Vec<&str> = route.query_parameters().collect();
                let known = if known.is_empty() { "this route takes none".to_owned() } else { format!("this route takes {}", known.join(", ")) };
                return Err(Problem::parameter(name, format!("is not known; {known}")));
            }
            if name != "min_position" && self.0[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::parameter(name, "is given twice"));
            }
        }
        Ok(())
    }

    /// Gives names and values in their order.
    pub fn pairs(self) -> impl Iterator<Item = (Cow<'r, str>, Cow<'r, str>)> {
        self.0.into_iter()
    }

    /// Gives all values by name.
    pub fn all(self) -> std::collections::BTreeMap<String, String> {
        self.0.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    /// Reads a text; an empty one counts as absent.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(found, value)| found == name && !value.is_empty()).map(|(_, value)| value.clone().into_owned())
    }

    fn integer(&self, name: &str, min: u64, max: u64, default: u64) -> Result<u64, Problem> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let number = text.parse::<u64>().ok().filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| Problem::parameter(name, format!("\"{text}\" is not a whole number from {min} to {max}")))
    }

    /// Reads one of a few words; an empty one counts as absent.
    pub fn one_of(&self, name: &str, words: &[&str]) -> Result<Option<String>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        if words.contains(&text.as_str()) { Ok(Some(text)) } else { Err(Problem::parameter(name, format!("is \"{text}\"; use {}", words.join(" or ")))) }
    }

    /// Reads `limit`.
    pub fn limit(&self) -> Result<usize, Problem> {
        Ok(self.integer("limit", 1, LIMIT_MAX, LIMIT_DEFAULT)? as usize)
    }

    /// Reads `timeout_ms`.
    pub fn timeout(&self) -> Result<Duration, Problem> {
        Ok(Duration::from_millis(self.integer("timeout_ms", 0, TIMEOUT_MAX_MS, TIMEOUT_DEFAULT_MS)?))
    }

    /// Reads `timeout_ms`, with the default of a route that waits longer.
    pub fn timeout_or(&self, default_ms: u64) -> Result<Duration, Problem> {
        Ok(Duration::from_millis(self.integer("timeout_ms", 0, TIMEOUT_MAX_MS, default_ms)?))
    }

    /// Reads a moment; a date stands for its last microsecond.
    pub fn end_of(&self, name: &str) -> Result<Option<EventTime>, Problem> {
        self.text(name).map(|text| EventTime::parse_end_of(&text).ok_or_else(|| not_a_moment(name, &text))).transpose()
    }

    /// Reads a moment; a date stands for its first microsecond.
    pub fn start_of(&self, name: &str) -> Result<Option<EventTime>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let midnight = || (text.len() == 10).then(|| EventTime::parse(&format!("{text}T00:00:00Z"))).flatten();
        EventTime::parse(&text).or_else(midnight).map(Some).ok_or_else(|| not_a_moment(name, &text))
    }

    /// Reads `as_of` or `known_at`.
    pub fn past(&self) -> Result<Option<Past>, Problem> {
        match (self.end_of("as_of")?, self.end_of("known_at")?) {
            (None, None) => Ok(None),
            (Some(time), None) => Ok(Some(Past::AsOf(time))),
            (None, Some(time)) => Ok(Some(Past::KnownAt(time))),
            (Some(_), Some(_)) => Err(Problem::parameter("known_at", "cannot be given together with as_of; choose one")),
        }
    }

    /// Reads all values of `min_position`.
    pub fn min_positions(&self) -> Result<Vec<(TopicPartition, Position)>, Problem> {
        let texts: Vec<&str> = self.0.iter().filter(|(name, _)| name == "min_position").map(|(_, value)| value.as_ref()).collect();
        if texts.len() > POSITIONS_MAX {
            return Err(Problem::parameter("min_position", format!("is given {} times; at most {POSITIONS_MAX} are taken", texts.len())));
        }
        texts.into_iter().map(parse_position).collect()
    }
}

fn not_a_moment(name: &str, text: &str) -> Problem {
    // A plus sign in a query string is a space, so an offset arrives as " 02:00" when it was not encoded.
    let hint = if text.contains(' ') { "; write the + of an offset as %2B" } else { "" };
    Problem::parameter(name, format!("\"{text}\" is neither RFC 3339 (2026-01-31T12:00:00Z) nor a date (2026-01-31){hint}"))
}

fn parse_position(text: &str) -> Result<(TopicPartition, Position), Problem> {
    let parsed = text.rsplit_once(':').and_then(|(place, position)| Some((place.parse().ok()?, position.parse().ok()?)));
    parsed.ok_or_else(|| Problem::parameter("min_position", format!("\"{text}\" is not topic/partition:position, for example facts.customer/3:120")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Query<'static> {
        Query(pairs.iter().map(|(name, value)| ((*name).to_owned().into(), (*value).to_owned().into())).collect())
    }

    #[test]
    fn a_date_means_its_end_for_as_of_and_its_start_for_from() {
        let query = query(&[("as_of", "1997-06-30"), ("from", "1997-06-30")]);
        assert_eq!(query.end_of("as_of").unwrap().unwrap().to_string(), "1997-06-30T23:59:59.999999Z");
        assert_eq!(query.start_of("from").unwrap().unwrap().to_string(), "1997-06-30T00:00:00Z");
    }

    #[test]
    fn an_offset_whose_plus_became_a_space_is_explained() {
        let problem = query(&[("as_of", "2026-01-31T12:00:00 02:00")]).past().unwrap_err();
        assert!(problem.detail.contains("%2B"), "{}", problem.detail);
    }

    #[test]
    fn positions_may_be_repeated_and_must_read() {
        let positions = query(&[("min_position", "facts.customer/3:120"), ("min_position", "facts.customer/0:7")]).min_positions().unwrap();
        assert_eq!(positions, [(TopicPartition::new("facts.customer", 3), 120), (TopicPartition::new("facts.customer", 0), 7)]);
        for wrong in ["facts.customer/3", "facts.customer:3", "facts.customer/3:-1", "/3:1", "facts.customer/x:1", ""] {
            assert_eq!(query(&[("min_position", wrong)]).min_positions().unwrap_err().kind, Kind::INVALID_PARAMETER, "{wrong}");
        }
    }

    #[test]
    fn limits_are_bounded() {
        assert_eq!(query(&[]).limit().unwrap(), 100);
        for wrong in ["0", "10001", "-1", "many"] {
            assert!(query(&[("limit", wrong)]).limit().is_err(), "{wrong}");
        }
        assert!(query(&[("timeout_ms", "30001")]).timeout().is_err());
    }
}
