//! The table of routes: flags, rollouts and experiments.

use tol_plug::route::parameters::{AS_OF, CURSOR, KNOWN_AT, LIMIT, TIMEOUT_MAX_MS};
use tol_plug::{Access, Body, Content, Kind, Parameter, Reply, Route, Scope, Shape, Spec, waiting, with_body};

use super::{experiments, exposures, files, sets};
use crate::compat::EVALUATE;
use crate::problems::{INVALID_DEFINITIONS, REQUEST_REFUSED, UNKNOWN_FLAG, VERSION_CONFLICT};
use crate::{FlagService, SHORT};

static FLAG_KEY: Parameter = Parameter::path("key", "The flag's key; percent-encode a slash.", "new-checkout");
static EXPERIMENT: Parameter = Parameter::path("experiment", "The experiment's id; percent-encode a slash.", "e-1");
static EXPERIMENT_STATE: Parameter = Parameter::query("state", Shape::Word(&["running", "concluded"]), "Only those that run, or that are over.", "running");
static ENVIRONMENT_PATH: Parameter = Parameter::path("environment", "The environment.", "production");
static FORMAT_PATH: Parameter = Parameter::path("format", "`unleash`, `growthbook` or `flagd`.", "unleash");
const FORMATS: &[&str] = &["unleash", "growthbook", "flagd"];
static FORMAT: Parameter = Parameter::query("format", Shape::NeededWord(FORMATS), "Whose JSON.", "unleash");
static MODE: Parameter = Parameter::query(
    "mode",
    Shape::Word(&["merge", "replace"]),
    "`replace`: afterwards the environment has what the import brings, and nothing else. `merge`, also where it is absent: other flags stay.",
    "merge",
);
static ENVIRONMENT: Parameter = Parameter::query("environment", Shape::Text, "The environment; `production` where it is absent.", "production");
static IN_ENVIRONMENT: Parameter = Parameter::query("environment", Shape::Text, "In this environment only.", "production");
static STALE: Parameter =
    Parameter::query("stale", Shape::Word(&["true", "false"]), "`true`: those that have outlived their purpose; `false`: the others.", "true");
static PROBLEMS: Parameter = Parameter::query(
    "problems",
    Shape::Word(&["true", "false"]),
    "`true`: an object with the file as `definitions` and what the format cannot say as `problems`.",
    "true",
);
static WHY: Parameter = Parameter::query("reason", Shape::Text, "Why; it is recorded.", "moved from the old server");
static WHY_NEEDED: Parameter = Parameter::query("reason", Shape::Needed, "Why; it is recorded.", "nobody needs it any more");
static IMPORT_TIMEOUT: Parameter = Parameter::query(
    "timeout_ms",
    Shape::Integer(0, TIMEOUT_MAX_MS, TIMEOUT_MAX_MS),
    "How long to wait until what is imported is served, milliseconds.",
    "30000",
);

const fn pending() -> Reply {
    Reply { status: 202, description: "It is recorded, and not decided yet.", content: Content::Json("FlagsPending") }
}

/// Where a flag is whose key is the name of an operation on all flags.
const KEY_OF_AN_OPERATION: &[&str] = &["/flags/key/{key:import|export|evaluate}"];

/// What a change of a flag may be refused for.
const CHANGING: &[&Kind] = &[UNKNOWN_FLAG, VERSION_CONFLICT, REQUEST_REFUSED, Kind::INVALID_DATA, Kind::UNKNOWN_PROJECTION, Kind::UNAVAILABLE, Kind::DISK_FULL];

/// The same of an experiment that there may not be.
const CONCLUDING: &[&Kind] =
    &[UNKNOWN_FLAG, Kind::NOT_FOUND, VERSION_CONFLICT, REQUEST_REFUSED, Kind::INVALID_DATA, Kind::UNKNOWN_PROJECTION, Kind::UNAVAILABLE, Kind::DISK_FULL];

