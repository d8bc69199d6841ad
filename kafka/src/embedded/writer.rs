//! The one thread that writes: takes all waiting appends, assigns positions, one write, one sync, then tells everybody.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::embedded::disk::is_full;
use crate::embedded::format::{self, BatchHeader, FRAME_HEADER, SEGMENT_HEADER, TopicEntry};
use crate::embedded::index::Place;
use crate::embedded::queue::{AppendJob, Job};
use crate::embedded::segment::{self, Contents, Listed};
use crate::embedded::{Shared, io_error};
use crate::log::{Appended, Error, TopicPartition, TopicSpec};
use crate::metric_definitions as m;
use crate::record::Batch;

/// Appends to it may use the reserve: an emergency stop must be written on a full disk too.
const CONTROL: &str = "control";
/// How long to wait before taking the reserve again.
const RESERVE_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Writer {
    pub shared: Arc<Shared>,
    /// The open segment, its number, its length (all durable) and what it holds.
    pub file: File,
    pub number: u32,
    pub len: u64,
    pub contents: Contents,
    /// Times in the log never go back, or a position could not be found by time.
    pub last_appended_at_ms: i64,
    pub buffer: Vec<u8>,
    pub reserve_tried: Option<Instant>,
}

type Planned = Result<Vec<(Listed, usize)>, Error>;

impl Writer {
    pub(crate) fn run(mut self) {
        loop {
            let jobs = self.shared.queue.take(self.shared.options.group_bytes);
            if jobs.is_empty() {
                return;
            }
            let mut appends = Vec::new();
            for job in jobs {
                match job {
                    Job::Append(append) => appends.push(append),
                    Job::Refused(done, error) => {
                        // In order with what was queued before it.
                        self.append(std::mem::take(&mut appends));
                        done(Err(error));
                    }
                    Job::Topics(specs, reply) => {
                        self.append(std::mem::take(&mut appends));
                        let _ = reply.send(self.create_topics(&specs));
                    }
                }
            }
            self.append(appends);
        }
    }

