//! Flags, rollouts and experiments.

use tol_config::Scope::{self, Publish};

use super::super::parameters::*;
use super::super::{Body, Content, Operation, Reply, Route};
use super::{get, ok, post, running};
use crate::http::problem::Kind;

const FLAGS: &str = "flags";

const fn pending() -> Reply {
    Reply { status: 202, description: "It is recorded, and not decided yet.", content: Content::Json("FlagsPending") }
}

/// What a change of a flag may be refused for.
const CHANGING: &[Kind] =
    &[Kind::UnknownFlag, Kind::VersionConflict, Kind::RequestRefused, Kind::InvalidData, Kind::UnknownProjection, Kind::Unavailable, Kind::DiskFull];

/// The same of an experiment that there may not be.
const CONCLUDING: &[Kind] = &[
    Kind::UnknownFlag,
    Kind::NotFound,
    Kind::VersionConflict,
    Kind::RequestRefused,
    Kind::InvalidData,
    Kind::UnknownProjection,
    Kind::Unavailable,
    Kind::DiskFull,
];

pub(super) static ROUTES: &[Route] = &[
    Route {
        description: "From memory, also while the log is away; `degraded` says so. With `stale=true` it is the report of flags that have outlived their purpose.",
        parameters: &[&IN_ENVIRONMENT, &STALE, &LIMIT, &CURSOR, &AS_OF, &KNOWN_AT],
        answers: &[ok("A page of flags.", Content::Json("FlagPage")), running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::InvalidCursor, Kind::JobRunning, Kind::UnknownProjection],
        ..get(Operation::Flags, "/flags", FLAGS, "Lists flags")
    },
    Route {
        description: "Unleash's answer to `GET /api/client/features`, GrowthBook's features (the map, or its API's whole answer) or a flagd file. Answers when this node serves them. One import runs at a time.",
        parameters: &[&FORMAT, &MODE, &ENVIRONMENT, &WHY, &IMPORT_TIMEOUT],
        body: Body::Definitions,
        answers: &[ok("They are served.", Content::Json("FlagsImported")), pending()],
        problems: &[Kind::InvalidDefinitions, Kind::RequestRefused, Kind::VersionConflict, Kind::JobRunning, Kind::Unavailable, Kind::DiskFull],
        ..post(Operation::ImportFlags, "/flags/import", FLAGS, "Imports flags in another server's format")
    },
    Route {
        description: "What that format cannot say is counted in the header `tol-export-problems`, and named with `problems=true`.",
        parameters: &[&FORMAT, &ENVIRONMENT, &PROBLEMS, &AS_OF, &KNOWN_AT],
        answers: &[ok("The format's own JSON.", Content::AnyJson), running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::JobRunning, Kind::UnknownProjection],
        ..get(Operation::ExportFlags, "/flags/export", FLAGS, "Exports flags in another server's format")
    },
    Route {
        description: "The answers by flag: `enabled`, `value`, `variant` and `reason`, with the semantics of `format`. From memory, also while the log is away; the header `tol-flags-degraded` says so.",
        scope: Some(Scope::Evaluate),
        parameters: &[&AS_OF, &KNOWN_AT],
        body: Body::Json("EvaluateFlags"),
        answers: &[ok("The answers by flag.", Content::AnyJson), running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::JobRunning, Kind::UnknownProjection],
        ..post(Operation::EvaluateFlags, "/flags/evaluate", FLAGS, "Evaluates flags")
    },
    Route {
        description: "Also one that is archived. A flag whose key is `import`, `export` or `evaluate` is at `/flags/key/{key}`, for changes too.",
        parameters: &[&FLAG_KEY, &AS_OF, &KNOWN_AT],
        answers: &[ok("The flag.", Content::Json("Flag"))],
        problems: &[Kind::UnknownFlag, Kind::UnknownProjection, Kind::WholeProjectionOnly],
        ..get(Operation::Flag, "/flags/{key}", FLAGS, "Shows a flag")
    },
    Route {
        method: "PUT",
        parameters: &[&FLAG_KEY],
        body: Body::Json("ChangeFlag"),
        answers: &[ok("It is served.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..post(Operation::ChangeFlag, "/flags/{key}", FLAGS, "Makes or changes a flag")
    },
    Route {
        description: "It is in no environment then, and served nowhere. Its history stays, and a change brings it back.",
        method: "DELETE",
        parameters: &[&FLAG_KEY, &WHY_NEEDED],
        answers: &[ok("It is archived.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..post(Operation::ArchiveFlag, "/flags/{key}", FLAGS, "Archives a flag")
    },
    Route {
        description: "The last 50; the log has all of them (`GET /subjects/flag/{key}/timeline`).",
        parameters: &[&FLAG_KEY, &AS_OF, &KNOWN_AT],
        answers: &[ok("The changes, oldest first.", Content::List("FlagHistoryEntry"))],
        problems: &[Kind::UnknownFlag, Kind::UnknownProjection, Kind::WholeProjectionOnly],
        ..get(Operation::FlagHistory, "/flags/{key}/history", FLAGS, "Shows what happened to a flag, who did it and why")
    },
    Route {
        description: "Off at once, whatever its rules say, until it is restored. A rollout that runs there is taken back.",
        parameters: &[&FLAG_KEY],
        body: Body::Json("InEnvironment"),
        answers: &[ok("It is off.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..post(Operation::KillFlag, "/flags/{key}/kill", FLAGS, "Switches a flag off at once")
    },
    Route {
        parameters: &[&FLAG_KEY],
        body: Body::Json("InEnvironment"),
        answers: &[ok("It behaves as its rules say.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..post(Operation::RestoreFlag, "/flags/{key}/restore", FLAGS, "Releases the kill switch")
    },
    Route {
        parameters: &[&FLAG_KEY],
        body: Body::Json("ScheduleFlag"),
        answers: &[ok("It is scheduled.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..post(Operation::ScheduleFlag, "/flags/{key}/schedule", FLAGS, "Schedules when a flag goes on or off")
    },
    Route {
        parameters: &[&FLAG_KEY, &AS_OF, &KNOWN_AT],
        answers: &[ok("The rollout that runs, or the last one.", Content::AnyJson)],
        problems: &[Kind::UnknownFlag, Kind::NotFound, Kind::UnknownProjection, Kind::WholeProjectionOnly],
        ..get(Operation::Rollout, "/flags/{key}/rollout", FLAGS, "Shows a flag's rollout")
    },
    Route {
        description: "The percentage of one rule grows step by step, is held without data and rolled back by itself on harm.",
        parameters: &[&FLAG_KEY],
        body: Body::Json("StartRollout"),
        answers: &[ok("It runs.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..post(Operation::StartRollout, "/flags/{key}/rollout", FLAGS, "Starts a guarded rollout")
    },
    Route {
        description: "Nobody has it any more.",
        parameters: &[&FLAG_KEY],
        body: Body::Reason,
        answers: &[ok("It is rolled back.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..post(Operation::StopRollout, "/flags/{key}/rollout/stop", FLAGS, "Rolls a rollout back")
    },
    Route {
        description: "Without their results.",
        parameters: &[&FLAG_KEY, &EXPERIMENT_STATE, &AS_OF, &KNOWN_AT],
        answers: &[ok("The experiments, by id.", Content::List("FlagExperiment"))],
        problems: &[Kind::UnknownFlag, Kind::UnknownProjection, Kind::WholeProjectionOnly],
        ..get(Operation::Experiments, "/flags/{key}/experiments", FLAGS, "Lists a flag's experiments")
    },
    Route {
        description: "What SDKs and analytics count from now on is added to it. Asked for again with the same id and content, it answers with the experiment; with other content it is refused.",
        parameters: &[&FLAG_KEY],
        body: Body::Json("StartExperiment"),
        answers: &[ok("It runs.", Content::Json("FlagExperiment")), pending()],
        problems: CHANGING,
        ..post(Operation::StartExperiment, "/flags/{key}/experiments", FLAGS, "Starts an experiment")
    },
    Route {
        description: "Fixed-horizon, sequential and Bayesian results from what was counted until now, or until then; decisions rest on the sequential ones, corrected. Effects by segment are exploratory.",
        parameters: &[&FLAG_KEY, &EXPERIMENT, &AS_OF, &KNOWN_AT],
        answers: &[ok("The experiment.", Content::Json("FlagExperiment"))],
        problems: &[Kind::UnknownFlag, Kind::NotFound, Kind::UnknownProjection, Kind::WholeProjectionOnly],
        ..get(Operation::Experiment, "/flags/{key}/experiments/{experiment}", FLAGS, "Shows an experiment with its results")
    },
    Route {
        description: "`reason` is what was learned; it is recorded with the results as they are then.",
        parameters: &[&FLAG_KEY, &EXPERIMENT],
        body: Body::Reason,
        answers: &[ok("It is over.", Content::Json("FlagExperiment")), pending()],
        problems: CONCLUDING,
        ..post(Operation::ConcludeExperiment, "/flags/{key}/experiments/{experiment}/conclude", FLAGS, "Concludes an experiment")
    },
    Route {
        description: "By flag and id, without their results.",
        parameters: &[&IN_ENVIRONMENT, &EXPERIMENT_STATE, &LIMIT, &CURSOR, &AS_OF, &KNOWN_AT],
        answers: &[ok("A page of experiments.", Content::Json("FlagExperimentPage")), running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::InvalidCursor, Kind::JobRunning, Kind::UnknownProjection],
        ..get(Operation::FlagExperiments, "/flag-experiments", FLAGS, "Lists the experiments of all flags")
    },
    Route {
        description: "What `billing.*` and `usage.*` say of these customers afterwards is counted in the arm they met first, for the rollouts and experiments that measure it. Answers when the exposures are durable.",
        scope: Some(Publish),
        body: Body::Json("RecordExposures"),
        answers: &[ok("They are recorded, or concern nothing that runs.", Content::Json("ExposuresRecorded"))],
        problems: &[Kind::InvalidEvent, Kind::InvalidData, Kind::IdConflict, Kind::UnknownProjection, Kind::Unavailable, Kind::DiskFull, Kind::EmergencyStop],
        ..post(Operation::RecordExposures, "/flag-exposures", FLAGS, "Records which customers met which flags")
    },
    Route {
        parameters: &[&AS_OF, &KNOWN_AT],
        answers: &[ok("All environments.", Content::List("FlagEnvironment")), running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::JobRunning, Kind::UnknownProjection],
        ..get(Operation::FlagEnvironments, "/flag-environments", FLAGS, "Lists environments, and what their flags share")
    },
    Route {
        description: "Unleash's segments, GrowthBook's saved groups, flagd's evaluators: whatever that format's file has beside its flags.",
        method: "PUT",
        parameters: &[&ENVIRONMENT_PATH, &FORMAT_PATH],
        body: Body::Json("ChangeShared"),
        answers: &[ok("It is served.", Content::Json("FlagEnvironment")), pending()],
        problems: &[Kind::NotFound, Kind::InvalidData, Kind::UnknownProjection, Kind::Unavailable, Kind::DiskFull],
        ..post(Operation::ChangeShared, "/flag-environments/{environment}/{format}", FLAGS, "Changes what an environment's flags share")
    },
];
