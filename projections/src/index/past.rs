//! The past of one subject, folded from its own events: from the index as far as it is, then from the log.

use tol_events::EventView;
use tol_kafka::TopicPartition;
use tol_kafka::reader::{Delivery, Reader};
use tol_system::projection::NoRows;

use super::EventIndex;
use super::postings::{Kind, term_hash};
use super::query::EventReader;
use crate::engine::ProjectionEngine;
use crate::error::Error;
use crate::fold::AsOf;

impl EventIndex {
    /// Calls `each` with every accepted event of `subject` in `at`, in order: from the index as far as it is, then from the log.
    fn each_of_subject(&self, at: &TopicPartition, subject: &str, each: &mut dyn FnMut(EventView<'_>) -> Result<(), String>) -> Result<(), Error> {
        let store = self.database()?;
        let cursor = self.cursor(at);
        let topic_number = self.state.lock().partitions.get(at).map(|partition| partition.topic_number);
        if let Some(topic_number) = topic_number {
            let mut postings = Self::postings(&store, Kind::Subject, term_hash(subject), topic_number, at.partition, 0)?;
            let mut events = EventReader { log: &*self.log, batch: None };
            let mut next = 0;
            while let Some(position) = postings.next(next)?.filter(|position| *position < cursor.position) {
                next = position + 1;
                let event = events.read(at, position)?.ok_or_else(|| Error::Missing(at.clone(), position))?;
                if event.subject() == subject {
                    each(event).map_err(Error::Stopped)?;
                }
            }
        }
        let end = self.log.bounds(at)?.end;
        let mut reader = Reader::resume(at.clone(), cursor);
        while reader.next() < end {
            let batches = self.log.read(at, reader.next(), 1 << 20)?;
            if batches.is_empty() {
                break;
            }
            for batch in &batches {
                let outcome = reader.read(batch, &mut |delivery| match delivery {
                    Delivery::Group { events, .. } => events.iter().filter(|(_, event)| event.subject() == subject).try_for_each(|(_, event)| each(*event)),
                    Delivery::Claim { .. } => Ok(()),
                });
                outcome.map_err(|stop| Error::Stopped(stop.to_string()))?;
            }
        }
        Ok(())
    }
}

impl ProjectionEngine {
    /// The value of one key as of then, folded from its subject's events alone. `None` if there was nothing.
    ///
    /// # Errors
    /// [`Error::NotOneSubject`] where rows span subjects (ask [`ProjectionEngine::as_of_all`]), [`Error::Unknown`], or the log, store or fold failed.
    pub fn as_of_key(&self, index: &EventIndex, name: &str, key: &str, as_of: AsOf) -> Result<Option<serde_json::Value>, Error> {
        let projection = self.find(name)?.projection.clone();
        let subject = projection.subject_of(key).ok_or_else(|| Error::NotOneSubject(name.to_owned()))?;
        let partitions = self.log.topics()?.into_iter().find(|(topic, _)| topic == projection.topic()).map_or(0, |(_, partitions)| partitions);
        let mut rows: Vec<Vec<u8>> = Vec::new();
        for partition in 0..partitions {
            let mut overlay = projection.overlay();
            index.each_of_subject(&TopicPartition::new(projection.topic(), partition), &subject, &mut |event| {
                if event.event_type().starts_with(tol_events::reserved::PREFIX) || !as_of.includes(&event) {
                    return Ok(());
                }
                // What the live fold sets aside is left out here as well.
                let Ok(event) = tol_events::upcast::upcast(event) else { return Ok(()) };
                match overlay.fold_or_undo(event.view(), &NoRows) {
                    Err(problem) if !problem.is_about_event() => Err(problem.to_string()),
                    Ok(()) | Err(_) => Ok(()),
                }
            })?;
            let mut take = |found: &str, row: Option<&[u8]>| rows.extend(row.filter(|_| found == key).map(<[u8]>::to_vec));
            overlay.drain(&mut take)?;
        }
        Ok(projection.value_at(key, &rows, as_of.time())?)
    }
}
