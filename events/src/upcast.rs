//! Upcasters: they raise an event in an old version of its type, step by step, to the newest version when it is read.
//!
//! The log is never rewritten. A step is a pure function on the data from version N to N+1, so a replay gives what the live run gave.
//! An event whose type has no upcaster costs one look-up in an empty (or short, sorted) table.

use crate::domain::schema_uri;
use crate::event::{Attribute, EncodedEvent, EventView};
use crate::registry::split_version;

/// One step: turns data of version `from` into data of the next version.
#[derive(Clone, Copy, Debug)]
pub struct Upcaster {
    /// The type with its old version: `commerce.order_placed.v1`.
    pub from: &'static str,
    /// The type with the next version: `commerce.order_placed.v2`.
    pub to: &'static str,
    /// Turns the data. It is pure: the same data always gives the same bytes.
    pub apply: fn(&[u8]) -> Result<Vec<u8>, serde_json::Error>,
}

/// Why an event or a table of upcasters is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step does not lead from a version to the next of the same type.
    #[error("an upcaster leads from {from} to {to}; it must lead to the next version of the same type")]
    Step {
        /// The version that it takes.
        from: &'static str,
        /// The version that it makes.
        to: &'static str,
    },
    /// Two steps begin at one version.
    #[error("two upcasters begin at {0}; keep one")]
    Twice(&'static str),
    /// The data does not have the shape of the old version.
    #[error("event {id} of {source_name} cannot be raised from {from}: {error}")]
    Data {
        /// The event.
        id: String,
        /// Its source.
        source_name: String,
        /// The version at which it failed.
        from: &'static str,
        /// serde_json's message.
        error: serde_json::Error,
    },
}

/// A checked table of upcasters.
#[derive(Clone, Debug, Default)]
pub struct Upcasters {
    /// Sorted by `from`.
    steps: Vec<Upcaster>,
}

/// An event in the newest version of its type.
#[derive(Clone, Debug)]
pub enum Upcast<'a> {
    /// The event as it was written; nothing was copied.
    AsWritten(EventView<'a>),
    /// The event, raised from an older version.
    Raised(EncodedEvent),
}

impl Upcast<'_> {
    /// Views the event as its readers see it.
    pub fn view(&self) -> EventView<'_> {
        match self {
            Upcast::AsWritten(view) => *view,
            Upcast::Raised(event) => event.view(),
        }
    }
}

/// The upcasters of the platform's own types. None so far: every type is at v1.
static PLATFORM: Upcasters = Upcasters { steps: Vec::new() };

