//! `engagement.*`: what people do and who they say they are, as analytics SDKs send it. Subject: `identifier/{identifier_id}`.
//!
//! An identifier's id is a keyed hash of its type and value, so that no subject holds anything personal; the value itself is sealed. Each member of
//! `traits` is sealed by itself: what is remembered of one trait can be replaced without opening the others.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{FieldError, PersonalText, domain_event, filled, filled_if_present};
use crate::registry::known_types;

/// Most further identifiers that one call may name.
pub const MOST_LINKS: usize = 16;

/// An identifier: one value of one type, for example a user id or an e-mail address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct IdentifierRef {
    /// Keyed hash of type and value.
    pub identifier_id: String,
    /// The type: `user_id`, `anonymous_id`, `email`, or one of the settings.
    pub identifier_type: String,
}

fn linked(links: &[IdentifierRef]) -> Result<(), FieldError> {
    if links.len() > MOST_LINKS {
        return Err(FieldError::new("links", format!("has {} entries; at most {MOST_LINKS} are taken", links.len())));
    }
    for (index, link) in links.iter().enumerate() {
        filled(&format!("links[{index}].identifier_id"), &link.identifier_id)?;
        filled(&format!("links[{index}].identifier_type"), &link.identifier_type)?;
    }
    Ok(())
}

/// Declares a call of an SDK: the fields that all calls have, and its own.
macro_rules! call {
    ($(#[$doc:meta])* $name:ident, $event_type:literal, personal $personal:expr, { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }, |$this:ident| $rules:block) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub struct $name<'a> {
            /// Keyed hash of the identifier that the call is about: its strongest one.
            #[serde(borrow)]
            pub identifier_id: Cow<'a, str>,
            /// The type of that identifier.
            #[serde(borrow)]
            pub identifier_type: Cow<'a, str>,
            /// The value of that identifier; personal.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub value: Option<PersonalText>,
            /// Further identifiers that the call names, and so says to be of the same person.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub links: Vec<IdentifierRef>,
            /// Where and with what the call was made, as the SDK says it; personal.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub context: Option<Value>,
            $($(#[$field_doc])* pub $field: $kind,)*
        }

        domain_event!($name, $event_type, "identifier" / identifier_id, personal $personal, |this| {
            let $this = this;
            filled("identifier_type", &$this.identifier_type)?;
            linked(&$this.links)?;
            $rules
        });
    };
}

call!(
    /// `engagement.identified.v1`: a person said who they are, with traits.
    Identified, "engagement.identified.v1", personal ["value", "context", "traits.*"], {
        /// What is told of the person, by name; each value is personal.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        traits: BTreeMap<String, Value>,
        /// What the person agrees to, by purpose.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        consent: BTreeMap<String, bool>,
        /// The company's own number of the person as a customer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        customer_id: Option<String>,
    },
    |this| { filled_if_present("customer_id", this.customer_id.as_deref())?; }
);

call!(
    /// `engagement.tracked.v1`: a person did something.
    Tracked, "engagement.tracked.v1", personal ["value", "context", "properties"], {
        /// What they did, e.g. `Order Completed`.
        event: String,
        /// Numbers that audiences may sum, by the names that the settings allow.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        measures: BTreeMap<String, f64>,
        /// Whatever else is told of it; personal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        properties: Option<Value>,
    },
    |this| { filled("event", &this.event)?; }
);

call!(
    /// `engagement.page_viewed.v1`: a person looked at a page.
    PageViewed, "engagement.page_viewed.v1", personal ["value", "context", "properties"], {
        /// The page's name, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Its address, title, referrer and whatever else is told; personal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        properties: Option<Value>,
    },
    |_this| {}
);

call!(
    /// `engagement.screen_viewed.v1`: a person looked at a screen of an app.
    ScreenViewed, "engagement.screen_viewed.v1", personal ["value", "context", "properties"], {
        /// The screen's name, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Whatever else is told of it; personal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        properties: Option<Value>,
    },
    |_this| {}
);

call!(
    /// `engagement.grouped.v1`: a person belongs to a company or another group.
    Grouped, "engagement.grouped.v1", personal ["value", "context", "traits.*"], {
        /// Keyed hash of the group's id.
        company_id: String,
        /// What is told of the group, by name; sealed with the key of the person who told it.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        traits: BTreeMap<String, Value>,
    },
    |this| { filled("company_id", &this.company_id)?; }
);

call!(
    /// `engagement.aliased.v1`: a person is also known under another identifier, the first of `links`.
    Aliased, "engagement.aliased.v1", personal ["value", "context"], {},
    |this| { if this.links.is_empty() { return Err(FieldError::new("links", "is empty; it must name the other identifier")); } }
);

call!(
    /// `engagement.identifier_named.v1`: the value of an identifier that a call about another one named, sealed with its own key.
    IdentifierNamed, "engagement.identifier_named.v1", personal ["value", "context"], {},
    |_this| {}
);

known_types![Identified, Tracked, PageViewed, ScreenViewed, Grouped, Aliased, IdentifierNamed];
