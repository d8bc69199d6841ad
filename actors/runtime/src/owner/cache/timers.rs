//! Timers: a row by time, in which they come due, and one by name.

use tol_events::EventTime;

use super::{Cache, key};
use crate::owner::Error;

/// A timer whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueTimer {
    /// When it was due.
    pub due: EventTime,
    /// The subject it was set for.
    pub subject: String,
    /// Its name.
    pub id: String,
    /// The event that set it.
    pub set_by: String,
    /// That event's correlation.
    pub correlation: String,
}

/// A timer that an event sets.
#[derive(Clone, Copy, Debug)]
pub struct SetTimer<'a> {
    /// When it is due.
    pub due: EventTime,
    /// The event's id, which tells this firing from another of the same name at the same time.
    pub set_by: &'a str,
    /// The event's correlation, which is kept by what the timer leads to.
    pub correlation: &'a str,
}

impl Cache {
    /// Sets, moves or (with `None`) cancels a timer.
    ///
    /// # Errors
    /// The store failed.
    pub fn set_timer(&mut self, subject: &str, id: &str, set: Option<SetTimer<'_>>) -> Result<(), Error> {
        let by_name = key(&self.prefix, b'u', &[subject.as_bytes(), id.as_bytes()]);
        if let Some(old) = self.row(&by_name)? {
            let old_due: [u8; 8] = old.as_slice().try_into().map_err(|_| Error::Internal("a timer's row is not 8 bytes"))?;
            self.rows.insert(self.timer_key(old_due, subject, id), None);
        }
        if let Some(SetTimer { due, .. }) = set {
            // Unknown stays unknown; what is cancelled may stay the bound.
            self.first_due = self.first_due.map(|first| Some(first.map_or(due, |first| first.min(due))));
        }
        let row = set.map(|set| {
            let due = ordered(set.due);
            // The id is a UUID, so that the first NUL ends it.
            self.rows.insert(self.timer_key(due, subject, id), Some(format!("{}\0{}", set.set_by, set.correlation).into_bytes()));
            due.to_vec()
        });
        self.rows.insert(by_name, row);
        Ok(())
    }

    fn timer_key(&self, due: [u8; 8], subject: &str, id: &str) -> Vec<u8> {
        let mut row = key(&self.prefix, b't', &[&due]);
        row.extend_from_slice(subject.as_bytes());
        row.push(0);
        row.extend_from_slice(id.as_bytes());
        row
    }

    /// The first timer in (due, subject, id) order, if it is due at `now`.
    ///
    /// # Errors
    /// The store failed.
    pub fn due_timer(&mut self, now: EventTime) -> Result<Option<DueTimer>, Error> {
        if !self.may_be_due(now) {
            return Ok(None);
        }
        let first = self.first_timer()?;
        self.first_due = Some(first.as_ref().map(|timer| timer.due));
        Ok(first.filter(|timer| timer.due <= now))
    }

    /// Whether a timer is due at `now`. Looks at the rows only where one may be.
    ///
    /// # Errors
    /// The store failed.
    pub fn is_timer_due(&mut self, now: EventTime) -> Result<bool, Error> {
        Ok(self.due_timer(now)?.is_some())
    }

    fn may_be_due(&self, now: EventTime) -> bool {
        self.first_due.is_none_or(|first| first.is_some_and(|first| first <= now))
    }

    /// The first timer in (due, subject, id) order, due or not.
    ///
    /// # Errors
    /// The store failed.
    pub fn first_timer(&self) -> Result<Option<DueTimer>, Error> {
        let prefix = key(&self.prefix, b't', &[]);
        let Some((row, set)) = self.rows_below(&prefix, 1)?.into_iter().next() else { return Ok(None) };
        let malformed = Error::Internal("a timer's key does not read");
        let rest = row.get(prefix.len()..).ok_or(malformed)?;
        let (due, name) = rest.split_at_checked(8).ok_or(Error::Internal("a timer's key is too short"))?;
        let due = unordered(due.try_into().map_err(|_| Error::Internal("a timer's key is too short"))?);
        let name = std::str::from_utf8(name).map_err(|_| Error::Internal("a timer's name is not UTF-8"))?;
        let (subject, id) = name.split_once('\0').ok_or(Error::Internal("a timer's key has no id"))?;
        let set = String::from_utf8(set).map_err(|_| Error::Internal("a timer's row is not UTF-8"))?;
        let (set_by, correlation) = set.split_once('\0').ok_or(Error::Internal("a timer's row has no correlation"))?;
        Ok(Some(DueTimer { due, subject: subject.to_owned(), id: id.to_owned(), set_by: set_by.to_owned(), correlation: correlation.to_owned() }))
    }
}

/// Bytes that sort as the times do.
fn ordered(time: EventTime) -> [u8; 8] {
    ((time.as_micros() as u64) ^ (1 << 63)).to_be_bytes()
}

fn unordered(bytes: [u8; 8]) -> EventTime {
    EventTime::from_micros((u64::from_be_bytes(bytes) ^ (1 << 63)) as i64)
}
