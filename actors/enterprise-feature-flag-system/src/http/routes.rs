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
    &[Kind::UNKNOWN_FLAG, Kind::VERSION_CONFLICT, Kind::REQUEST_REFUSED, Kind::INVALID_DATA, Kind::UNKNOWN_PROJECTION, Kind::UNAVAILABLE, Kind::DISK_FULL];

/// The same of an experiment that there may not be.
const CONCLUDING: &[Kind] = &[
    Kind::UNKNOWN_FLAG,
    Kind::NOT_FOUND,
    Kind::VERSION_CONFLICT,
    Kind::REQUEST_REFUSED,
    Kind::INVALID_DATA,
    Kind::UNKNOWN_PROJECTION,
    Kind::UNAVAILABLE,
    Kind::DISK_FULL,
];

pub(super) static ROUTES: &[Route] = &[
    Spec {
        description: "From memory, also while the log is away; `degraded` says so. With `stale=true` it is the report of flags that have outlived their purpose.",
        parameters: &[&IN_ENVIRONMENT, &STALE, &LIMIT, &CURSOR, &AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("A page of flags.", Content::Json("FlagPage")), Reply::running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::INVALID_CURSOR, Kind::JOB_RUNNING, Kind::UNKNOWN_PROJECTION],
        ..Spec::get("flags", "/flags", FLAGS, "Lists flags")
    }
    .by(waiting!(flags::all)),
    Spec {
        description: "Unleash's answer to `GET /api/client/features`, GrowthBook's features (the map, or its API's whole answer) or a flagd file. Answers when this node serves them. One import runs at a time.",
        parameters: &[&FORMAT, &MODE, &ENVIRONMENT, &WHY, &IMPORT_TIMEOUT],
        body: Body::AnyJson("{\"version\":2,\"features\":[]}"),
        answers: &[Reply::ok("They are served.", Content::Json("FlagsImported")), pending()],
        problems: &[Kind::INVALID_DEFINITIONS, Kind::REQUEST_REFUSED, Kind::VERSION_CONFLICT, Kind::JOB_RUNNING, Kind::UNAVAILABLE, Kind::DISK_FULL],
        ..Spec::post("importFlags", "/flags/import", FLAGS, "Imports flags in another server's format")
    }
    .by(with_body!(flags::import)),
    Spec {
        description: "What that format cannot say is counted in the header `tol-export-problems`, and named with `problems=true`.",
        parameters: &[&FORMAT, &ENVIRONMENT, &PROBLEMS, &AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("The format's own JSON.", Content::AnyJson), Reply::running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::JOB_RUNNING, Kind::UNKNOWN_PROJECTION],
        ..Spec::get("exportFlags", "/flags/export", FLAGS, "Exports flags in another server's format")
    }
    .by(waiting!(flags::export)),
    Spec {
        description: "The answers by flag: `enabled`, `value`, `variant` and `reason`, with the semantics of `format`. From memory, also while the log is away; the header `tol-flags-degraded` says so.",
        access: Access::Scope(Scope::EVALUATE),
        parameters: &[&AS_OF, &KNOWN_AT],
        body: Body::Json("EvaluateFlags"),
        answers: &[Reply::ok("The answers by flag.", Content::AnyJson), Reply::running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::JOB_RUNNING, Kind::UNKNOWN_PROJECTION],
        ..Spec::post("evaluateFlags", "/flags/evaluate", FLAGS, "Evaluates flags")
    }
    .by(with_body!(flags::evaluate)),
    Spec {
        description: "Also one that is archived. A flag whose key is `import`, `export` or `evaluate` is at `/flags/key/{key}`, for changes too.",
        parameters: &[&FLAG_KEY, &AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("The flag.", Content::Json("Flag"))],
        problems: &[Kind::UNKNOWN_FLAG, Kind::UNKNOWN_PROJECTION, Kind::WHOLE_PROJECTION_ONLY],
        ..Spec::get("flag", "/flags/{key}", FLAGS, "Shows a flag")
    }
    .by(waiting!(flags::one)),
    Spec {
        method: "PUT",
        parameters: &[&FLAG_KEY],
        body: Body::Json("ChangeFlag"),
        answers: &[Reply::ok("It is served.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..Spec::post("changeFlag", "/flags/{key}", FLAGS, "Makes or changes a flag")
    }
    .by(with_body!(flags::change)),
    Spec {
        description: "It is in no environment then, and served nowhere. Its history stays, and a change brings it back.",
        method: "DELETE",
        parameters: &[&FLAG_KEY, &WHY_NEEDED],
        answers: &[Reply::ok("It is archived.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..Spec::post("archiveFlag", "/flags/{key}", FLAGS, "Archives a flag")
    }
    .by(waiting!(flags::archive)),
    Spec {
        description: "The last 50; the log has all of them (`GET /subjects/flag/{key}/timeline`).",
        parameters: &[&FLAG_KEY, &AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("The changes, oldest first.", Content::List("FlagHistoryEntry"))],
        problems: &[Kind::UNKNOWN_FLAG, Kind::UNKNOWN_PROJECTION, Kind::WHOLE_PROJECTION_ONLY],
        ..Spec::get("flagHistory", "/flags/{key}/history", FLAGS, "Shows what happened to a flag, who did it and why")
    }
    .by(waiting!(flags::history)),
    Spec {
        description: "Off at once, whatever its rules say, until it is restored. A rollout that runs there is taken back.",
        parameters: &[&FLAG_KEY],
        body: Body::Json("InEnvironment"),
        answers: &[Reply::ok("It is off.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..Spec::post("killFlag", "/flags/{key}/kill", FLAGS, "Switches a flag off at once")
    }
    .by(with_body!(flags::kill)),
    Spec {
        parameters: &[&FLAG_KEY],
        body: Body::Json("InEnvironment"),
        answers: &[Reply::ok("It behaves as its rules say.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..Spec::post("restoreFlag", "/flags/{key}/restore", FLAGS, "Releases the kill switch")
    }
    .by(with_body!(flags::restore)),
    Spec {
        parameters: &[&FLAG_KEY],
        body: Body::Json("ScheduleFlag"),
        answers: &[Reply::ok("It is scheduled.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..Spec::post("scheduleFlag", "/flags/{key}/schedule", FLAGS, "Schedules when a flag goes on or off")
    }
    .by(with_body!(flags::schedule)),
    Spec {
        parameters: &[&FLAG_KEY, &AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("The rollout that runs, or the last one.", Content::AnyJson)],
        problems: &[Kind::UNKNOWN_FLAG, Kind::NOT_FOUND, Kind::UNKNOWN_PROJECTION, Kind::WHOLE_PROJECTION_ONLY],
        ..Spec::get("rollout", "/flags/{key}/rollout", FLAGS, "Shows a flag's rollout")
    }
    .by(waiting!(flags::rollout)),
    Spec {
        description: "The percentage of one rule grows step by step, is held without data and rolled back by itself on harm.",
        parameters: &[&FLAG_KEY],
        body: Body::Json("StartRollout"),
        answers: &[Reply::ok("It runs.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..Spec::post("startRollout", "/flags/{key}/rollout", FLAGS, "Starts a guarded rollout")
    }
    .by(with_body!(flags::start_rollout)),
    Spec {
        description: "Nobody has it any more.",
        parameters: &[&FLAG_KEY],
        body: Body::Json("Reason"),
        answers: &[Reply::ok("It is rolled back.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..Spec::post("stopRollout", "/flags/{key}/rollout/stop", FLAGS, "Rolls a rollout back")
    }
    .by(with_body!(flags::stop_rollout)),
    Spec {
        description: "Without their results.",
        parameters: &[&FLAG_KEY, &EXPERIMENT_STATE, &AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("The experiments, by id.", Content::List("FlagExperiment"))],
        problems: &[Kind::UNKNOWN_FLAG, Kind::UNKNOWN_PROJECTION, Kind::WHOLE_PROJECTION_ONLY],
        ..Spec::get("experiments", "/flags/{key}/experiments", FLAGS, "Lists a flag's experiments")
    }
    .by(waiting!(flags::experiments::of_flag)),
    Spec {
        description: "What SDKs and analytics count from now on is added to it. Asked for again with the same id and content, it answers with the experiment; with other content it is refused.",
        parameters: &[&FLAG_KEY],
        body: Body::Json("StartExperiment"),
        answers: &[Reply::ok("It runs.", Content::Json("FlagExperiment")), pending()],
        problems: CHANGING,
        ..Spec::post("startExperiment", "/flags/{key}/experiments", FLAGS, "Starts an experiment")
    }
    .by(with_body!(flags::experiments::start)),
    Spec {
        description: "Fixed-horizon, sequential and Bayesian results from what was counted until now, or until then; decisions rest on the sequential ones, corrected. Effects by segment are exploratory.",
        parameters: &[&FLAG_KEY, &EXPERIMENT, &AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("The experiment.", Content::Json("FlagExperiment"))],
        problems: &[Kind::UNKNOWN_FLAG, Kind::NOT_FOUND, Kind::UNKNOWN_PROJECTION, Kind::WHOLE_PROJECTION_ONLY],
        ..Spec::get("experiment", "/flags/{key}/experiments/{experiment}", FLAGS, "Shows an experiment with its results")
    }
    .by(waiting!(flags::experiments::one)),
    Spec {
        description: "`reason` is what was learned; it is recorded with the results as they are then.",
        parameters: &[&FLAG_KEY, &EXPERIMENT],
        body: Body::Json("Reason"),
        answers: &[Reply::ok("It is over.", Content::Json("FlagExperiment")), pending()],
        problems: CONCLUDING,
        ..Spec::post("concludeExperiment", "/flags/{key}/experiments/{experiment}/conclude", FLAGS, "Concludes an experiment")
    }
    .by(waiting!(flags::experiments::conclude)),
    Spec {
        description: "By flag and id, without their results.",
        parameters: &[&IN_ENVIRONMENT, &EXPERIMENT_STATE, &LIMIT, &CURSOR, &AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("A page of experiments.", Content::Json("FlagExperimentPage")), Reply::running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::INVALID_CURSOR, Kind::JOB_RUNNING, Kind::UNKNOWN_PROJECTION],
        ..Spec::get("flagExperiments", "/flag-experiments", FLAGS, "Lists the experiments of all flags")
    }
    .by(waiting!(flags::experiments::all)),
    Spec {
        description: "What `billing.*` and `usage.*` say of these customers afterwards is counted in the arm they met first, for the rollouts and experiments that measure it. Answers when the exposures are durable.",
        access: Access::Scope(Scope::PUBLISH),
        body: Body::Json("RecordExposures"),
        answers: &[Reply::ok("They are recorded, or concern nothing that runs.", Content::Json("ExposuresRecorded"))],
        problems: &[Kind::INVALID_EVENT, Kind::INVALID_DATA, Kind::ID_CONFLICT, Kind::UNKNOWN_PROJECTION, Kind::UNAVAILABLE, Kind::DISK_FULL, Kind::EMERGENCY_STOP],
        ..Spec::post("recordExposures", "/flag-exposures", FLAGS, "Records which customers met which flags")
    }
    .by(with_body!(flags::exposures::record)),
    Spec {
        parameters: &[&AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("All environments.", Content::List("FlagEnvironment")), Reply::running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::JOB_RUNNING, Kind::UNKNOWN_PROJECTION],
        ..Spec::get("flagEnvironments", "/flag-environments", FLAGS, "Lists environments, and what their flags share")
    }
    .by(waiting!(flags::sets::all)),
    Spec {
        description: "Unleash's segments, GrowthBook's saved groups, flagd's evaluators: whatever that format's file has beside its flags.",
        method: "PUT",
        parameters: &[&ENVIRONMENT_PATH, &FORMAT_PATH],
        body: Body::Json("ChangeShared"),
        answers: &[Reply::ok("It is served.", Content::Json("FlagEnvironment")), pending()],
        problems: &[Kind::NOT_FOUND, Kind::INVALID_DATA, Kind::UNKNOWN_PROJECTION, Kind::UNAVAILABLE, Kind::DISK_FULL],
        ..Spec::post("changeShared", "/flag-environments/{environment}/{format}", FLAGS, "Changes what an environment's flags share")
    }
    .by(waiting!(flags::sets::change)),
];
