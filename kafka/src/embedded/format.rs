//! The bytes of a segment file.
//!
//! ```text
//! segment := "TOLLOG01" number:u32 crc:u32  frame*
//! frame   := magic:u32 crc:u32 len:u32  entry*          one write, one sync; crc over len and the entries
//! entry   := crc:u32 kind:u8 ...                        crc over the rest of the entry, so that a batch can be read alone
//! topic   := 1 number:u32 partitions:u32 retention_ms:u64 name_len:u16 name
//! batch   := 2 topic:u32 partition:u32 base:u64 count:u32 appended_at_ms:i64 flags:u8 raw_len:u32 stored_len:u32 body
//! ```
//! Numbers are little-endian. A frame holds whole calls only, so a torn frame never leaves half of one.

use bytes::Bytes;

/// First bytes of a segment file.
pub(crate) const SEGMENT_MAGIC: &[u8; 8] = b"TOLLOG01";
/// Bytes before the first frame.
pub(crate) const SEGMENT_HEADER: usize = 16;
/// First bytes of a frame.
pub(crate) const FRAME_MAGIC: [u8; 4] = *b"TOLF";
/// Bytes before the first entry.
pub(crate) const FRAME_HEADER: usize = 12;
/// Bytes of a batch entry before its body.
pub(crate) const BATCH_HEADER: usize = 42;
const TOPIC: u8 = 1;
const BATCH: u8 = 2;
/// The body is compressed with LZ4.
const FLAG_LZ4: u8 = 1;

/// A batch's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Number of the topic in this log.
    pub topic: u32,
    pub partition: u32,
    pub base: u64,
    pub count: u32,
    pub appended_at_ms: i64,
    pub lz4: bool,
    /// Bytes of the body before compression.
    pub raw_len: u32,
    pub stored_len: u32,
}

/// A topic as created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicEntry {
    pub number: u32,
    pub partitions: u32,
    /// `u64::MAX` is for ever. Kept for `tol migrate`; this log deletes nothing.
    pub retention_ms: u64,
    pub name: String,
}

/// One entry of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    Topic(TopicEntry),
    Batch(BatchHeader, &'a [u8]),
}

