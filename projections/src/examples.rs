//! Makes the example events of this crate's projections.

use tol_events::{Event, EventTime};

/// An event about `subject`, `hour` hours after 2026-01-01.
pub(crate) fn example(event_type: &str, id: &str, subject: &str, hour: i64, data: &serde_json::Value) -> Event {
    const FIRST_HOUR: EventTime = EventTime::from_secs(1_767_225_600); // 2026-01-01T00:00:00Z
    let mut event = Event::new(id, "/examples", event_type, subject).at(FIRST_HOUR.plus_micros(hour * 3_600_000_000));
    event.data = data.to_string().into_bytes();
    event
}
