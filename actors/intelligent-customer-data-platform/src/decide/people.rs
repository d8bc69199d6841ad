//! Audiences and erasures.

use serde_json::Value;
use tol_events::EventTime;
use tol_events::cdp::{
    AudienceCheckDue, AudienceCheckScheduled, AudienceDefined, AudienceEntered, AudienceEvaluated, AudienceExited, AudienceRequested, Certificate,
    ErasureFailed, ErasureRequested, KeyDestructionRequested, SubjectKeyDestroyed,
};
use tol_system::{Decision, EffectOutcome, Error};

use crate::state::State;
use crate::types;

/// The name of the timer of an audience's check.
pub(crate) const CHECK: &str = "audience:";

/// A new condition of an audience.
pub(crate) fn audience_requested(state: &State, asked: &AudienceRequested<'_>, decision: &mut Decision) {
    let condition = asked.r#where.to_string();
    if state.audience_where != condition {
        let defined = AudienceDefined { audience: (&*asked.audience).into(), r#where: asked.r#where.clone(), version: state.audience_version + 1 };
        decision.emit(types::AUDIENCE_DEFINED, &defined);
    }
}

/// What the evaluator found.
pub(crate) fn evaluated(state: &State, found: &AudienceEvaluated<'_>, decision: &mut Decision) -> Result<(), Error> {
    let known = state.audiences.get(&*found.audience).copied().unwrap_or_default();
    if found.member && !known.member {
        let entered = AudienceEntered { profile_id: (&*found.profile_id).into(), audience: (&*found.audience).into() };
        decision.emit(types::AUDIENCE_ENTERED, &entered);
    } else if !found.member && known.member {
        let exited = AudienceExited { profile_id: (&*found.profile_id).into(), audience: (&*found.audience).into() };
        decision.emit(types::AUDIENCE_EXITED, &exited);
    }
    if found.check_at != known.check_at {
        let scheduled = AudienceCheckScheduled { profile_id: (&*found.profile_id).into(), audience: (&*found.audience).into(), at: found.check_at };
        decision.emit(types::AUDIENCE_CHECK_SCHEDULED, &scheduled);
    }
    Ok(())
}

/// A window slid.
pub(crate) fn check_due(_: &State, timer: &str, subject: &str, _: EventTime, decision: &mut Decision) {
    let (Some(audience), Some(profile_id)) = (timer.strip_prefix(CHECK), subject.strip_prefix("profile/")) else { return };
    decision.emit(types::AUDIENCE_CHECK_DUE, &AudienceCheckDue { profile_id: profile_id.into(), audience: audience.into() });
}

/// A person is to be forgotten. Asked for again, it is the same erasure.
pub(crate) fn erasure_requested(state: &State, asked: &ErasureRequested<'_>, decision: &mut Decision) -> Result<(), Error> {
    if state.erasure.is_none() {
        let requested = KeyDestructionRequested {
            erasure_id: (&*asked.erasure_id).into(),
            profile_id: (&*asked.profile_id).into(),
            identifiers: asked.identifiers.clone(),
        };
        decision.emit(types::KEY_DESTRUCTION_REQUESTED, &requested);
    }
    Ok(())
}

/// The keys are destroyed, or could not be.
pub(crate) fn keys_destroyed(state: &State, subject: &str, outcome: &EffectOutcome, decision: &mut Decision) {
    let (Some(erasure), Some(erasure_id)) = (&state.erasure, subject.strip_prefix("erasure/")) else { return };
    match outcome {
        EffectOutcome::Completed(result) => {
            let texts = |name: &str| -> Vec<String> {
                result.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
            };
            let certificate = Certificate { identifiers: texts("identifiers"), covered: texts("covered") };
            let destroyed = SubjectKeyDestroyed { erasure_id: erasure_id.into(), profile_id: (&*erasure.profile_id).into(), certificate };
            decision.emit(types::SUBJECT_KEY_DESTROYED, &destroyed);
        }
        EffectOutcome::Failed(problem) => {
            let problem = if problem.is_empty() { "the runner gave no reason" } else { problem };
            decision.emit(types::ERASURE_FAILED, &ErasureFailed { erasure_id: erasure_id.into(), problem: problem.into() });
        }
    }
}
