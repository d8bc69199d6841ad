//! [`Blobs`]: content that is too large for an event, such as files and models, kept beside the log and named by events.

use std::io::{self, Read};
use std::path::PathBuf;

use tol_events::blob::{BlobId, BlobRef};
use tol_events::personal;

/// What can go wrong with a blob.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no blob of that name here.
    #[error("blob {0} is not on this node; restore it from a backup, or copy it from the node that has it")]
    Unknown(BlobId),
    /// The stored bytes are not those that were put.
    #[error("blob {0} is damaged: its bytes are not those that were stored; restore it from a backup")]
    Damaged(BlobId),
    /// The subject with whose key it was sealed was erased.
    #[error("blob {blob} was sealed for {subject}, which was erased; its content is gone for ever")]
    Erased {
        /// The blob.
        blob: BlobId,
        /// The subject.
        subject: String,
    },
    /// More bytes than a blob may have.
    #[error("the content has more than {limit} bytes; store less, or raise blobs.max_bytes")]
    TooLarge {
        /// The most there may be.
        limit: u64,
    },
    /// The content could not be read to its end; nothing was stored.
    #[error("the content ended before it was whole: {0}; nothing was stored, send it again")]
    Content(#[source] io::Error),
    /// A file could not be read or written.
    #[error("{path}: {error}; check the disk of the data folder")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// The subject's key could not be had.
    #[error(transparent)]
    Key(#[from] personal::Error),
}

/// An error that a reader of a blob met, from what [`Read`] can say.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}

/// Content-addressed storage. All functions block on the disk: call them on a thread that may wait (`spawn_blocking`, an effect's runner).
pub trait Blobs: Send + Sync {
    /// Stores the content, durable when this returns; then an event may name it. With a `subject` it is sealed with that subject's key, made if need be.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Content`], [`Error::Key`] (an erased subject among them), or the disk. Nothing is stored then.
    fn put(&self, subject: Option<&str>, media_type: &str, content: &mut dyn Read) -> Result<BlobRef, Error>;

    /// The content. It is verified while it is read: a reader that got all bytes got those that were put; damage is an error of the reader,
    /// with an [`Error`] inside, before the last of them.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Erased`], [`Error::Damaged`] where that shows at once, or the disk.
    fn get(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send>, Error>;
}
