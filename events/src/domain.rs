//! [`DomainEvent`]: what every typed domain event has, its type, subject, personal fields and rules.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Attribute, Event};
use crate::money::Money;

/// A broken rule about a field. Its message names the field and says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct FieldError {
    /// The field as a path: `items[2].quantity`.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

impl FieldError {
    /// Makes the error of a broken rule about `field`.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// The data of one version of one event type.
pub trait DomainEvent: Sized + Serialize + JsonSchema {
    /// The event type with its version: `commerce.order_placed.v1`.
    const TYPE: &'static str;
    /// Kind of the subject: `customer` for `customer/42`. Empty where a subject may be of any kind; then [`DomainEvent::subject_id`] is the whole subject.
    const SUBJECT_KIND: &'static str;
    /// Top-level fields that are sealed with the person's key before they reach the log.
    const PERSONAL: &'static [&'static str] = &[];

    /// Gives the id of the subject: `42` for `customer/42`.
    fn subject_id(&self) -> &str;

    /// Gives the subject: `customer/42`.
    fn subject(&self) -> String {
        if Self::SUBJECT_KIND.is_empty() { self.subject_id().to_owned() } else { format!("{}/{}", Self::SUBJECT_KIND, self.subject_id()) }
    }

    /// Checks the rules that the shape alone cannot express.
    ///
    /// # Errors
    /// The first field that breaks a rule.
    fn validate(&self) -> Result<(), FieldError>;

    /// Makes an event with this data. Subject and `dataschema` are set; time and the rest are left to the caller.
    ///
    /// # Errors
    /// The data cannot be written as JSON.
    fn to_event(&self, id: impl Into<String>, source: impl Into<String>) -> Result<Event, serde_json::Error> {
        let mut event = Event::new(id, source, Self::TYPE, self.subject());
        event.set(Attribute::DataSchema, schema_uri(Self::TYPE));
        event.with_data(self)
    }
}

/// Gives the `dataschema` of a known type: a reference relative to the node.
pub fn schema_uri(event_type: &str) -> String {
    format!("/schemas/{event_type}.json")
}

/// Text about a person: plain on the way in, sealed in the log, and again plain (or gone) for those who may read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PersonalText {
    /// As sent.
    Plain(String),
    /// Encrypted with the subject's key, see [`crate::personal`].
    Sealed {
        /// Base64 of nonce and ciphertext.
        #[serde(rename = "$personal")]
        sealed: String,
    },
}

impl PersonalText {
    /// Gives the text; `None` where it is sealed.
    pub fn plain(&self) -> Option<&str> {
        match self {
            PersonalText::Plain(text) => Some(text),
            PersonalText::Sealed { .. } => None,
        }
    }
}

impl From<&str> for PersonalText {
    fn from(text: &str) -> Self {
        PersonalText::Plain(text.to_owned())
    }
}

impl JsonSchema for PersonalText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PersonalText".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        // What a sender writes; the sealed form is the platform's own.
        schemars::json_schema!({"type": "string", "description": "Personal: encrypted with the subject's key before it is stored"})
    }
}

/// Refuses an empty field.
pub(crate) fn filled(field: &str, text: &str) -> Result<(), FieldError> {
    if text.is_empty() {
        return Err(FieldError::new(field, "is empty; it must name something"));
    }
    Ok(())
}

/// Refuses an optional field that is there and empty.
pub(crate) fn filled_if_present(field: &str, text: Option<&str>) -> Result<(), FieldError> {
    text.map_or(Ok(()), |text| filled(field, text))
}

/// Refuses an amount below zero.
pub(crate) fn not_negative(field: &str, amount: Money) -> Result<(), FieldError> {
    if amount.minor < 0 {
        return Err(FieldError::new(format!("{field}.minor"), format!("is {}; it must be 0 or more", amount.minor)));
    }
    Ok(())
}

/// Refuses an amount of zero or less.
pub(crate) fn positive(field: &str, amount: Money) -> Result<(), FieldError> {
    if amount.minor <= 0 {
        return Err(FieldError::new(format!("{field}.minor"), format!("is {}; it must be above 0", amount.minor)));
    }
    Ok(())
}

/// Refuses a count of zero.
pub(crate) fn at_least_one(field: &str, count: u64) -> Result<(), FieldError> {
    if count == 0 {
        return Err(FieldError::new(field, "is 0; it must be 1 or more"));
    }
    Ok(())
}

/// Implements [`DomainEvent`]: type, subject as `kind / field`, personal fields, and the rules.
macro_rules! domain_event {
    ($name:ident, $event_type:literal, $kind:literal / $id:ident, personal $personal:expr, |$this:ident| $rules:block) => {
        impl crate::domain::DomainEvent for $name<'_> {
            const TYPE: &'static str = $event_type;
            const SUBJECT_KIND: &'static str = $kind;
            const PERSONAL: &'static [&'static str] = &$personal;

            fn subject_id(&self) -> &str {
                &self.$id
            }

            fn validate(&self) -> Result<(), crate::domain::FieldError> {
                let $this = self;
                $rules
                crate::domain::filled(stringify!($id), &self.$id)
            }
        }
    };
    ($name:ident, $event_type:literal, $kind:literal / $id:ident, |$this:ident| $rules:block) => {
        crate::domain::domain_event!($name, $event_type, $kind / $id, personal [], |$this| $rules);
    };
}
pub(crate) use domain_event;
