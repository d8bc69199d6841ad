//! The attributes of an event and their names.

/// The context attributes and extensions that the platform itself reads. Any other extension is kept with the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Attribute {
    /// Unique within `source`.
    Id,
    /// `/systems/<name>` or the outside source.
    Source,
    /// `<domain>.<thing>_<past tense>.v<N>`.
    Type,
    /// The entity as `kind/id`.
    Subject,
    /// When it happened, RFC 3339 UTC.
    Time,
    /// When it was admitted, RFC 3339 UTC.
    RecordedTime,
    /// The JSON Schema of this type and version.
    DataSchema,
    /// Media type of the data; JSON when absent.
    DataContentType,
    /// The correlation that the event belongs to: all events that one request caused.
    CorrelationId,
    /// The id of the event that caused this one.
    CausationId,
    /// W3C trace context.
    TraceParent,
    /// Number within the partition, by its one writer (E3).
    Sequence,
    /// The claim under which it was written (E2).
    Epoch,
    /// Input positions that moved since the previous group (E5), see `tol-runtime`.
    InputPosition,
    /// `i/n`: place in its group (E4).
    InputIndex,
    /// Another subject for which this event is meant.
    Target,
    /// The partition key, where it differs from the subject.
    PartitionKey,
    /// The place in `inbox` that a fact came from, `partition@position`.
    InboxPosition,
    /// Set to `future` by admission when `time` lies more than a day ahead.
    TimeFlag,
    /// Always `1.0`.
    SpecVersion,
}

impl Attribute {
    /// How many attributes there are; the length of the table in [`EventMeta`].
    pub const COUNT: usize = 20;
    /// All, in the order of their numbers.
    pub const ALL: [Attribute; Self::COUNT] = [
        Attribute::Id,
        Attribute::Source,
        Attribute::Type,
        Attribute::Subject,
        Attribute::Time,
        Attribute::RecordedTime,
        Attribute::DataSchema,
        Attribute::DataContentType,
        Attribute::CorrelationId,
        Attribute::CausationId,
        Attribute::TraceParent,
        Attribute::Sequence,
        Attribute::Epoch,
        Attribute::InputPosition,
        Attribute::InputIndex,
        Attribute::Target,
        Attribute::PartitionKey,
        Attribute::InboxPosition,
        Attribute::TimeFlag,
        Attribute::SpecVersion,
    ];

    /// Gives the attribute's CloudEvents name.
    pub const fn name(self) -> &'static str {
        self.header().split_at(3).1
    }

    /// Gives the Kafka header of the binary mode (`ce_` + name). `datacontenttype` travels as `content-type`,
    /// see [`Attribute::from_header`]; its `ce_` form is never written.
    pub const fn header(self) -> &'static str {
        match self {
            Attribute::Id => "ce_id",
            Attribute::Source => "ce_source",
            Attribute::Type => "ce_type",
            Attribute::Subject => "ce_subject",
            Attribute::Time => "ce_time",
            Attribute::RecordedTime => "ce_recordedtime",
            Attribute::DataSchema => "ce_dataschema",
            Attribute::DataContentType => "ce_datacontenttype",
            Attribute::CorrelationId => "ce_correlationid",
            Attribute::CausationId => "ce_causationid",
            Attribute::TraceParent => "ce_traceparent",
            Attribute::Sequence => "ce_sequence",
            Attribute::Epoch => "ce_epoch",
            Attribute::InputPosition => "ce_inputposition",
            Attribute::InputIndex => "ce_inputindex",
            Attribute::Target => "ce_target",
            Attribute::PartitionKey => "ce_partitionkey",
            Attribute::InboxPosition => "ce_inboxposition",
            Attribute::TimeFlag => "ce_timeflag",
            Attribute::SpecVersion => "ce_specversion",
        }
    }

    /// Finds the attribute of a Kafka header; `None` for other headers.
    pub fn from_header(header: &str) -> Option<Attribute> {
        if header.eq_ignore_ascii_case("content-type") {
            return Some(Attribute::DataContentType);
        }
        header.strip_prefix("ce_").and_then(Attribute::from_name)
    }

    /// Finds the attribute of a CloudEvents name; `None` for other extensions.
    pub fn from_name(name: &str) -> Option<Attribute> {
        Some(match name {
            "id" => Attribute::Id,
            "source" => Attribute::Source,
            "type" => Attribute::Type,
            "subject" => Attribute::Subject,
            "time" => Attribute::Time,
            "recordedtime" => Attribute::RecordedTime,
            "dataschema" => Attribute::DataSchema,
            "datacontenttype" => Attribute::DataContentType,
            "correlationid" => Attribute::CorrelationId,
            "causationid" => Attribute::CausationId,
            "traceparent" => Attribute::TraceParent,
            "sequence" => Attribute::Sequence,
            "epoch" => Attribute::Epoch,
            "inputposition" => Attribute::InputPosition,
            "inputindex" => Attribute::InputIndex,
            "target" => Attribute::Target,
            "partitionkey" => Attribute::PartitionKey,
            "inboxposition" => Attribute::InboxPosition,
            "timeflag" => Attribute::TimeFlag,
            "specversion" => Attribute::SpecVersion,
            _ => return None,
        })
    }
}
