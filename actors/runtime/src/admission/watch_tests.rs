//! Admission whose thread panics or hangs.

use std::sync::mpsc;

use tol_events::{Event, EventTime};

use super::super::Candidate;
use super::super::request::{AdmissionOptions, Published, Refusal};
use super::super::service::{AdmissionHandle, start_within};
use super::*;
use crate::store::MemoryStore;
use crate::test_log::TestLog;

const PATIENCE: Duration = Duration::from_secs(20);

struct Stage {
    log: Arc<TestLog>,
    admission: AdmissionHandle,
    thread: Option<JoinHandle<()>>,
}

impl Stage {
    fn start(hung_after_ms: u64) -> Self {
        let topics: Vec<(&str, u32)> = vec![("facts.customer", 1)];
        let log = TestLog::new(&topics);
        let options = AdmissionOptions {
            partitions: 1,
            queue: 10,
            queue_events: 10,
            batch_events: 10,
            timeout_ms: 60_000,
            joint_appends: true,
            gather_ms: 0,
            topics: vec!["facts.customer".into()],
        };
        let limits = Limits { hung_after_ms, backoff_ms: 1_000, ..Limits::default() };
        let store = Arc::new(MemoryStore::new(1));
        let (admission, thread) = start_within(limits, log.clone(), store, "http://a", 7, options).unwrap();
        admission.assign([0].into());
        let stage = Self { log, admission, thread: Some(thread) };
        stage.wait("all gates are active", || stage.admission.gates().0.is_some_and(|own| stage.admission.gates().1 == own));
        stage
    }

    fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < until, "not in time: {what}; {:?}", self.admission.failed());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn publish(&self, id: &str) -> mpsc::Receiver<Result<Published, Refusal>> {
        let (sender, answer) = mpsc::channel();
        let event = Event::new(id, "/shop", "shop.thing_done.v1", "customer/1");
        let candidate = Candidate::new(event, None, "facts.customer", 1, None, EventTime::from_secs(1));
        self.admission.publish(vec![candidate], vec![id.to_owned()], Box::new(move |published| drop(sender.send(published))));
        answer
    }

    /// Sends until it is stored.
    fn store(&self, id: &str) -> Published {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.publish(id).recv_timeout(PATIENCE) {
                Ok(Ok(published)) => return published,
                refused => assert!(Instant::now() < until, "{refused:?}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.log.hang(false);
        self.admission.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn admission_that_panics_is_told_and_started_again_with_a_new_claim() {
    let stage = Stage::start(60_000);
    assert_eq!(stage.store("f1").accepted, 1);
    assert_eq!(stage.admission.failed(), None);
    stage.log.panics.store(true, Ordering::SeqCst);
    // Its requester learns that there is no answer.
    assert!(stage.publish("f2").recv_timeout(PATIENCE).is_err());
    stage.wait("the failure shows", || stage.admission.failed().is_some_and(|why| why.contains("admission panicked: as the test asked")));
    assert!(matches!(stage.publish("f2").recv_timeout(PATIENCE), Ok(Err(Refusal::Unavailable(why))) if why.contains("retry with the same ids is safe")));
    stage.wait("it runs again", || stage.admission.failed().is_none() && stage.admission.gates().1 > 0);
    assert_eq!(stage.store("f2").accepted, 1);
    assert_eq!(stage.store("f1").duplicates, 1, "what was admitted before is known");
}

#[test]
fn admission_that_hangs_is_told_and_replaced_and_takes_nothing_when_it_wakes_up() {
    let stage = Stage::start(700);
    assert_eq!(stage.store("f1").accepted, 1);
    stage.log.hang(true);
    let waits = stage.publish("f2");
    stage.wait("the hang shows", || stage.admission.failed().is_some_and(|why| why.contains("gave no sign of life for 700 ms")));
    stage.log.hang(false);
    stage.wait("another one runs", || stage.admission.failed().is_none() && stage.admission.gates().1 > 0);
    // The first append of f2 was on its way when its thread hung, and may have been stored by now.
    let published = stage.store("f2");
    assert_eq!(published.accepted + published.duplicates, 1);
    assert_eq!(stage.store("f3").accepted, 1);
    assert_eq!(stage.store("f1").duplicates, 1);
    drop(waits);
}
