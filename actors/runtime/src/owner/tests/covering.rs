//! Questions which own position covers an input.

use super::*;

fn facts() -> TopicPartition {
    TopicPartition::new("facts.customer", 0)
}

/// The answer to a question, with everything else forgotten.
fn answer(stage: &Stage, ticket: Ticket) -> Option<Result<Position, Uncovered>> {
    let mut answers = stage.outputs().into_iter().filter_map(|output| match output {
        Output::Covered(answered, covered) if answered == ticket => Some(covered),
        _ => None,
    });
    let answer = answers.next();
    assert_eq!(answers.next(), None, "question {ticket} was answered twice");
    answer
}

#[test]
fn a_partition_under_continuous_load_answers_with_the_commit() {
    let mut stage = Stage::new();
    stage.options.batch_events = 4;
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    let mut answered = None;
    for round in 0..40u64 {
        stage.log.set_faults(Faults::default());
        for number in 0..6 {
            stage.fact(&format!("f{round}-{number}"), "customer/a", json!({ "emit": 1 }));
        }
        // One append of the owner's becomes durable a round, so that the next is in flight at any time.
        stage.log.set_faults(Faults::stepped());
        stage.settle(&mut driver);
        stage.log.run_one();
        stage.settle(&mut driver);
        assert!(!driver.owner().is_idle(), "round {round}");
        if round == 10 {
            driver.owner_mut().cover(facts(), 30, 7, 1_000);
        }
        if let Some(covered) = answer(&stage, 7) {
            answered = Some((round, covered));
        }
    }
    let Some((round, covered)) = answered else { panic!("never answered, because the owner never rests") };
    assert!(round <= 20, "answered in round {round}");
    let end = covered.unwrap();
    let own = TopicPartition::new("puppet.events", 0);
    let batches = stage.log.read(&own, 0, usize::MAX).unwrap();
    let decided = batches.iter().flat_map(|batch| batch.events_from(0)).filter(|(_, event)| {
        let cause = event.attribute(Attribute::CausationId).unwrap_or_default();
        cause.starts_with("f0-") || cause.starts_with("f1-")
    });
    assert_eq!(decided.filter(|(position, _)| *position < end).count(), 12);
}

#[test]
fn a_question_waits_for_its_input_and_for_its_commit() {
    let mut stage = Stage::new();
    stage.fact("f0", "customer/a", json!({}));
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    // The claim lies at 0; f1 will lie at 2.
    driver.owner_mut().cover(facts(), 2, 1, 1_000);
    stage.settle(&mut driver);
    assert_eq!(answer(&stage, 1), None);
    stage.fact("f1", "customer/a", json!({ "emit": 2 }));
    stage.log.set_faults(Faults::stepped());
    stage.settle(&mut driver);
    assert_eq!(answer(&stage, 1), None, "what was decided is not committed");
    stage.log.run_all();
    stage.settle(&mut driver);
    assert_eq!(answer(&stage, 1), Some(Ok(3)), "the claim and two events");
    driver.owner_mut().cover(facts(), 1, 2, 1_000);
    stage.settle(&mut driver);
    assert_eq!(answer(&stage, 2), Some(Ok(3)), "decided long ago");
}

#[test]
fn a_question_that_cannot_be_answered_is_refused_once() {
    let mut stage = Stage::new();
    stage.options.questions = 1;
    let mut driver = stage.open(1);
    driver.owner_mut().cover(facts(), 0, 1, 1_000);
    stage.settle(&mut driver);
    assert_eq!(answer(&stage, 1), Some(Err(Uncovered::NotOwned)), "it had not claimed yet");
    driver.owner_mut().cover(TopicPartition::new("facts.service", 0), 0, 2, 1_000);
    stage.settle(&mut driver);
    assert_eq!(answer(&stage, 2), Some(Err(Uncovered::NotRead)));
    driver.owner_mut().cover(facts(), 9, 3, 1_000);
    driver.owner_mut().cover(facts(), 9, 4, 1_000);
    stage.settle(&mut driver);
    assert_eq!(answer(&stage, 4), Some(Err(Uncovered::Busy(1))));
    stage.now_ms = 1_000;
    stage.settle(&mut driver);
    assert_eq!(answer(&stage, 3), Some(Err(Uncovered::Late)));
    driver.owner_mut().cover(facts(), 9, 5, 9_000);
    stage.settle(&mut driver);
    assert_eq!(answer(&stage, 5), None);
    driver.owner_mut().assign(false);
    stage.settle(&mut driver);
    assert_eq!(answer(&stage, 5), Some(Err(Uncovered::NotOwned)));
}
