//! One walk over a fact's data at admission: the bounds of amounts, and which members it has.
//!
//! Amounts are bounded at admission only: what the log holds already must stay readable.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use smallvec::SmallVec;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::domain::FieldError;
use crate::money::{Currency, Money};

/// Checks every amount in `data`, wherever it lies: its currency must be one, and neither it nor its product with the `quantity` beside it may be above
/// what [`Currency::most_minor`] allows. Returns the members of the data.
///
/// # Errors
/// The first amount that is out of bounds, by its path.
pub(crate) fn check(event_type: &str, data: &[u8]) -> Result<Members, FieldError> {
    let walk = |path: Option<String>| {
        let mut search = Search { path, problem: None, place: xxh3_64(event_type.as_bytes()), members: Members::default() };
        let mut reader = serde_json::Deserializer::from_slice(data);
        // The data was read by its type before, so an error here is none of JSON.
        let _ = Node(&mut search).deserialize(&mut reader);
        search
    };
    let search = walk(None);
    match search.problem {
        None => Ok(search.members),
        // Again, to tell where it is: nearly all data has no problem and needs no path.
        Some(problem) => Err(walk(Some(String::new())).problem.unwrap_or(problem)),
    }
}

/// The members of a fact's data: a hash of the type and the names on the way to each.
///
/// To ask a type for the fields that it does not know costs several times what reading it costs. So the members of data that had no unknown field are
/// remembered, and data that has no others is not asked again. A hash of 64 bits that meets another by chance costs a warning.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members(SmallVec<[u64; 24]>);

/// Members that are remembered; senders choose the names in free maps.
const REMEMBERED: usize = 65_536;

thread_local! {
    static KNOWN: RefCell<HashSet<u64, BuildHasherDefault<Unhashed>>> = RefCell::default();
}

impl Members {
    /// Tells whether all of them were in data without unknown fields.
    pub(crate) fn are_known(&self) -> bool {
        KNOWN.with_borrow(|known| self.0.iter().all(|member| known.contains(member)))
    }

    /// Remembers them: the data has no unknown field.
    pub(crate) fn remember(&self) {
        KNOWN.with_borrow_mut(|known| {
            if known.len() + self.0.len() > REMEMBERED {
                known.clear();
            }
            known.extend(&self.0);
        });
    }
}

/// Takes a hash as it is.
#[derive(Default)]
struct Unhashed(u64);

impl Hasher for Unhashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

struct Search {
    /// The way here, for people; none while nobody needs it.
    path: Option<String>,
    problem: Option<FieldError>,
    /// Hash of the type and the names on the way here.
    place: u64,
    members: Members,
}

impl Search {
    fn leave(&mut self, length: usize) {
        if let Some(path) = &mut self.path {
            path.truncate(length);
        }
    }

    fn refuse(&mut self, field: &str, problem: String) {
        let path = match self.path.as_deref() {
            None | Some("") => field.to_owned(),
            Some(path) => format!("{path}.{field}"),
        };
        self.problem.get_or_insert_with(|| FieldError::new(path, problem));
    }

    fn amount(&mut self, amount: Money) {
        let most = Money::new(amount.currency.most_minor(), amount.currency);
        if !amount.currency.is_known() {
            self.refuse("currency", format!("is {}, which ISO 4217 does not have", amount.currency));
        } else if amount.minor.unsigned_abs() > most.minor.unsigned_abs() {
            self.refuse("minor", format!("is {}; an amount is at most {most}", amount.minor));
        }
    }

    fn product(&mut self, quantity: i128, price: Money) {
        let most = Money::new(price.currency.most_minor(), price.currency);
        if quantity.saturating_mul(i128::from(price.minor)).unsigned_abs() > u128::from(most.minor.unsigned_abs()) {
            self.refuse("quantity", format!("is {quantity}; times the unit price that is above {most}, the most an amount may be"));
        }
    }
}

/// What a value is, as far as amounts go.
enum Found<'de> {
    Number(i128),
    Text(Cow<'de, str>),
    Amount(Money),
    Other,
}

