use super::*;

fn open(folder: &Path) -> RocksStore {
    RocksStore::open(folder, &StoreOptions { cache_bytes: 4 << 20, write_buffer_bytes: 4 << 20, open_files: 64 }).unwrap()
}

fn put(table: Table, key: &str, value: &str) -> Change {
    Change::Put(table, key.into(), value.into())
}

#[test]
fn rows_are_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("projections");
    {
        let store = open(&path);
        store.write(vec![put(Table::State, "a", "1"), put(Table::Rows, "longer-than-the-prefix", "2")], None).unwrap();
    }
    let store = open(&path);
    assert_eq!(store.opened(), &Opened::Healthy);
    assert_eq!(store.get(Table::State, b"a").unwrap().unwrap(), b"1");
    assert_eq!(store.multi_get(Table::Rows, &[b"none", b"longer-than-the-prefix"]).unwrap(), [None, Some(b"2".to_vec())]);
}

#[test]
fn scan_goes_on_after_a_key_and_stays_in_its_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for table in [Table::Rows, Table::Index] {
        store.write(["a", "b1", "b2", "b3", "c"].map(|key| put(table, key, key)).to_vec(), None).unwrap();
        let keys = |after: Option<&[u8]>, limit| {
            store.scan(table, b"b", after, limit).unwrap().into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(keys(None, 2), ["b1", "b2"]);
        assert_eq!(keys(Some(b"b2"), 9), ["b3"]);
        assert_eq!(keys(Some(b"a"), 9), ["b1", "b2", "b3"]);
        store.write(vec![Change::DeletePrefix(table, b"b".to_vec()), Change::Delete(table, b"a".to_vec())], None).unwrap();
        assert_eq!(store.scan(table, b"", None, 9).unwrap(), [(b"c".to_vec(), b"c".to_vec())]);
    }
}

#[test]
fn a_write_under_a_lost_token_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(vec![put(Table::Meta, "token", "new")], None).unwrap();
    assert!(matches!(store.write(vec![put(Table::State, "a", "1")], Some((b"token", b"old"))), Err(StoreError::TokenLost(_))));
    assert_eq!(store.get(Table::State, b"a").unwrap(), None);
    store.write(vec![put(Table::State, "a", "1")], Some((b"token", b"new"))).unwrap();
    assert_eq!(store.get(Table::State, b"a").unwrap().unwrap(), b"1");
}

#[test]
fn a_second_opening_is_told_that_the_folder_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path());
    assert!(matches!(RocksStore::open(folder.path(), &StoreOptions::default()), Err(Error::InUse(_))));
}

#[test]
fn a_damaged_store_is_moved_aside_and_starts_empty() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("projections");
    for round in 1..=2 {
        {
            let store = open(&path);
            store.write(vec![put(Table::State, "a", "1")], None).unwrap();
            store.flush().unwrap();
        }
        std::fs::write(path.join("CURRENT"), b"nonsense").unwrap();
        let store = open(&path);
        assert!(matches!(store.opened(), Opened::MovedAside { to, .. } if to.ends_with("projections.corrupt-1")), "round {round}: {:?}", store.opened());
        assert_eq!(store.get(Table::State, b"a").unwrap(), None);
    }
}

/// Flips a byte in the first block of the largest table file: there lie rows.
pub(crate) fn damage_table(folder: &Path) {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let largest = files.filter(|path| path.extension().is_some_and(|ending| ending == "sst")).max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&largest, &bytes).unwrap();
}

