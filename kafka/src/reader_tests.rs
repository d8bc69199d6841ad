#![allow(clippy::unwrap_used)]
use super::*;
use crate::record::Record;
use tol_events::Event;

fn own(epoch: u64, sequence: u64, index: &str) -> Record {
    let mut event = Event::new(format!("{epoch}-{sequence}-{index}"), "/systems/s", "a.b_c.v1", "customer/1");
    event.set(Attribute::Epoch, epoch.to_string()).set(Attribute::Sequence, sequence.to_string()).set(Attribute::InputIndex, index);
    Record::from_event(&event)
}

fn claim(epoch: u64) -> Record {
    let claim = OwnerClaimed { epoch, nonce: "n".into(), node: String::new(), code_version: String::new(), config_hash: String::new() };
    let mut event = Event::new("c", "/systems/s", OWNER_CLAIMED, "").with_data(&claim).unwrap();
    event.set(Attribute::Epoch, epoch.to_string());
    Record::from_event(&event)
}

fn partition() -> TopicPartition {
    TopicPartition::new("s.events", 0)
}

/// Ids delivered group by group, and where the reader would resume.
fn read(reader: &mut Reader, base: Position, records: &[Record]) -> Result<Vec<Vec<String>>, Stop> {
    let batch = Arc::new(Batch::of_records(partition(), base, 0, records));
    let mut groups = Vec::new();
    reader.read(&batch, &mut |delivery| {
        if let Delivery::Group { events, .. } = delivery {
            groups.push(events.iter().map(|(_, event)| event.id().to_owned()).collect());
        }
        Ok(())
    })?;
    Ok(groups)
}

#[test]
fn zombies_repeats_and_gaps_are_dropped_and_counted() {
    let mut reader = Reader::resume(partition(), Cursor::default());
    let groups =
        read(&mut reader, 0, &[claim(1), own(1, 1, "1/1"), own(1, 1, "1/1"), own(1, 3, "1/1"), claim(2), own(1, 2, "1/1"), own(2, 2, "1/1"), claim(2)])
            .unwrap();
    assert_eq!(groups, [["1-1-1/1"], ["2-2-1/1"]]);
    assert_eq!(reader.dropped(), Dropped { stale: 1, repeated: 1, beyond_gap: 1, void_claims: 1, voided: 0 });
    assert!(!reader.has_gap());
    assert_eq!(reader.cursor(), Cursor { position: 8, epoch: 2, sequence: 2 });
}

#[test]
fn a_group_is_held_until_whole_and_resumed_from_its_first_event() {
    let mut reader = Reader::resume(partition(), Cursor::default());
    assert!(read(&mut reader, 0, &[claim(1), own(1, 1, "1/3"), own(1, 2, "2/3")]).unwrap().is_empty());
    let cursor = reader.cursor();
    assert_eq!(cursor, Cursor { position: 1, epoch: 1, sequence: 0 });
    assert_eq!(read(&mut reader, 3, &[own(1, 3, "3/3")]).unwrap()[0].len(), 3);
    let mut resumed = Reader::resume(partition(), cursor);
    assert_eq!(read(&mut resumed, 0, &[claim(1), own(1, 1, "1/3"), own(1, 2, "2/3"), own(1, 3, "3/3")]).unwrap()[0].len(), 3);
}

#[test]
fn a_claim_voids_an_unfinished_group_and_its_sequences_are_used_again() {
    let mut reader = Reader::resume(partition(), Cursor::default());
    let groups = read(&mut reader, 0, &[claim(1), own(1, 1, "1/2"), claim(2), own(1, 2, "2/2"), own(2, 1, "1/2"), own(2, 2, "2/2")]).unwrap();
    assert_eq!(groups, [["2-1-1/2", "2-2-2/2"]]);
    assert_eq!((reader.dropped().voided, reader.dropped().stale), (1, 1));
}

#[test]
fn an_unclaimed_epoch_stops_the_reader() {
    let mut reader = Reader::resume(partition(), Cursor::default());
    assert!(matches!(read(&mut reader, 0, &[claim(1), own(2, 1, "1/1")]), Err(Stop::UnclaimedEpoch { epoch: 2, current: 1, .. })));
    assert!(matches!(
        read(&mut Reader::resume(partition(), Cursor::default()), 0, &[claim(1), own(1, 1, "1/1"), own(1, 2, "2/2")]),
        Err(Stop::Malformed { .. })
    ));
}

#[test]
fn a_reader_that_stopped_inside_a_whole_group_takes_its_rest() {
    let mut reader = Reader::resume(partition(), Cursor { position: 2, epoch: 1, sequence: 1 });
    assert_eq!(read(&mut reader, 0, &[claim(1), own(1, 1, "1/3"), own(1, 2, "2/3"), own(1, 3, "3/3")]).unwrap()[0].len(), 2);
}

#[test]
fn a_refused_delivery_is_offered_again() {
    let mut reader = Reader::resume(partition(), Cursor::default());
    let batch = Arc::new(Batch::of_records(partition(), 0, 0, &[claim(1), own(1, 1, "1/1")]));
    let mut refuse = |delivery: Delivery<'_>| if matches!(delivery, Delivery::Group { .. }) { Err("no".to_owned()) } else { Ok(()) };
    assert!(reader.read(&batch, &mut refuse).is_err());
    assert_eq!(reader.cursor(), Cursor { position: 1, epoch: 1, sequence: 0 });
    assert_eq!(read(&mut reader, 1, &[own(1, 1, "1/1")]).unwrap().len(), 1);
}

#[test]
fn cursor_text_reads_back() {
    let cursor = Cursor { position: 1, epoch: 2, sequence: 3 };
    assert_eq!(cursor.to_string().parse(), Ok(cursor));
    assert!("1:2".parse::<Cursor>().is_err() && "1:2:3:4".parse::<Cursor>().is_err() && "a:2:3".parse::<Cursor>().is_err());
}