/// The header of segment `number`.
pub(crate) fn segment_header(number: u32) -> [u8; SEGMENT_HEADER] {
    let mut header = [0; SEGMENT_HEADER];
    header[..8].copy_from_slice(SEGMENT_MAGIC);
    header[8..12].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Begins a frame in the empty `buffer`.
pub(crate) fn begin_frame(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.extend_from_slice(&FRAME_MAGIC);
    buffer.extend_from_slice(&[0; 8]);
}

/// Fills in the frame's length and checksum.
pub(crate) fn finish_frame(buffer: &mut [u8]) {
    let len = (buffer.len() - FRAME_HEADER) as u32;
    buffer[8..12].copy_from_slice(&len.to_le_bytes());
    let crc = crc32c::crc32c(&buffer[8..]);
    buffer[4..8].copy_from_slice(&crc.to_le_bytes());
}

fn finish_entry(buffer: &mut [u8], start: usize) {
    let crc = crc32c::crc32c(&buffer[start + 4..]);
    buffer[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Adds a topic to a frame.
pub(crate) fn put_topic(buffer: &mut Vec<u8>, topic: &TopicEntry) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    buffer.push(TOPIC);
    buffer.extend_from_slice(&topic.number.to_le_bytes());
    buffer.extend_from_slice(&topic.partitions.to_le_bytes());
    buffer.extend_from_slice(&topic.retention_ms.to_le_bytes());
    buffer.extend_from_slice(&(topic.name.len() as u16).to_le_bytes());
    buffer.extend_from_slice(topic.name.as_bytes());
    finish_entry(buffer, start);
}

/// Adds a batch to a frame; gives its offset in the frame and its length.
pub(crate) fn put_batch(buffer: &mut Vec<u8>, header: &BatchHeader, body: &[u8]) -> (u32, u32) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    buffer.push(BATCH);
    buffer.extend_from_slice(&header.topic.to_le_bytes());
    buffer.extend_from_slice(&header.partition.to_le_bytes());
    buffer.extend_from_slice(&header.base.to_le_bytes());
    buffer.extend_from_slice(&header.count.to_le_bytes());
    buffer.extend_from_slice(&header.appended_at_ms.to_le_bytes());
    buffer.push(if header.lz4 { FLAG_LZ4 } else { 0 });
    buffer.extend_from_slice(&header.raw_len.to_le_bytes());
    buffer.extend_from_slice(&header.stored_len.to_le_bytes());
    buffer.extend_from_slice(body);
    finish_entry(buffer, start);
    (start as u32, (buffer.len() - start) as u32)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The entries' bytes of the frame at the start of `bytes`, if it is whole and undamaged.
pub(crate) fn read_frame(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.get(..4)? != FRAME_MAGIC {
        return None;
    }
    let len = u32_at(bytes, 8)? as usize;
    let checked = bytes.get(8..FRAME_HEADER.checked_add(len)?)?;
    (crc32c::crc32c(checked) == u32_at(bytes, 4)?).then(|| &checked[4..])
}

/// The entry at the start of `bytes` with its length, if it is whole and undamaged.
pub(crate) fn read_entry(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let crc = u32_at(bytes, 0)?;
    let (entry, len) = match *bytes.get(4)? {
        TOPIC => {
            let name_len = u16::from_le_bytes(bytes.get(21..23)?.try_into().ok()?) as usize;
            let name = std::str::from_utf8(bytes.get(23..23 + name_len)?).ok()?.to_owned();
            let topic = TopicEntry { number: u32_at(bytes, 5)?, partitions: u32_at(bytes, 9)?, retention_ms: u64_at(bytes, 13)?, name };
            (Entry::Topic(topic), 23 + name_len)
        }
        BATCH => {
            let header = BatchHeader {
                topic: u32_at(bytes, 5)?,
                partition: u32_at(bytes, 9)?,
                base: u64_at(bytes, 13)?,
                count: u32_at(bytes, 21)?,
                appended_at_ms: u64_at(bytes, 25)? as i64,
                lz4: bytes.get(33)? & FLAG_LZ4 != 0,
                raw_len: u32_at(bytes, 34)?,
                stored_len: u32_at(bytes, 38)?,
            };
            let len = BATCH_HEADER.checked_add(header.stored_len as usize)?;
            (Entry::Batch(header, bytes.get(BATCH_HEADER..len)?), len)
        }
        _ => return None,
    };
    (crc32c::crc32c(&bytes[4..len]) == crc).then_some((entry, len))
}

/// Compresses a body where that makes it smaller.
pub(crate) fn compress(raw: &[u8]) -> Option<Vec<u8>> {
    let packed = lz4_flex::block::compress(raw);
    (packed.len() < raw.len()).then_some(packed)
}

/// A stored body as it was before compression.
pub(crate) fn decompress(header: &BatchHeader, stored: &[u8]) -> Option<Bytes> {
    if !header.lz4 {
        return Some(Bytes::copy_from_slice(stored));
    }
    let raw = lz4_flex::block::decompress(stored, header.raw_len as usize).ok()?;
    (raw.len() == header.raw_len as usize).then(|| raw.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_and_every_flipped_byte_is_found() {
        let topic = TopicEntry { number: 3, partitions: 4, retention_ms: u64::MAX, name: "facts.customer".into() };
        let header = BatchHeader { topic: 3, partition: 1, base: 9, count: 2, appended_at_ms: -5, lz4: false, raw_len: 4, stored_len: 4 };
        let mut frame = Vec::new();
        begin_frame(&mut frame);
        put_topic(&mut frame, &topic);
        let (offset, len) = put_batch(&mut frame, &header, b"body");
        finish_frame(&mut frame);
        let entries = read_frame(&frame).unwrap();
        let (first, first_len) = read_entry(entries).unwrap();
        assert_eq!(first, Entry::Topic(topic));
        assert_eq!(read_entry(&entries[first_len..]).unwrap(), (Entry::Batch(header, b"body"), len as usize));
        assert_eq!(offset as usize, FRAME_HEADER + first_len);
        for at in 0..frame.len() {
            frame[at] ^= 0x10;
            assert!(read_frame(&frame).is_none(), "byte {at}");
            frame[at] ^= 0x10;
            assert!(read_frame(&frame[..at]).is_none(), "cut at {at}");
        }
    }
}