struct Node<'s>(&'s mut Search);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Found<'de>;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Found<'de>, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_i64<E>(self, number: i64) -> Result<Found<'de>, E> {
        Ok(Found::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Found<'de>, E> {
        Ok(Found::Number(number.into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found<'de>, E> {
        Ok(Found::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found<'de>, E> {
        Ok(Found::Other)
    }

    fn visit_unit<E>(self) -> Result<Found<'de>, E> {
        Ok(Found::Other)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Found<'de>, E> {
        Ok(Found::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Found<'de>, E> {
        Ok(Found::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Found<'de>, A::Error> {
        let Node(search) = self;
        let length = search.path.as_ref().map_or(0, String::len);
        let mut index = 0;
        loop {
            if let Some(path) = &mut search.path {
                path.truncate(length);
                path.push_str(&format!("[{index}]"));
            }
            let more = items.next_element_seed(Node(search))?.is_some();
            if !more {
                search.leave(length);
                return Ok(Found::Other);
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Found<'de>, A::Error> {
        let Node(search) = self;
        let length = search.path.as_ref().map_or(0, String::len);
        let (mut minor, mut currency, mut quantity, mut price) = (None, None, None, None);
        while let Some(Key(name)) = fields.next_key()? {
            if search.problem.is_some() {
                fields.next_value::<IgnoredAny>()?;
                continue;
            }
            if let Some(path) = &mut search.path {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(&name);
            }
            let place = search.place;
            search.place = xxh3_64_with_seed(name.as_bytes(), place);
            search.members.0.push(search.place);
            let found = fields.next_value_seed(Node(search))?;
            search.place = place;
            search.leave(length);
            match (&*name, found) {
                ("minor", Found::Number(number)) => minor = i64::try_from(number).ok(),
                ("currency", Found::Text(text)) => currency = text.parse::<Currency>().ok(),
                ("quantity", Found::Number(number)) => quantity = Some(number),
                ("unit_price", Found::Amount(amount)) => price = Some(amount),
                _ => {}
            }
        }
        if let (Some(quantity), Some(price)) = (quantity, price) {
            search.product(quantity, price);
        }
        let Some(amount) = minor.zip(currency).map(|(minor, currency)| Money::new(minor, currency)) else { return Ok(Found::Other) };
        search.amount(amount);
        Ok(Found::Amount(amount))
    }
}

/// A field's name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(data: &[u8]) -> Result<(), FieldError> {
        super::check("a.b.v1", data).map(drop)
    }

    fn refusal(data: &str) -> String {
        check(data.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn members_are_known_by_type_and_place() {
        let members = |event_type: &str, data: &str| super::check(event_type, data.as_bytes()).unwrap();
        members("t.a.v1", r#"{"a":1,"b":[{"c":2},{"d":3}]}"#).remember();
        for known in [r#"{"a":1}"#, r#"{"b":[{"d":1}],"a":2}"#, r#"{"b":[{"c":1},{"c":2},{"d":3}]}"#, "{}"] {
            assert!(members("t.a.v1", known).are_known(), "{known}");
        }
        for other in [r#"{"c":1}"#, r#"{"a":{"c":1}}"#, r#"{"b":[{"a":1}]}"#, r#"{"a":1,"e":2}"#] {
            assert!(!members("t.a.v1", other).are_known(), "{other}");
        }
        assert!(!members("t.b.v1", r#"{"a":1}"#).are_known());
    }

    #[test]
    fn amounts_are_bounded_by_currency_wherever_they_lie() {
        let most = |minor: &str, currency: &str| check(format!(r#"{{"a":[1,{{"b":{{"minor":{minor},"currency":"{currency}"}}}}]}}"#).as_bytes());
        for (minor, currency) in [("100000000000000", "USD"), ("-100000000000000", "USD"), ("1000000000000", "JPY"), ("1000000000000000", "VND")] {
            assert_eq!(most(minor, currency), Ok(()), "{minor} {currency}");
        }
        for (minor, currency) in [("100000000000001", "USD"), ("-100000000000001", "USD"), ("1000000000001", "JPY"), ("-9223372036854775808", "EUR")] {
            assert!(most(minor, currency).unwrap_err().to_string().starts_with("a[1].b.minor is "), "{minor} {currency}");
        }
        assert!(refusal(r#"{"amount":{"currency":"USD","minor":9223372036854775807}}"#).contains("at most 1000000000000.00 USD"));
    }

    #[test]
    fn a_currency_that_iso_4217_does_not_have_is_named_with_its_path() {
        assert_eq!(refusal(r#"{"amount":{"minor":1,"currency":"UDS"}}"#), "amount.currency is UDS, which ISO 4217 does not have");
    }

    #[test]
    fn a_quantity_may_not_lift_a_price_over_the_bound() {
        let line = |quantity: u64| format!(r#"{{"items":[{{"quantity":{quantity},"unit_price":{{"minor":1000000,"currency":"USD"}}}}]}}"#);
        assert_eq!(check(line(100_000_000).as_bytes()), Ok(()));
        assert!(refusal(&line(100_000_001)).starts_with("items[0].quantity is 100000001; times the unit price"));
        assert!(refusal(&line(u64::MAX)).contains("above 1000000000000.00 USD"));
    }

    #[test]
    fn other_data_passes() {
        for data in ["", "{}", "[]", "null", r#"{"minor":1}"#, r#"{"minor":"x","currency":7}"#, r#"{"note":"\"minor\": 9","a":1.5,"b":null,"c":true}"#] {
            assert_eq!(check(data.as_bytes()), Ok(()), "{data}");
        }
    }
}