/// Lets the keeper's work be done, as its thread would.
pub(crate) fn mend(store: &RocksStore) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !store.mend() {
        assert!(std::time::Instant::now() < until, "it was not mended: {:?}", store.trouble());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_flipped_byte_is_named_and_the_store_begins_empty_for_those_who_take_it_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("projections");
    {
        let store = open(&path);
        let rows = (0..5_000).map(|row| put(Table::State, &format!("row-{row:05}"), &format!("value {}", row * 7919))).collect();
        store.write(rows, None).unwrap();
        store.write(vec![put(Table::Meta, "token", "mine")], None).unwrap();
        store.flush().unwrap();
    }
    damage_table(&path);
    let store = Arc::new(open(&path));
    let (session, shown) = (store.session().unwrap().unwrap(), store.clone() as Arc<dyn Store>);
    assert_eq!((store.opened(), store.trouble()), (&Opened::Healthy, None));
    let read = session.scan(Table::State, b"", None, usize::MAX);
    assert!(matches!(&read, Err(StoreError::Failed(problem)) if problem.contains("checksum mismatch") && problem.contains(".sst")), "{read:?}");
    assert!(store.trouble().unwrap().contains("checksum mismatch"), "{:?}", store.trouble());
    mend(&store);
    assert_eq!(store.trouble(), None);
    // What was read before is not mixed with what is there now.
    assert!(!session.is_current() && session.get(Table::State, b"row-00001").is_err());
    assert!(matches!(session.write(vec![put(Table::State, "a", "1")], Some((b"token", b"mine"))), Err(StoreError::Failed(_))));
    let session = tol_runtime::store::session(&shown).unwrap();
    assert_eq!(session.scan(Table::State, b"", None, 9).unwrap(), []);
    session.write(vec![put(Table::State, "a", "1")], None).unwrap();
    assert!(folder.path().join("projections.corrupt-1").is_dir());
}

#[test]
fn damage_to_what_everything_begins_with_is_found_at_opening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("projections");
    {
        let store = open(&path);
        store.write((0..500).map(|row| put(Table::Meta, &format!("cursor-{row}"), &row.to_string())).collect(), None).unwrap();
        store.flush().unwrap();
    }
    damage_table(&path);
    let store = open(&path);
    assert!(matches!(store.opened(), Opened::MovedAside { problem, .. } if problem.contains("checksum mismatch")), "{:?}", store.opened());
    assert_eq!(store.get(Table::Meta, b"cursor-1").unwrap(), None);
}

#[test]
fn the_first_key_after_a_prefix() {
    assert_eq!(upper_bound(b"ab"), Some(b"ac".to_vec()));
    assert_eq!(upper_bound(&[1, 0xff]), Some(vec![2]));
    assert_eq!(upper_bound(&[0xff]), None);
}

#[test]
fn looking_up_what_is_not_there_reads_no_disk_once_the_filters_were_read() {
    use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};
    let folder = tempfile::tempdir().unwrap();
    // The cache has shares of 512 KiB, and the filter of these keys is 1 MiB.
    let store = open(&folder.path().join("projections"));
    let key = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().to_vec();
    for chunk in 0..8u64 {
        store.write((chunk * 100_000..(chunk + 1) * 100_000).map(|number| Change::Put(Table::Seen, key(number), Vec::new())).collect(), None).unwrap();
    }
    store.flush().unwrap();
    let database = store.database().unwrap();
    database.db().compact_range_cf(database.family(Table::Seen).unwrap(), None::<&[u8]>, None::<&[u8]>);
    let missing: Vec<Vec<u8>> = (1_000_000..1_010_000).map(key).collect();
    let missing: Vec<&[u8]> = missing.iter().map(Vec::as_slice).collect();
    let mut reads = [0; 2];
    for count in &mut reads {
        set_perf_stats(PerfStatsLevel::EnableCount);
        let mut context = PerfContext::default();
        context.reset();
        assert!(store.multi_get(Table::Seen, &missing).unwrap().iter().all(Option::is_none));
        *count = context.metric(PerfMetric::BlockReadCount);
        set_perf_stats(PerfStatsLevel::Disable);
    }
    // One in a hundred gets past a filter, and their blocks are cached too.
    assert!(reads[0] > 0 && reads[1] < 10, "{reads:?}");
}