/// Raises an event to the newest version that the platform has of its type.
///
/// # Errors
/// The data does not have the shape of its version.
pub fn upcast(view: EventView<'_>) -> Result<Upcast<'_>, Error> {
    Upcasters::platform().upcast(view)
}

impl Upcasters {
    /// Makes a table of steps.
    ///
    /// # Errors
    /// A step does not lead to the next version of its type, or two begin at one version.
    pub fn new(steps: impl IntoIterator<Item = Upcaster>) -> Result<Self, Error> {
        let mut steps: Vec<Upcaster> = steps.into_iter().collect();
        steps.sort_by_key(|step| step.from);
        for step in &steps {
            let next = match split_version(step.from) {
                (name, Some(version)) => version.checked_add(1).is_some_and(|next| split_version(step.to) == (name, Some(next))),
                (_, None) => false,
            };
            if !next {
                return Err(Error::Step { from: step.from, to: step.to });
            }
        }
        match steps.windows(2).find(|pair| pair[0].from == pair[1].from) {
            Some(pair) => Err(Error::Twice(pair[0].from)),
            None => Ok(Self { steps }),
        }
    }

    /// Makes the table of the platform's own types.
    pub fn platform() -> &'static Upcasters {
        &PLATFORM
    }

    /// Raises an event to the newest version of its type.
    ///
    /// # Errors
    /// The data does not have the shape of its version.
    pub fn upcast<'a>(&self, view: EventView<'a>) -> Result<Upcast<'a>, Error> {
        let Some(mut step) = self.step_from(view.event_type()) else {
            return Ok(Upcast::AsWritten(view));
        };
        let mut event = view.to_event();
        loop {
            event.data = (step.apply)(&event.data).map_err(|error| Error::Data {
                id: view.id().to_owned(),
                source_name: view.source().to_owned(),
                from: step.from,
                error,
            })?;
            match self.step_from(step.to) {
                Some(next) => step = next,
                None => break,
            }
        }
        event.set(Attribute::Type, step.to).set(Attribute::DataSchema, schema_uri(step.to));
        Ok(Upcast::Raised(event.encode()))
    }

    fn step_from(&self, event_type: &str) -> Option<&Upcaster> {
        self.steps.binary_search_by(|step| step.from.cmp(event_type)).ok().map(|at| &self.steps[at])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::event::Event;
    use serde_json::{Value, json};

    fn split_name(data: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        #[derive(serde::Deserialize)]
        struct V1 {
            name: String,
        }
        let old: V1 = serde_json::from_slice(data)?;
        let (first, last) = old.name.split_once(' ').unwrap_or((&old.name, ""));
        serde_json::to_vec(&json!({"first": first, "last": last}))
    }

    fn add_country(data: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        let mut object: serde_json::Map<String, Value> = serde_json::from_slice(data)?;
        object.insert("country".into(), Value::Null);
        serde_json::to_vec(&object)
    }

    const STEPS: [Upcaster; 2] = [
        Upcaster { from: "test.person_seen.v2", to: "test.person_seen.v3", apply: add_country },
        Upcaster { from: "test.person_seen.v1", to: "test.person_seen.v2", apply: split_name },
    ];

    fn event(event_type: &str, data: &str) -> EncodedEvent {
        let mut event = Event::new("1", "/s", event_type, "person/1");
        event.set(Attribute::Sequence, "9").data = data.as_bytes().to_vec();
        event.encode()
    }

    #[test]
    fn every_old_version_is_raised_to_the_newest() {
        let upcasters = Upcasters::new(STEPS).unwrap();
        let newest = json!({"first": "Ada", "last": "Low", "country": null});
        for (event_type, data) in [("test.person_seen.v1", r#"{"name":"Ada Low"}"#), ("test.person_seen.v2", r#"{"first":"Ada","last":"Low"}"#)] {
            let written = event(event_type, data);
            let raised = upcasters.upcast(written.view()).unwrap();
            let view = raised.view();
            assert_eq!((view.event_type(), view.id(), view.sequence()), ("test.person_seen.v3", "1", Some(9)));
            assert_eq!(view.attribute(Attribute::DataSchema), Some("/schemas/test.person_seen.v3.json"));
            assert_eq!(view.data_as::<Value>().unwrap(), newest);
        }
    }

    #[test]
    fn newest_and_other_types_are_not_copied() {
        let upcasters = Upcasters::new(STEPS).unwrap();
        for event_type in ["test.person_seen.v3", "test.person_seen.v4", "test.other.v1", ""] {
            let written = event(event_type, "not even json");
            let upcast = upcasters.upcast(written.view()).unwrap();
            assert!(matches!(upcast, Upcast::AsWritten(_)) && std::ptr::eq(upcast.view().data(), written.view().data()), "{event_type}");
        }
        let order = event("commerce.order_placed.v1", "{}");
        assert!(matches!(super::upcast(order.view()).unwrap(), Upcast::AsWritten(_)));
    }

    #[test]
    fn data_that_is_not_of_its_version_is_an_error() {
        let error = Upcasters::new(STEPS).unwrap().upcast(event("test.person_seen.v1", "{}").view()).unwrap_err();
        assert!(error.to_string().contains("event 1 of /s cannot be raised from test.person_seen.v1: missing field `name`"), "{error}");
    }

    #[test]
    fn tables_that_do_not_chain_are_refused() {
        let step = |from, to| Upcaster { from, to, apply: add_country };
        for (from, to) in [("a.b.v1", "a.b.v3"), ("a.b.v1", "a.c.v2"), ("a.b.v2", "a.b.v1"), ("a.b", "a.b.v2")] {
            assert!(matches!(Upcasters::new([step(from, to)]), Err(Error::Step { .. })), "{from} {to}");
        }
        assert!(matches!(Upcasters::new([step("a.b.v1", "a.b.v2"), step("a.b.v1", "a.b.v2")]), Err(Error::Twice("a.b.v1"))));
        assert!(Upcasters::new(Upcasters::platform().steps.clone()).is_ok());
    }
}
