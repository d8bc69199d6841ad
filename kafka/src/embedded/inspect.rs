//! Reading a log's files with every checksum, without opening it: for `tol doctor`, and to say what damage means in positions.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::embedded::format::{self, Entry, FRAME_HEADER, SEGMENT_HEADER, TopicEntry};
use crate::embedded::{io_error, segment};
use crate::log::{Error, Position, TopicPartition};

/// Records that are missing between two that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Their partition.
    pub of: TopicPartition,
    /// The first that is missing.
    pub from: Position,
    /// The first that is there again.
    pub to: Position,
}

/// Bytes that do not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub file: PathBuf,
    /// First byte that does not read.
    pub at: u64,
    /// First byte that reads again.
    pub until: u64,
    /// The records that lie there.
    pub gaps: Vec<Gap>,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is damaged from byte {} to byte {}", self.file.display(), self.at, self.until)?;
        for (place, gap) in self.gaps.iter().enumerate() {
            let lead = if place == 0 { "; there lie " } else { ", " };
            write!(f, "{lead}{} positions {} to {}", gap.of, gap.from, gap.to.saturating_sub(1))?;
        }
        Ok(())
    }
}

/// What reading all files found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Segment files.
    pub segments: u32,
    /// Records that read, in all partitions.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The end of the last segment that does not read: file, first byte, bytes. An interrupted last write leaves such an end; opening cuts it off.
    pub torn: Option<(PathBuf, u64, u64)>,
    /// Damage that is no torn end.
    pub damages: Vec<Damage>,
}

/// What is known while the segments are walked through.
#[derive(Default)]
struct Walk {
    topics: BTreeMap<u32, TopicEntry>,
    ends: BTreeMap<(u32, u32), Position>,
    found: Inspection,
}

impl Walk {
    fn frame(&mut self, mut entries: &[u8]) {
        while let Some((entry, len)) = format::read_entry(entries) {
            match entry {
                Entry::Topic(topic) => drop(self.topics.insert(topic.number, topic)),
                Entry::Batch(header, _) => {
                    let end = self.ends.entry((header.topic, header.partition)).or_default();
                    if header.base > *end
                        && let Some(damage) = self.found.damages.last_mut()
                    {
                        let name = self.topics.get(&header.topic).map_or_else(|| format!("topic number {}", header.topic), |topic| topic.name.clone());
                        damage.gaps.push(Gap { of: TopicPartition::new(name.as_str(), header.partition), from: *end, to: header.base });
                    }
                    *end = header.base + u64::from(header.count);
                    self.found.records += u64::from(header.count);
                }
            }
            entries = &entries[len..];
        }
    }

    fn segment(&mut self, path: &Path, number: u32, is_last: bool) -> Result<(), Error> {
        let mut bytes = Vec::new();
        File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(|e| io_error("cannot read", path, &e))?;
        self.found.bytes += bytes.len() as u64;
        let mut at = if bytes.get(..SEGMENT_HEADER) == Some(&format::segment_header(number)[..]) { SEGMENT_HEADER } else { 0 };
        if at == 0 && bytes.is_empty() {
            self.end(path, 0, 0, is_last);
        }
        while at < bytes.len() {
            let Some(entries) = format::read_frame(&bytes[at..]) else {
                let next = segment::next_frame(&bytes, at + usize::from(at > 0));
                match next {
                    Some(next) => {
                        self.found.damages.push(Damage { file: path.to_owned(), at: at as u64, until: next as u64, gaps: Vec::new() });
                        at = next;
                        continue;
                    }
                    None => {
                        self.end(path, at, bytes.len(), is_last);
                        break;
                    }
                }
            };
            let len = entries.len();
            self.frame(entries);
            at += FRAME_HEADER + len;
        }
        Ok(())
    }

    /// Nothing reads from `at` to the end of the segment.
    fn end(&mut self, path: &Path, at: usize, len: usize, is_last: bool) {
        if is_last {
            self.found.torn = Some((path.to_owned(), at as u64, (len - at) as u64));
        } else {
            self.found.damages.push(Damage { file: path.to_owned(), at: at as u64, until: len as u64, gaps: Vec::new() });
        }
    }
}

/// Reads every segment in `folder` with all checksums. Changes nothing and takes no lock: beside a node that runs, the last write may show as torn.
///
/// # Errors
/// A file cannot be read, or a segment is missing.
pub fn inspect(folder: &Path) -> Result<Inspection, Error> {
    let numbers = segment::list(folder)?;
    let mut walk = Walk::default();
    for number in &numbers {
        walk.segment(&segment::log_path(folder, *number), *number, Some(number) == numbers.last())?;
    }
    walk.found.segments = numbers.len() as u32;
    Ok(walk.found)
}

/// `error`, with what the damage means in positions where reading everything tells that.
pub(crate) fn explain(folder: &Path, error: Error) -> Error {
    let Error::Corrupt(what) = &error else { return error };
    match inspect(folder) {
        Ok(found) if !found.damages.is_empty() => {
            let damages: Vec<String> = found.damages.iter().map(ToString::to_string).collect();
            Error::Corrupt(format!("{what} ({})", damages.join("; ")))
        }
        _ => error,
    }
}
