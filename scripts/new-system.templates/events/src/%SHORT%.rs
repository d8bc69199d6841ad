//! `%SHORT%.*`: what is noted about a %KIND%, and how much of it there is. Subject: `%KIND%/{%FIELD%_id}`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{at_least_one, domain_event, filled};
use crate::registry::known_types;

/// `%SHORT%.%FIELD%_noted.v1`: something was noted about a %KIND%.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct %SUBJECT%Noted<'a> {
    /// The %KIND%.
    #[serde(borrow)]
    pub %FIELD%_id: Cow<'a, str>,
    /// What was noted.
    #[serde(borrow)]
    pub note: Cow<'a, str>,
}

domain_event!(%SUBJECT%Noted, "%SHORT%.%FIELD%_noted.v1", "%KIND%" / %FIELD%_id, |this| {
    filled("note", &this.note)?;
});

/// `%SHORT%.%FIELD%_counted.v1`: the system counted one more note.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct %SUBJECT%Counted<'a> {
    /// The %KIND%.
    #[serde(borrow)]
    pub %FIELD%_id: Cow<'a, str>,
    /// Notes so far, 1 or more.
    pub count: u64,
}

domain_event!(%SUBJECT%Counted, "%SHORT%.%FIELD%_counted.v1", "%KIND%" / %FIELD%_id, |this| {
    at_least_one("count", this.count)?;
});

known_types![%SUBJECT%Counted, %SUBJECT%Noted];
