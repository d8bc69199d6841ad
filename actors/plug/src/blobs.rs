//! [`Blobs`]: content that is too large for an event, such as files and models, kept beside the log and named by events.

use std::io::{self, Read};
use std::path::PathBuf;

use tol_events::blob::{BlobId, BlobRef};
use tol_events::personal;

/// Why a blob could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This node has no blob of that name.
    #[error("blob {0} is not on this node; restore it from a backup, or copy it from the node that has it")]
    Unknown(BlobId),
    /// The stored bytes differ from those that were put.
    #[error("blob {0} is damaged: its bytes are not those that were stored; restore it from a backup")]
    Damaged(BlobId),
    /// The blob was sealed with the key of a subject that was erased.
    #[error("blob {blob} was sealed for {subject}, which was erased; its content is gone for ever")]
    Erased {
        /// The blob.
        blob: BlobId,
        /// The subject.
        subject: String,
    },
    /// The content has more bytes than a blob may have.
    #[error("the content has more than {limit} bytes; store less, or raise blobs.max_bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The content could not be read to its end; nothing was stored.
    #[error("the content ended before it was whole: {0}; nothing was stored, send it again")]
    Content(#[source] io::Error),
    /// A file could not be read or written.
    #[error("{path}: {error}; check the disk of the data folder")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// The key store did not give the subject's key.
    #[error(transparent)]
    Key(#[from] personal::Error),
}

/// Wraps the error for [`Read`], whose errors are I/O errors.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}

/// Stores content under its hash. All functions block on the disk: call them on a thread that may wait (`Request::block`, an effect's runner).
pub trait Blobs: Send + Sync {
    /// Stores the content and returns once it is durable: only then may an event name it. With a `subject`, seals the content with that subject's key,
    /// which is made where there is none.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Content`], [`Error::Key`] (an erased subject among them), or the disk. Nothing is stored then.
    fn put(&self, subject: Option<&str>, media_type: &str, content: &mut dyn Read) -> Result<BlobRef, Error>;

    /// Opens the content. The reader verifies what it reads: once it has reached the end, all bytes were those that were put. Damage is an error of the
    /// reader, with an [`Error`] inside, before the last byte.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Erased`], [`Error::Damaged`] where that shows at once, or the disk.
    fn get(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send>, Error>;
}
