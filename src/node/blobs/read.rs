//! Reading a blob: the hash of all bytes is compared before the last of them are handed out.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use tol_events::blob::{BlobId, BlobRef};
use tol_events::personal::Key;
use tol_plug::blobs::Error;

use super::seal::{CHUNK, HEADER, SEALED_CHUNK, Sealer, sealed_length};

/// Reads a blob's content, and fails before its end where the file is not what was stored.
pub(super) struct Verified {
    blob: BlobId,
    file: File,
    path: PathBuf,
    /// Bytes of the file that were not read.
    left: u64,
    hasher: Sha256,
    sealer: Option<Sealer>,
    chunk: Vec<u8>,
    /// Bytes of the chunk that were handed out.
    taken: usize,
    failed: bool,
}

impl Verified {
    pub(super) fn open(blob: &BlobRef, file: File, path: PathBuf, length: u64, key: Option<(&str, &Key)>) -> Result<Self, Error> {
        let damaged = || Error::Damaged(blob.sha256);
        let expected = if key.is_some() { sealed_length(blob.bytes) } else { Some(blob.bytes) };
        if expected != Some(length) {
            return Err(damaged());
        }
        let (left, hasher) = (length, Sha256::new());
        let mut reader = Self { blob: blob.sha256, file, path, left, hasher, sealer: None, chunk: Vec::new(), taken: 0, failed: false };
        if let Some((subject, key)) = key {
            reader.fill(HEADER as u64)?;
            reader.sealer = Some(Sealer::of_header(key, subject, &reader.chunk).ok_or_else(damaged)?);
            reader.chunk.clear();
        } else if length == 0 {
            reader.verify()?;
        }
        Ok(reader)
    }

    /// Reads the next bytes of the file, at most so many.
    fn fill(&mut self, most: u64) -> Result<(), Error> {
        let count = self.left.min(most);
        self.chunk.resize(count as usize, 0);
        self.taken = 0;
        self.file.read_exact(&mut self.chunk).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::Damaged(self.blob),
            _ => Error::Io { path: self.path.clone(), error },
        })?;
        self.hasher.update(&self.chunk);
        self.left -= count;
        Ok(())
    }

    fn verify(&mut self) -> Result<(), Error> {
        let found = BlobId::new(std::mem::take(&mut self.hasher).finalize().into());
        if found == self.blob { Ok(()) } else { Err(Error::Damaged(self.blob)) }
    }

    fn next_chunk(&mut self) -> Result<(), Error> {
        self.fill(if self.sealer.is_some() { SEALED_CHUNK } else { CHUNK } as u64)?;
        let is_last = self.left == 0;
        if is_last {
            self.verify()?;
        }
        match &mut self.sealer {
            Some(sealer) if !sealer.open(&mut self.chunk, is_last) => Err(Error::Damaged(self.blob)),
            _ => Ok(()),
        }
    }
}

impl Read for Verified {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(Error::Damaged(self.blob).into());
        }
        if self.taken == self.chunk.len() && self.left > 0 && !into.is_empty() {
            self.next_chunk().inspect_err(|_| self.failed = true)?;
        }
        let count = (self.chunk.len() - self.taken).min(into.len());
        into[..count].copy_from_slice(&self.chunk[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}