    fn append(&mut self, jobs: Vec<AppendJob>) {
        if jobs.is_empty() {
            return;
        }
        let bytes = jobs.iter().map(|job| job.bytes).sum();
        match self.commit(&jobs) {
            Ok(planned) => self.finish(jobs, planned, bytes),
            Err(full @ Error::DiskFull(_)) => {
                // What stops the business goes through; all else waits for space.
                let (control, others): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.batches.iter().all(|batch| &*batch.to.topic == CONTROL));
                let control_bytes = control.iter().map(|job| job.bytes).sum();
                self.fail(others, &full, bytes - control_bytes);
                if control.is_empty() {
                    return;
                }
                self.release_reserve();
                match self.commit(&control) {
                    Ok(planned) => self.finish(control, planned, control_bytes),
                    Err(error) => self.fail(control, &error, control_bytes),
                }
            }
            Err(error) => self.fail(jobs, &error, bytes),
        }
    }

    fn fail(&self, jobs: Vec<AppendJob>, error: &Error, bytes: usize) {
        self.shared.queue.release(bytes);
        for job in jobs {
            (job.done)(Err(error.clone()));
        }
    }

    /// Writes what may be written of `jobs`; one plan a job, an error for those whose expected position is wrong.
    fn commit(&mut self, jobs: &[AppendJob]) -> Result<Vec<Planned>, Error> {
        let started = Instant::now();
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64).max(self.last_appended_at_ms);
        let mut buffer = std::mem::take(&mut self.buffer);
        format::begin_frame(&mut buffer);
        let planned = self.plan(jobs, now_ms, &mut buffer);
        let written = if buffer.len() > FRAME_HEADER { self.write(&mut buffer) } else { Ok(0) };
        // A large append must not keep its memory for ever.
        self.buffer = if buffer.capacity() > 4 * self.shared.options.group_bytes { Vec::new() } else { buffer };
        let at = written?;
        self.last_appended_at_ms = now_ms;
        m::commit_seconds().record(started.elapsed().as_secs_f64());
        let place = |(listed, slot): (Listed, usize)| {
            let place = Place { segment: self.number, offset: at as u32 + listed.place.offset, ..listed.place };
            (Listed { place, ..listed }, slot)
        };
        Ok(planned.into_iter().map(|plan| plan.map(|batches| batches.into_iter().map(place).collect())).collect())
    }

    fn plan(&self, jobs: &[AppendJob], now_ms: i64, buffer: &mut Vec<u8>) -> Vec<Planned> {
        let index = self.shared.index();
        let mut ends: HashMap<usize, u64> = HashMap::new();
        let mut plan_one = |job: &AppendJob| -> Planned {
            let mut after: Vec<(usize, u64)> = Vec::with_capacity(job.batches.len());
            for batch in &job.batches {
                let known = || ends.get(&batch.slot).copied().unwrap_or_else(|| index.partition(batch.slot).end);
                let end = after.iter().rev().find(|(slot, _)| *slot == batch.slot).map_or_else(known, |(_, end)| *end);
                match batch.expected {
                    Some(expected) if expected != end => return Err(Error::Conflict { to: batch.to.clone(), expected, end }),
                    _ => after.push((batch.slot, end + u64::from(batch.count))),
                }
            }
            let mut listed = Vec::with_capacity(job.batches.len());
            for (batch, (slot, end)) in job.batches.iter().zip(&after) {
                let (base, stored) = (end - u64::from(batch.count), batch.stored());
                let header = BatchHeader {
                    topic: batch.topic,
                    partition: batch.to.partition,
                    base,
                    count: batch.count,
                    appended_at_ms: now_ms,
                    lz4: batch.packed.is_some(),
                    raw_len: batch.raw.len() as u32,
                    stored_len: stored.len() as u32,
                };
                let (offset, len) = format::put_batch(buffer, &header, stored);
                let place = Place { base, appended_at_ms: now_ms, count: batch.count, segment: 0, offset, len };
                listed.push((Listed { topic: batch.topic, partition: batch.to.partition, place }, *slot));
            }
            ends.extend(after);
            Ok(listed)
        };
        jobs.iter().map(&mut plan_one).collect()
    }

    /// Publishes what is durable and calls everybody.
    fn finish(&mut self, jobs: Vec<AppendJob>, planned: Vec<Planned>, bytes: usize) {
        let mut woken: Vec<TopicPartition> = Vec::new();
        let mut records = 0;
        let mut calls = Vec::with_capacity(jobs.len());
        {
            let mut index = self.shared.index_mut();
            for (job, plan) in jobs.into_iter().zip(planned) {
                let outcome = plan.map(|listed| {
                    let publish = |(batch, (listed, slot)): (crate::embedded::queue::Prepared, (Listed, usize))| {
                        let Place { base, count, appended_at_ms, .. } = listed.place;
                        index.add_place(slot, listed.place);
                        index.keep(slot, Arc::new(Batch::new(batch.to.clone(), base, count, appended_at_ms, batch.raw)));
                        self.contents.batches.push(listed);
                        records += u64::from(count);
                        if !woken.contains(&batch.to) {
                            woken.push(batch.to.clone());
                        }
                        Appended { to: batch.to, positions: (base..base + u64::from(count)).collect() }
                    };
                    job.batches.into_iter().zip(listed).map(publish).collect()
                });
                calls.push((job.done, outcome));
            }
        }
        m::records_appended().increment(records);
        self.shared.queue.release(bytes);
        for (done, outcome) in calls {
            done(outcome);
        }
        self.shared.wake(&woken);
        self.take_reserve();
    }

    fn create_topics(&mut self, specs: &[TopicSpec]) -> Result<(), Error> {
        let missing = self.shared.missing_topics(specs)?;
        if missing.is_empty() {
            return Ok(());
        }
        let first = self.shared.index().next_topic_number();
        let mut buffer = Vec::new();
        format::begin_frame(&mut buffer);
        let mut entries: Vec<TopicEntry> = Vec::new();
        for (spec, number) in missing.into_iter().zip(first..) {
            let retention_ms = spec.retention.map_or(u64::MAX, |kept| kept.as_millis() as u64);
            entries.push(TopicEntry { number, partitions: spec.partitions, retention_ms, name: spec.name.clone() });
        }
        entries.iter().for_each(|entry| format::put_topic(&mut buffer, entry));
        self.write(&mut buffer)?;
        let mut index = self.shared.index_mut();
        for entry in entries {
            self.contents.topics.push(entry.clone());
            index.add_topic(entry);
        }
        Ok(())
    }

    /// Writes one frame and makes it durable; gives its offset. After a failure the file is as before.
    fn write(&mut self, frame: &mut [u8]) -> Result<u64, Error> {
        if let Some(reason) = self.shared.failure() {
            return Err(Error::Unavailable(reason));
        }
        format::finish_frame(frame);
        if self.len + frame.len() as u64 > self.shared.options.segment_bytes && self.len > SEGMENT_HEADER as u64 {
            // If that fails (no space for one more file) the old segment goes on; the write itself tells what is wrong.
            let rolled = self.roll();
            if let Err(error) = rolled
                && self.len + frame.len() as u64 > u64::from(u32::MAX)
            {
                return Err(error);
            }
        }
        let path = segment::log_path(&self.shared.folder, self.number);
        if let Err(error) = self.shared.disk.write_at(&self.file, frame, self.len) {
            if let Err(cut) = self.file.set_len(self.len) {
                self.shared.set_failure(format!("{} could not be cut back after a failed write ({error}): {cut}; restart tol", path.display()));
            }
            self.shared.set_full(is_full(&error));
            return Err(io_error("cannot write", &path, &error));
        }
        if let Err(error) = self.shared.disk.sync(&self.file) {
            // The kernel may have thrown the pages away: nothing written from now on could be trusted.
            self.shared.set_failure(format!("syncing {} failed: {error}; check the disk and restart tol", path.display()));
            return Err(io_error("cannot sync", &path, &error));
        }
        let at = self.len;
        self.len += frame.len() as u64;
        self.shared.set_durable(self.number, self.len);
        self.shared.set_full(false);
        Ok(at)
    }

    fn roll(&mut self) -> Result<(), Error> {
        let folder = &self.shared.folder;
        // Only a cache: without it the next start reads the segment instead.
        let _ = segment::write_idx(folder, self.number, self.len, &self.contents, &self.shared.disk);
        self.file = create_segment(&self.shared, self.number + 1)?;
        self.number += 1;
        self.len = SEGMENT_HEADER as u64;
        self.contents = Contents::default();
        Ok(())
    }

    fn release_reserve(&mut self) {
        if let Err(error) = self.shared.disk.release(&self.shared.reserve_path()) {
            tracing::warn!(%error, "the log's disk reserve is gone already");
        }
        self.reserve_tried = Some(Instant::now());
    }

    fn take_reserve(&mut self) {
        // `None`: it is held.
        if self.reserve_tried.is_some_and(|tried| tried.elapsed() >= RESERVE_EVERY) {
            let taken = self.shared.disk.reserve(&self.shared.reserve_path(), self.shared.options.reserve_bytes);
            self.reserve_tried = taken.is_err().then(Instant::now);
        }
    }
}

/// Makes segment `number` durable with its header, and its name in the folder.
pub(crate) fn create_segment(shared: &Shared, number: u32) -> Result<File, Error> {
    let path = segment::log_path(&shared.folder, number);
    let create = || {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        shared.disk.write_at(&file, &format::segment_header(number), 0)?;
        shared.disk.sync(&file)?;
        shared.disk.sync_folder(&shared.folder)?;
        Ok(file)
    };
    create().map_err(|error| {
        let _ = std::fs::remove_file(&path);
        io_error("cannot create", &path, &error)
    })
}
