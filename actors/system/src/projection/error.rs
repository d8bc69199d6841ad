//! Why a projection sets an event aside or stops, or cannot show a row.

/// Why an event could not be folded, or a row not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The event's data does not have the shape that its type promises.
    #[error("its data does not read: {0}")]
    Malformed(String),
    /// The event has another version than the fold was written for.
    #[error("{event_type} is a version this fold does not know (it knows {known}); run a version of tol that does")]
    UnknownVersion {
        /// The event's type.
        event_type: String,
        /// The version of that type which the fold reads.
        known: String,
    },
    /// A sum left the range of 64 bits.
    #[error("{0} does not fit in 64 bits")]
    TooLarge(String),
    /// The fold panicked.
    #[error("the fold panicked: {0}")]
    Panicked(String),
    /// The bytes of a stored row are not a row of this version.
    #[error("stored row {key} does not read: {problem}; rebuild the projection")]
    UnreadableRow {
        /// The row's key.
        key: String,
        /// What is wrong with its bytes.
        problem: String,
    },
    /// A row could not be made into bytes.
    #[error("row {key} does not serialise: {problem}")]
    UnwritableRow {
        /// The row's key.
        key: String,
        /// What the serialiser says.
        problem: String,
    },
    /// The store that a row was to come from failed.
    #[error("{0}")]
    Store(String),
}

impl Error {
    /// Tells whether the event is what cannot be folded: the projection sets it aside and goes on. At any other error, which would meet the events
    /// behind it as well, the projection stops.
    pub fn is_about_event(&self) -> bool {
        match self {
            Error::Malformed(_) | Error::UnknownVersion { .. } | Error::TooLarge(_) | Error::Panicked(_) => true,
            Error::UnreadableRow { .. } | Error::UnwritableRow { .. } | Error::Store(_) => false,
        }
    }

    /// Makes the error of a panic from what the panic carried.
    pub fn of_panic(carried: &(dyn std::any::Any + Send)) -> Self {
        let text = carried.downcast_ref::<&str>().copied().or_else(|| carried.downcast_ref::<String>().map(String::as_str));
        Error::Panicked(text.unwrap_or("without a message").to_owned())
    }
}

/// Lets a fold write `event.data_as()?`.
impl From<serde_json::Error> for Error {
    fn from(problem: serde_json::Error) -> Self {
        Error::Malformed(problem.to_string())
    }
}

/// Refuses another version of one of the types `known` (each ends in `.v<N>`) than the fold was written for.
///
/// # Errors
/// [`Error::UnknownVersion`]; hand it on from [`Projection::fold`](super::Projection::fold).
pub fn refuse_other_version(event_type: &str, known: &[&str]) -> Result<(), Error> {
    let stem = |name: &str| name.rfind(".v").map_or(name.len(), |at| at + 2);
    let own = &event_type[..stem(event_type)];
    match known.iter().find(|name| &name[..stem(name)] == own) {
        Some(name) if *name != event_type => Err(Error::UnknownVersion { event_type: event_type.to_owned(), known: (*name).to_owned() }),
        _ => Ok(()),
    }
}
