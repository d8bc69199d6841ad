//! Segment files: names, the scan at start, and the index files that make it short.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::embedded::disk::Disk;
use crate::embedded::format::{self, Entry, FRAME_HEADER, FRAME_MAGIC, SEGMENT_HEADER, TopicEntry};
use crate::embedded::index::{Index, Place};
use crate::embedded::{Cut, io_error};
use crate::log::Error;

const IDX_MAGIC: &[u8; 8] = b"TOLIDX01";

/// One batch as an index file lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub topic: u32,
    pub partition: u32,
    pub place: Place,
}

/// What a segment holds, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub topics: Vec<TopicEntry>,
    pub batches: Vec<Listed>,
}

pub(crate) fn log_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:010}.log"))
}

pub(crate) fn idx_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:010}.idx"))
}

/// Numbers of the segments in `folder`, sorted; they must be dense from 0.
pub(crate) fn list(folder: &Path) -> Result<Vec<u32>, Error> {
    let mut numbers = Vec::new();
    for file in std::fs::read_dir(folder).map_err(|e| io_error("cannot list", folder, &e))? {
        let name = file.map_err(|e| io_error("cannot list", folder, &e))?.file_name();
        if let Some(number) = name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|stem| stem.parse::<u32>().ok()) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    match numbers.iter().zip(0..).find(|(number, expected)| *number != expected) {
        Some((_, expected)) => Err(Error::Corrupt(format!("{} is missing", log_path(folder, expected).display()))),
        None => Ok(numbers),
    }
}

/// Reads a closed segment: by its index file if that fits, else whole (and writes the index file anew).
pub(crate) fn load_closed(folder: &Path, number: u32, disk: &Disk) -> Result<Contents, Error> {
    let path = log_path(folder, number);
    let len = std::fs::metadata(&path).map_err(|e| io_error("cannot read", &path, &e))?.len();
    if let Some(contents) = std::fs::read(idx_path(folder, number)).ok().and_then(|bytes| read_idx(&bytes, number, len)) {
        return Ok(contents);
    }
    let (contents, cut) = scan(folder, number)?;
    match cut {
        Some(cut) => Err(Error::Corrupt(format!("{} at byte {}, followed by newer segments", path.display(), cut.at))),
        None => {
            // Without it the next start is slower, nothing else.
            let _ = write_idx(folder, number, len, &contents, disk);
            Ok(contents)
        }
    }
}

/// Reads a segment with all its checksums. A bad end is reported as a cut, which the caller makes.
pub(crate) fn scan(folder: &Path, number: u32) -> Result<(Contents, Option<Cut>), Error> {
    let path = log_path(folder, number);
    let mut bytes = Vec::new();
    File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(|e| io_error("cannot read", &path, &e))?;
    let cut_at = |at: usize| Cut { file: path.clone(), at: at as u64, bytes: (bytes.len() - at) as u64, kept_in: None };
    let corrupt = |at: usize, what: &str| Error::Corrupt(format!("{} at byte {at}: {what}", path.display()));
    let mut contents = Contents::default();
    if bytes.get(..SEGMENT_HEADER) != Some(&format::segment_header(number)[..]) {
        return match next_frame(&bytes, 0) {
            Some(_) => Err(corrupt(0, "the header is damaged")),
            None => Ok((contents, Some(cut_at(0)))),
        };
    }
    let mut at = SEGMENT_HEADER;
    while at < bytes.len() {
        let Some(entries) = format::read_frame(&bytes[at..]) else {
            // A write that was interrupted is the last thing in the log. With a good frame behind it, it is damage.
            return match next_frame(&bytes, at + 1) {
                Some(next) => Err(corrupt(at, &format!("the checksum does not match, and a good frame follows at byte {next}"))),
                None => Ok((contents, Some(cut_at(at)))),
            };
        };
        let mut offset = 0;
        while offset < entries.len() {
            let Some((entry, len)) = format::read_entry(&entries[offset..]) else { return Err(corrupt(at, "a batch contradicts its frame")) };
            match entry {
                Entry::Topic(topic) => contents.topics.push(topic),
                Entry::Batch(header, _) => contents.batches.push(Listed {
                    topic: header.topic,
                    partition: header.partition,
                    place: Place {
                        base: header.base,
                        appended_at_ms: header.appended_at_ms,
                        count: header.count,
                        segment: number,
                        offset: (at + FRAME_HEADER + offset) as u32,
                        len: len as u32,
                    },
                }),
            }
            offset += len;
        }
        at += FRAME_HEADER + entries.len();
    }
    Ok((contents, None))
}

