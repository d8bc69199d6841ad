//! Reading: recent batches from memory, older ones from their files.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use crate::embedded::format::{self, Entry};
use crate::embedded::index::Place;
use crate::embedded::{Shared, io_error, lock, segment};
use crate::log::{Error, Position, TopicPartition};
use crate::record::Batch;

/// Open files at a time; a log may have more segments than a process may open.
const OPEN_FILES: usize = 64;
/// Batches one read looks up at most.
const BATCHES_A_READ: usize = 4096;

/// The segments that are open for reading.
#[derive(Debug, Default)]
pub(crate) struct Files(Mutex<BTreeMap<u32, Arc<File>>>);

impl Files {
    fn get(&self, shared: &Shared, number: u32) -> Result<Arc<File>, Error> {
        let mut files = lock(&self.0);
        if let Some(file) = files.get(&number) {
            return Ok(file.clone());
        }
        let path = segment::log_path(&shared.folder, number);
        let file = Arc::new(File::open(&path).map_err(|e| io_error("cannot open", &path, &e))?);
        if files.len() >= OPEN_FILES {
            files.pop_first();
        }
        files.insert(number, file.clone());
        Ok(file)
    }
}

enum Found {
    Recent(Arc<Batch>),
    Stored(Place),
}

impl Shared {
    pub(crate) fn read(&self, from: &TopicPartition, position: Position, max_bytes: usize) -> Result<Vec<Arc<Batch>>, Error> {
        let found = self.look_up(from, position, max_bytes)?;
        let mut batches = Vec::with_capacity(found.len());
        let mut bytes = 0;
        for found in found {
            let batch = match found {
                Found::Recent(batch) => batch,
                Found::Stored(place) => Arc::new(self.read_stored(from, place)?),
            };
            // The first always; later ones only if they fit, lest one large batch follows many small ones.
            if !batches.is_empty() && bytes + batch.body().len() > max_bytes {
                break;
            }
            bytes += batch.body().len();
            batches.push(batch);
        }
        Ok(batches)
    }

    fn look_up(&self, from: &TopicPartition, position: Position, max_bytes: usize) -> Result<Vec<Found>, Error> {
        let index = self.index();
        let slot = index.slot(from).ok_or_else(|| Error::Unknown(from.to_string()))?;
        let partition = index.partition(slot);
        if position > partition.end {
            return Err(Error::OutOfRange { of: from.clone(), position, earliest: 0, end: partition.end });
        }
        let mut found = Vec::new();
        if position == partition.end {
            return Ok(found);
        }
        let mut bytes = 0;
        for at in partition.find(position)..partition.places.len().min(partition.find(position) + BATCHES_A_READ) {
            let place = partition.places[at];
            found.push(match partition.recent(at) {
                Some(batch) => Found::Recent(batch.clone()),
                None => Found::Stored(place),
            });
            // Compressed sizes: enough is found when even they fill the answer.
            bytes += place.len as usize;
            if bytes >= max_bytes {
                break;
            }
        }
        Ok(found)
    }

    fn read_stored(&self, of: &TopicPartition, place: Place) -> Result<Batch, Error> {
        let path = segment::log_path(&self.folder, place.segment);
        let corrupt = |what: &str| {
            let last = place.base + u64::from(place.count) - 1;
            self.damaged(format!(
                "{} at byte {}: {what}; it holds {of} positions {} to {last}, and nothing of {of} is served past them; restore that file from a backup",
                path.display(),
                place.offset,
                place.base,
            ))
        };
        let mut bytes = vec![0; place.len as usize];
        let file = self.files.get(self, place.segment)?;
        file.read_exact_at(&mut bytes, u64::from(place.offset)).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => corrupt("the file ends within a batch"),
            _ => io_error("cannot read", &path, &error),
        })?;
        let Some((Entry::Batch(header, stored), _)) = format::read_entry(&bytes) else {
            return Err(corrupt("the checksum of the batch does not match"));
        };
        if (header.base, header.count, header.partition) != (place.base, place.count, of.partition) {
            return Err(corrupt("another batch lies where the index says"));
        }
        let body = format::decompress(&header, stored).ok_or_else(|| corrupt("the batch does not decompress"))?;
        Ok(Batch::new(of.clone(), header.base, header.count, header.appended_at_ms, body))
    }

    /// Damage that a reader met: said once in the log, and in [`crate::EventLog::health`] until the next start.
    fn damaged(&self, what: String) -> Error {
        let mut known = lock(&self.damage);
        if known.is_none() {
            tracing::error!(problem = what, "the embedded log is damaged");
            crate::metric_definitions::damaged_batches().increment(1);
            *known = Some(Error::Corrupt(what.clone()).to_string());
        }
        Error::Corrupt(what)
    }
}