pub(crate) static ROUTES: &[Route<FlagService>] = &[
    Spec {
        description: "From memory, also while the log is away; `degraded` says so. With `stale=true` it is the report of flags that have outlived their purpose.",
        parameters: &[&IN_ENVIRONMENT, &STALE, &LIMIT, &CURSOR, &AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("A page of flags.", Content::Json("FlagPage")), Reply::running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::INVALID_CURSOR, Kind::JOB_RUNNING, Kind::UNKNOWN_PROJECTION],
        ..Spec::get("flags", "/flags", SHORT, "Lists flags")
    }
    .by(waiting!(super::all)),
    Spec {
        description: "Unleash's answer to `GET /api/client/features`, GrowthBook's features (the map, or its API's whole answer) or a flagd file. Answers when this node serves them. One import runs at a time.",
        parameters: &[&FORMAT, &MODE, &ENVIRONMENT, &WHY, &IMPORT_TIMEOUT],
        body: Body::AnyJson("{\"version\":2,\"features\":[]}"),
        answers: &[Reply::ok("They are served.", Content::Json("FlagsImported")), pending()],
        problems: &[INVALID_DEFINITIONS, REQUEST_REFUSED, VERSION_CONFLICT, Kind::JOB_RUNNING, Kind::UNAVAILABLE, Kind::DISK_FULL],
        ..Spec::post("importFlags", "/flags/import", SHORT, "Imports flags in another server's format")
    }
    .by(with_body!(files::import)),
    Spec {
        description: "What that format cannot say is counted in the header `tol-export-problems`, and named with `problems=true`.",
        parameters: &[&FORMAT, &ENVIRONMENT, &PROBLEMS, &AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("The format's own JSON.", Content::AnyJson), Reply::running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::JOB_RUNNING, Kind::UNKNOWN_PROJECTION],
        ..Spec::get("exportFlags", "/flags/export", SHORT, "Exports flags in another server's format")
    }
    .by(waiting!(files::export)),
    Spec {
        description: "The answers by flag: `enabled`, `value`, `variant` and `reason`, with the semantics of `format`. From memory, also while the log is away; the header `tol-flags-degraded` says so.",
        access: Access::Scope(EVALUATE),
        parameters: &[&AS_OF, &KNOWN_AT],
        body: Body::Json("EvaluateFlags"),
        answers: &[Reply::ok("The answers by flag.", Content::AnyJson), Reply::running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::JOB_RUNNING, Kind::UNKNOWN_PROJECTION],
        ..Spec::post("evaluateFlags", "/flags/evaluate", SHORT, "Evaluates flags")
    }
    .by(with_body!(files::evaluate)),
    Spec {
        description: "Also one that is archived. A flag whose key is `import`, `export` or `evaluate` is at `/flags/key/{key}`, for changes too.",
        parameters: &[&FLAG_KEY, &AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("The flag.", Content::Json("Flag"))],
        problems: &[UNKNOWN_FLAG, Kind::UNKNOWN_PROJECTION, Kind::WHOLE_PROJECTION_ONLY],
        aliases: KEY_OF_AN_OPERATION,
        ..Spec::get("flag", "/flags/{key}", SHORT, "Shows a flag")
    }
    .by(waiting!(super::one)),
    Spec {
        method: "PUT",
        parameters: &[&FLAG_KEY],
        body: Body::Json("ChangeFlag"),
        answers: &[Reply::ok("It is served.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        aliases: KEY_OF_AN_OPERATION,
        ..Spec::post("changeFlag", "/flags/{key}", SHORT, "Makes or changes a flag")
    }
    .by(with_body!(super::change)),
    Spec {
        description: "It is in no environment then, and served nowhere. Its history stays, and a change brings it back.",
        method: "DELETE",
        parameters: &[&FLAG_KEY, &WHY_NEEDED],
        answers: &[Reply::ok("It is archived.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        aliases: KEY_OF_AN_OPERATION,
        ..Spec::post("archiveFlag", "/flags/{key}", SHORT, "Archives a flag")
    }
    .by(waiting!(super::archive)),
    Spec {
        description: "The last 50; the log has all of them (`GET /subjects/flag/{key}/timeline`).",
        parameters: &[&FLAG_KEY, &AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("The changes, oldest first.", Content::List("FlagHistoryEntry"))],
        problems: &[UNKNOWN_FLAG, Kind::UNKNOWN_PROJECTION, Kind::WHOLE_PROJECTION_ONLY],
        ..Spec::get("flagHistory", "/flags/{key}/history", SHORT, "Shows what happened to a flag, who did it and why")
    }
    .by(waiting!(super::history)),
    Spec {
        description: "Off at once, whatever its rules say, until it is restored. A rollout that runs there is taken back.",
        parameters: &[&FLAG_KEY],
        body: Body::Json("InEnvironment"),
        answers: &[Reply::ok("It is off.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..Spec::post("killFlag", "/flags/{key}/kill", SHORT, "Switches a flag off at once")
    }
    .by(with_body!(super::kill)),
    Spec {
        parameters: &[&FLAG_KEY],
        body: Body::Json("InEnvironment"),
        answers: &[Reply::ok("It behaves as its rules say.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..Spec::post("restoreFlag", "/flags/{key}/restore", SHORT, "Releases the kill switch")
    }
    .by(with_body!(super::restore)),
    Spec {
        parameters: &[&FLAG_KEY],
        body: Body::Json("ScheduleFlag"),
        answers: &[Reply::ok("It is scheduled.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..Spec::post("scheduleFlag", "/flags/{key}/schedule", SHORT, "Schedules when a flag goes on or off")
    }
    .by(with_body!(super::schedule)),
    Spec {
        parameters: &[&FLAG_KEY, &AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("The rollout that runs, or the last one.", Content::AnyJson)],
        problems: &[UNKNOWN_FLAG, Kind::NOT_FOUND, Kind::UNKNOWN_PROJECTION, Kind::WHOLE_PROJECTION_ONLY],
        ..Spec::get("rollout", "/flags/{key}/rollout", SHORT, "Shows a flag's rollout")
    }
    .by(waiting!(super::rollout)),
    Spec {
        description: "The percentage of one rule grows step by step, is held without data and rolled back by itself on harm.",
        parameters: &[&FLAG_KEY],
        body: Body::Json("StartRollout"),
        answers: &[Reply::ok("It runs.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..Spec::post("startRollout", "/flags/{key}/rollout", SHORT, "Starts a guarded rollout")
    }
    .by(with_body!(super::start_rollout)),
    Spec {
        description: "Nobody has it any more.",
        parameters: &[&FLAG_KEY],
        body: Body::Json("Reason"),
        answers: &[Reply::ok("It is rolled back.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..Spec::post("stopRollout", "/flags/{key}/rollout/stop", SHORT, "Rolls a rollout back")
    }
    .by(with_body!(super::stop_rollout)),
    Spec {
        description: "Without their results.",
        parameters: &[&FLAG_KEY, &EXPERIMENT_STATE, &AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("The experiments, by id.", Content::List("FlagExperiment"))],
        problems: &[UNKNOWN_FLAG, Kind::UNKNOWN_PROJECTION, Kind::WHOLE_PROJECTION_ONLY],
        ..Spec::get("experiments", "/flags/{key}/experiments", SHORT, "Lists a flag's experiments")
    }
    .by(waiting!(experiments::of_flag)),
    Spec {
        description: "What SDKs and analytics count from now on is added to it. Asked for again with the same id and content, it answers with the experiment; with other content it is refused.",
        parameters: &[&FLAG_KEY],
        body: Body::Json("StartExperiment"),
        answers: &[Reply::ok("It runs.", Content::Json("FlagExperiment")), pending()],
        problems: CHANGING,
        ..Spec::post("startExperiment", "/flags/{key}/experiments", SHORT, "Starts an experiment")
    }
    .by(with_body!(experiments::start)),
    Spec {
        description: "Fixed-horizon, sequential and Bayesian results from what was counted until now, or until then; decisions rest on the sequential ones, corrected. Effects by segment are exploratory.",
        parameters: &[&FLAG_KEY, &EXPERIMENT, &AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("The experiment.", Content::Json("FlagExperiment"))],
        problems: &[UNKNOWN_FLAG, Kind::NOT_FOUND, Kind::UNKNOWN_PROJECTION, Kind::WHOLE_PROJECTION_ONLY],
        ..Spec::get("experiment", "/flags/{key}/experiments/{experiment}", SHORT, "Shows an experiment with its results")
    }
    .by(waiting!(experiments::one)),
    Spec {
        description: "`reason` is what was learned; it is recorded with the results as they are then.",
        parameters: &[&FLAG_KEY, &EXPERIMENT],
        body: Body::Json("Reason"),
        answers: &[Reply::ok("It is over.", Content::Json("FlagExperiment")), pending()],
        problems: CONCLUDING,
        ..Spec::post("concludeExperiment", "/flags/{key}/experiments/{experiment}/conclude", SHORT, "Concludes an experiment")
    }
    .by(with_body!(experiments::conclude)),
    Spec {
        description: "By flag and id, without their results.",
        parameters: &[&IN_ENVIRONMENT, &EXPERIMENT_STATE, &LIMIT, &CURSOR, &AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("A page of experiments.", Content::Json("FlagExperimentPage")), Reply::running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::INVALID_CURSOR, Kind::JOB_RUNNING, Kind::UNKNOWN_PROJECTION],
        ..Spec::get("flagExperiments", "/flag-experiments", SHORT, "Lists the experiments of all flags")
    }
    .by(waiting!(experiments::all)),
    Spec {
        description: "What `billing.*` and `usage.*` say of these customers afterwards is counted in the arm they met first, for the rollouts and experiments that measure it. Answers when the exposures are durable.",
        access: Access::Scope(Scope::PUBLISH),
        body: Body::Json("RecordExposures"),
        answers: &[Reply::ok("They are recorded, or concern nothing that runs.", Content::Json("ExposuresRecorded"))],
        problems: &[Kind::INVALID_EVENT, Kind::INVALID_DATA, Kind::ID_CONFLICT, Kind::UNKNOWN_PROJECTION, Kind::UNAVAILABLE, Kind::DISK_FULL, Kind::EMERGENCY_STOP],
        ..Spec::post("recordExposures", "/flag-exposures", SHORT, "Records which customers met which flags")
    }
    .by(with_body!(exposures::record)),
    Spec {
        parameters: &[&AS_OF, &KNOWN_AT],
        answers: &[Reply::ok("All environments.", Content::List("FlagEnvironment")), Reply::running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::JOB_RUNNING, Kind::UNKNOWN_PROJECTION],
        ..Spec::get("flagEnvironments", "/flag-environments", SHORT, "Lists environments, and what their flags share")
    }
    .by(waiting!(sets::all)),
    Spec {
        description: "Unleash's segments, GrowthBook's saved groups, flagd's evaluators: whatever that format's file has beside its flags.",
        method: "PUT",
        parameters: &[&ENVIRONMENT_PATH, &FORMAT_PATH],
        body: Body::Json("ChangeShared"),
        answers: &[Reply::ok("It is served.", Content::Json("FlagEnvironment")), pending()],
        problems: &[Kind::NOT_FOUND, Kind::INVALID_DATA, Kind::UNKNOWN_PROJECTION, Kind::UNAVAILABLE, Kind::DISK_FULL],
        ..Spec::post("changeShared", "/flag-environments/{environment}/{format}", SHORT, "Changes what an environment's flags share")
    }
    .by(with_body!(sets::change)),
];
