//! Following its own topic: what is read is folded, and written when it has come to much (E5).

use std::sync::Arc;

use tol_kafka::{Batch, Cursor, Delivery, Position, Reader, TopicPartition};

use super::{Action, Error, Meta, Mutation, Owner, cache, fold};

impl Owner {
    /// Starts over with an empty cache: what it names is not in the log (E10). Call before reading, when the log ends below
    /// [`Owner::read_own_from`] or does not hold [`Owner::last_event`].
    ///
    /// # Errors
    /// The store failed.
    pub fn forget(&mut self) -> Result<(), Error> {
        self.cache.clear()?;
        self.meta = Meta { log: self.meta.log.clone(), ..Meta::default() };
        self.unwritten = false;
        self.positions.clear();
        self.recorded.clear();
        self.writer.reset(Cursor::default());
        Ok(())
    }

    /// Where to read its own topic, if it wants to: not while it is active.
    pub fn read_own_from(&self) -> Option<Position> {
        (!self.writer.is_active()).then(|| self.writer.read_from())
    }

    /// Takes a batch of its own topic. What was folded is written when it has come to much, when there is nothing more to read
    /// ([`Owner::rest`]), and before it becomes active: from then on all that is in memory only may be dropped (E6).
    ///
    /// # Errors
    /// The owner ends: its topic cannot be read or folded.
    pub fn take_own(&mut self, batch: &Arc<Batch>) -> Result<(), Error> {
        if self.writer.is_active() {
            return Ok(());
        }
        let mut failed: Option<Error> = None;
        {
            let Self { writer, cache, meta, system, .. } = self;
            let own = writer.partition().clone();
            let stopped = writer.take_own(batch, &mut |delivery| {
                let Delivery::Group { events, first_sequence, .. } = delivery else { return Ok(()) };
                for (offset, (position, event)) in events.iter().enumerate() {
                    if let Err(problem) = fold::fold(cache, meta, system.as_ref(), *event, *position, first_sequence + offset as u64) {
                        let text = problem.to_string();
                        failed = Some(match problem {
                            Error::System(_) => Error::Fold { partition: own.clone(), position: *position, problem: text.clone() },
                            other => other,
                        });
                        return Err(text);
                    }
                }
                Ok(())
            });
            if let Err(stop) = stopped {
                // Rows of an owner that took the cache over are no reason to say that the log cannot be folded.
                cache.check_token()?;
                return Err(failed.unwrap_or(Error::Stopped(stop)));
            }
        }
        self.meta.own = self.stored(self.writer.reader());
        self.unwritten = true;
        let active = self.writer.is_active() && !self.options.breaks(Mutation::ActiveUnwritten);
        if active || self.cache.changed_bytes() >= self.options.unwritten_bytes {
            self.write_folded()?;
        } else if self.options.breaks(Mutation::PositionsBeforeRows) {
            self.write(cache::Cut::default())?;
        }
        self.positions = self.meta.inputs.clone();
        self.recorded = self.meta.inputs.clone();
        if self.writer.is_active() {
            self.begin()?;
        }
        Ok(())
    }

    /// Writes what was folded, at the end of its own topic, so that readers of the cache and its next owner find it.
    ///
    /// # Errors
    /// The owner ends: the store failed or it lost its cache.
    pub fn rest(&mut self) -> Result<(), Error> {
        if self.unwritten && !self.writer.is_active() { self.write_folded() } else { Ok(()) }
    }

    /// Bytes folded and not written yet, roughly.
    pub fn unwritten_bytes(&self) -> usize {
        if self.unwritten { self.cache.changed_bytes() } else { 0 }
    }

    /// State and positions as they were folded, in one write (E5).
    fn write_folded(&mut self) -> Result<(), Error> {
        let cut = self.cache.cut_at_once()?;
        self.unwritten = false;
        self.write(cut)
    }

    /// What a reader has done with (E5).
    pub(super) fn stored(&self, reader: &Reader) -> Cursor {
        let cursor = reader.cursor();
        if self.options.breaks(Mutation::HeldSkipped) { Cursor { position: reader.next(), ..cursor } } else { cursor }
    }

    /// It just became active: inputs go on where the log says (E5), pending effects run again.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        self.lost = 0;
        self.claim_position = None;
        self.readers.clear();
        self.joined.clear();
        for (topic, partition) in self.input_partitions() {
            let partition = TopicPartition::new(topic, partition);
            let mut cursor = self.meta.inputs.get(&partition).copied().unwrap_or_default();
            if self.options.breaks(Mutation::FilterForgotten) {
                cursor = Cursor { position: cursor.position, ..Cursor::default() };
            }
            self.readers.insert(partition.clone(), Reader::resume(partition, cursor));
        }
        for (request_id, effect) in self.cache.effects()? {
            if self.options.breaks(Mutation::EffectsForgotten) {
                break;
            }
            self.actions.push(Action::StartEffect(request_id, effect));
        }
        Ok(())
    }
}