/// Copies what is about to be cut off into a file of its own, so that nothing is destroyed.
pub(crate) fn keep_cut(cut: &Cut) -> Option<PathBuf> {
    use std::io::{Seek, SeekFrom};
    let kept = cut.file.with_extension(format!("cut-{}", cut.at));
    let copy = || -> std::io::Result<()> {
        let mut from = File::open(&cut.file)?;
        from.seek(SeekFrom::Start(cut.at))?;
        let mut to = File::create(&kept)?;
        std::io::copy(&mut from, &mut to)?;
        to.sync_all()
    };
    // What was never acknowledged is not worth refusing to start, on a full disk for example.
    copy()
        .map_err(|error| {
            let _ = std::fs::remove_file(&kept);
            tracing::warn!(%error, file = %kept.display(), "what is cut off the log could not be kept");
        })
        .ok()?;
    Some(kept)
}

/// The first whole, undamaged frame at or behind `from`.
pub(crate) fn next_frame(bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len().saturating_sub(FRAME_HEADER)).find(|&at| bytes[at..at + 4] == FRAME_MAGIC && format::read_frame(&bytes[at..]).is_some())
}

/// Adds a segment's contents to the index.
pub(crate) fn add(index: &mut Index, contents: &Contents, path: &Path) -> Result<(), Error> {
    for topic in &contents.topics {
        if topic.number != index.next_topic_number() || index.topics().contains_key(&topic.name) {
            return Err(Error::Corrupt(format!("{}: topic {} is numbered twice", path.display(), topic.name)));
        }
        index.add_topic(topic.clone());
    }
    for Listed { topic, partition, place } in &contents.batches {
        let slot = index.topic_partition(*topic, *partition).and_then(|of| index.slot(&of));
        if !slot.is_some_and(|slot| index.add_place(slot, *place)) {
            return Err(Error::Corrupt(format!("{} at byte {}: the batch does not follow the one before it", path.display(), place.offset)));
        }
    }
    Ok(())
}

/// Writes the index file of a segment that gets no more batches.
pub(crate) fn write_idx(folder: &Path, number: u32, segment_len: u64, contents: &Contents, disk: &Disk) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(64 + contents.batches.len() * 36);
    bytes.extend_from_slice(IDX_MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&segment_len.to_le_bytes());
    bytes.extend_from_slice(&(contents.topics.len() as u32).to_le_bytes());
    for topic in &contents.topics {
        format::put_topic(&mut bytes, topic);
    }
    for Listed { topic, partition, place } in &contents.batches {
        for number in [*topic, *partition, place.count, place.offset, place.len] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&place.base.to_le_bytes());
        bytes.extend_from_slice(&place.appended_at_ms.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    disk.write_whole(&idx_path(folder, number), &bytes)
}

fn read_idx(bytes: &[u8], number: u32, segment_len: u64) -> Option<Contents> {
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let fits = bytes.get(..8)? == IDX_MAGIC && u32_at(8)? == crc32c::crc32c(bytes.get(12..)?) && u32_at(12)? == number && u64_at(16)? == segment_len;
    if !fits {
        return None;
    }
    let mut contents = Contents::default();
    let mut at = 28;
    for _ in 0..u32_at(24)? {
        let (Entry::Topic(topic), len) = format::read_entry(bytes.get(at..)?)? else { return None };
        contents.topics.push(topic);
        at += len;
    }
    while at < bytes.len() {
        let place = Place {
            count: u32_at(at + 8)?,
            offset: u32_at(at + 12)?,
            len: u32_at(at + 16)?,
            base: u64_at(at + 20)?,
            appended_at_ms: u64_at(at + 28)? as i64,
            segment: number,
        };
        contents.batches.push(Listed { topic: u32_at(at)?, partition: u32_at(at + 4)?, place });
        at += 36;
    }
    Some(contents)
}
