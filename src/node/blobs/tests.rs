use std::io::Cursor;

use tol_events::personal::MemoryKeyStore;

use super::*;

const LIMIT: u64 = 200 << 20;

struct Kept {
    folder: tempfile::TempDir,
    keys: Arc<MemoryKeyStore>,
    blobs: FileBlobs,
}

fn kept() -> Kept {
    let folder = tempfile::tempdir().unwrap();
    let keys = Arc::new(MemoryKeyStore::new());
    let blobs = FileBlobs::open(&folder.path().join("blobs"), keys.clone(), LIMIT).unwrap();
    Kept { folder, keys, blobs }
}

impl Kept {
    fn path(&self, blob: &BlobRef) -> PathBuf {
        path_of(&self.blobs.folder, blob.sha256, blob.sealed.as_deref())
    }

    fn put(&self, subject: Option<&str>, content: &[u8]) -> BlobRef {
        self.blobs.put(subject, "text/plain", &mut Cursor::new(content)).unwrap()
    }

    /// The error that a blob gives, at once or while it is read.
    fn failure(&self, blob: &BlobRef) -> String {
        match self.blobs.get(blob) {
            Ok(mut reader) => reader.read_to_end(&mut Vec::new()).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        }
    }

    fn temporary_files(&self) -> usize {
        fs::read_dir(self.blobs.folder.join(TEMPORARY)).unwrap().count()
    }
}

fn read(blobs: &FileBlobs, blob: &BlobRef) -> Vec<u8> {
    let mut content = Vec::new();
    blobs.get(blob).unwrap().read_to_end(&mut content).unwrap();
    content
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|place| (place * 31 % 251) as u8).collect()
}

#[test]
fn content_of_any_length_comes_back_sealed_or_not() {
    let kept = kept();
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7] {
        let content = bytes(length);
        for subject in [None, Some("customer/42")] {
            let blob = kept.put(subject, &content);
            assert_eq!((blob.bytes, blob.sealed.as_deref(), read(&kept.blobs, &blob) == content), (length as u64, subject, true), "{length}");
        }
    }
    let plain = kept.put(None, b"abc");
    assert_eq!(plain.sha256.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert!(kept.path(&plain).ends_with("ba/7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    assert_eq!(kept.put(None, b"abc"), plain);
    assert_eq!(kept.temporary_files(), 0);
}

#[test]
fn neither_the_name_nor_the_bytes_of_a_sealed_blob_tell_its_content() {
    let kept = kept();
    let content = b"Ada Lovelace, 12 St James's Square".repeat(100);
    let (one, two) = (kept.put(Some("customer/42"), &content), kept.put(Some("customer/42"), &content));
    assert_ne!(one.sha256, two.sha256);
    assert_ne!(one.sha256, BlobId::new(Sha256::digest(&content).into()));
    let stored = fs::read(kept.path(&one)).unwrap();
    assert!(!stored.windows(8).any(|window| window == b"Lovelace"));
    assert!(!format!("{:?}", kept.path(&one)).contains("customer"));
}

#[test]
fn a_flipped_byte_is_an_error_that_names_the_blob_and_comes_before_the_end() {
    let kept = kept();
    for subject in [None, Some("customer/42")] {
        let content = bytes(2 * CHUNK + 100);
        for at in [0, 20, CHUNK + 3, 2 * CHUNK + 99] {
            let blob = kept.put(subject, &content);
            let mut stored = fs::read(kept.path(&blob)).unwrap();
            stored[at] ^= 1;
            fs::write(kept.path(&blob), &stored).unwrap();
            let mut reader = match kept.blobs.get(&blob) {
                Ok(reader) => reader,
                Err(error) => {
                    assert!(matches!(error, Error::Damaged(damaged) if damaged == blob.sha256), "{error}");
                    continue;
                }
            };
            // One who reads exactly the bytes there are, and never asks for more, meets it too.
            let error = reader.read_exact(&mut vec![0; content.len()]).unwrap_err();
            assert!(error.to_string().contains(&format!("blob {} is damaged", blob.sha256)), "{subject:?} {at}: {error}");
            assert!(reader.read(&mut [0; 8]).is_err(), "a damaged blob ends as if it were whole");
        }
        let blob = kept.put(subject, &content);
        let stored = fs::read(kept.path(&blob)).unwrap();
        fs::write(kept.path(&blob), &stored[..stored.len() - 1]).unwrap();
        assert!(kept.failure(&blob).contains("damaged"));
        // Putting the content again mends a blob that is not sealed.
        if subject.is_none() {
            assert_eq!(read(&kept.blobs, &kept.put(None, &content)), content);
        }
    }
    let other = BlobRef { sha256: BlobId::new([7; 32]), ..kept.put(None, b"x") };
    assert!(kept.failure(&other).contains("is not on this node"));
}

#[test]
fn a_blob_of_one_subject_does_not_open_as_another_subjects() {
    let kept = kept();
    let (ada, bob) = (kept.put(Some("customer/ada"), b"ada's letter"), kept.put(Some("customer/bob"), b"bob's letter"));
    let moved = BlobRef { sealed: bob.sealed.clone(), ..ada.clone() };
    assert!(kept.failure(&moved).contains("is not on this node"));
    fs::copy(kept.path(&ada), kept.path(&moved)).unwrap();
    assert!(kept.failure(&moved).contains("damaged"), "the key of another subject opens it");
    let swapped = BlobRef { sha256: bob.sha256, ..ada.clone() };
    fs::copy(kept.path(&ada), kept.path(&swapped)).unwrap();
    assert!(kept.failure(&swapped).contains("damaged"), "another blob of the same subject passes for it");
    let elsewhere = FileBlobs::open(&kept.blobs.folder, Arc::new(MemoryKeyStore::new()), LIMIT).unwrap();
    assert!(matches!(elsewhere.get(&ada), Err(Error::Key(personal::Error::NoKey(_)))));
    let another_key = Arc::new(MemoryKeyStore::new());
    another_key.get_or_create("customer/ada").unwrap();
    let elsewhere = FileBlobs::open(&kept.blobs.folder, another_key, LIMIT).unwrap();
    assert!(elsewhere.get(&ada).unwrap().read_to_end(&mut Vec::new()).unwrap_err().to_string().contains("damaged"));
}

#[test]
fn what_was_being_written_when_the_node_was_killed_is_seen_by_nobody() {
    let kept = kept();
    for subject in [None, Some("customer/42")] {
        let key = subject.map(|subject| kept.keys.get_or_create(subject).unwrap());
        let sealer = key.as_ref().map(|key| Sealer::fresh(key, "customer/42").unwrap());
        // Killed between the write and the name: nothing is cleaned up.
        let (temporary, sha256, bytes) = kept.blobs.write(sealer, &mut Cursor::new(b"half a fact")).unwrap();
        std::mem::forget(temporary);
        assert_eq!(kept.temporary_files(), 1);
        let again = FileBlobs::open(&kept.blobs.folder, kept.keys.clone(), LIMIT).unwrap();
        assert_eq!(kept.temporary_files(), 0);
        let blob = BlobRef { sha256, bytes, media_type: "text/plain".into(), sealed: subject.map(str::to_owned) };
        assert!(matches!(again.get(&blob), Err(Error::Unknown(_))));
        assert_eq!(backup::verify(&kept.blobs.folder).unwrap(), 0);
    }
}

#[test]
fn content_that_breaks_off_or_is_too_large_leaves_nothing() {
    struct BreaksOff(usize);
    impl Read for BreaksOff {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(into.len()).ok_or_else(|| std::io::Error::other("the connection was closed"))?;
            Ok(into.len())
        }
    }
    let kept = kept();
    let broken = kept.blobs.put(None, "text/plain", &mut BreaksOff(3 * CHUNK)).unwrap_err();
    assert!(matches!(&broken, Error::Content(_)) && broken.to_string().contains("connection was closed"), "{broken}");
    let small = FileBlobs::open(&kept.blobs.folder, kept.keys.clone(), 1_000).unwrap();
    assert!(small.put(None, "text/plain", &mut Cursor::new(bytes(1_000))).is_ok());
    let large = small.put(Some("customer/1"), "text/plain", &mut std::io::repeat(1)).unwrap_err();
    assert!(matches!(large, Error::TooLarge { limit: 1_000 }), "{large}");
    assert_eq!((kept.temporary_files(), backup::verify(&kept.blobs.folder).unwrap()), (0, 1));
}

#[test]
fn erasing_a_subject_removes_its_blobs_and_no_others() {
    let kept = kept();
    let (first, second) = (kept.put(Some("customer/42"), b"one"), kept.put(Some("customer/42"), b"two"));
    let (other, plain) = (kept.put(Some("customer/43"), b"three"), kept.put(None, b"four"));
    let mut own = vec![first.sha256, second.sha256];
    own.sort_unstable();
    assert_eq!(kept.blobs.sealed_for("customer/42").unwrap(), own);
    kept.keys.destroy("customer/42").unwrap();
    assert!(matches!(kept.blobs.get(&first), Err(Error::Erased { .. })), "the content is gone with the key already");
    assert_eq!((kept.blobs.purge("customer/42").unwrap(), kept.blobs.purge("customer/42").unwrap()), (2, 0));
    assert!(!kept.path(&first).exists() && !kept.path(&second).exists());
    assert!(kept.blobs.put(Some("customer/42"), "text/plain", &mut Cursor::new(b"late")).is_err());
    assert_eq!((read(&kept.blobs, &other), read(&kept.blobs, &plain)), (b"three".to_vec(), b"four".to_vec()));
}

#[test]
fn a_blob_that_was_being_put_while_its_subject_was_erased_does_not_appear() {
    struct ErasesAtTheEnd<'k>(Cursor<Vec<u8>>, &'k Kept);
    impl Read for ErasesAtTheEnd<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.read(into)?;
            if count == 0 {
                self.1.keys.destroy("customer/42").unwrap();
                self.1.blobs.purge("customer/42").unwrap();
            }
            Ok(count)
        }
    }
    let kept = kept();
    let late = kept.blobs.put(Some("customer/42"), "text/plain", &mut ErasesAtTheEnd(Cursor::new(bytes(CHUNK)), &kept));
    assert!(matches!(late, Err(Error::Key(personal::Error::Erased(_)))), "{late:?}");
    assert!(kept.blobs.sealed_for("customer/42").unwrap().is_empty());
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn a_hundred_megabytes_pass_through_little_memory() {
    struct Watched {
        left: u64,
        most: u64,
    }
    impl Read for Watched {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let count = (into.len() as u64).min(self.left) as usize;
            into[..count].fill(self.left as u8);
            self.left -= count as u64;
            self.most = self.most.max(resident());
            Ok(count)
        }
    }
    let kept = kept();
    let before = resident();
    let mut content = Watched { left: 100 << 20, most: 0 };
    let blob = kept.blobs.put(Some("customer/42"), "application/octet-stream", &mut content).unwrap();
    let mut reader = kept.blobs.get(&blob).unwrap();
    let (mut total, mut most, mut buffer) = (0, content.most, vec![0; 1 << 20]);
    loop {
        let count = reader.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        total += count as u64;
        most = most.max(resident());
    }
    assert_eq!((blob.bytes, total), (100 << 20, 100 << 20));
    // Other tests of this process run beside it.
    assert!(most < before + (40 << 20), "{} MB", (most - before) >> 20);
}

#[test]
fn a_backup_holds_all_blobs_verified_and_a_second_one_copies_what_is_new() {
    let kept = kept();
    let (plain, sealed) = (kept.put(None, &bytes(100_000)), kept.put(Some("customer/42"), b"a letter"));
    for link in [false, true] {
        let copy = kept.folder.path().join(format!("copy-{link}"));
        let copied = backup::copy(&kept.blobs.folder, &copy, link).unwrap();
        assert_eq!((copied.blobs, copied.copied_bytes > 100_000, copied.spared), (2, !link, if link { 2 } else { 0 }));
        assert_eq!(backup::verify(&copy).unwrap(), 2);
        let restored = FileBlobs::open(&copy, kept.keys.clone(), LIMIT).unwrap();
        assert_eq!((read(&restored, &plain), read(&restored, &sealed)), (bytes(100_000), b"a letter".to_vec()));
    }
    let copy = kept.folder.path().join("copy-false");
    let new = kept.put(None, b"new");
    assert_eq!(backup::copy(&kept.blobs.folder, &copy, false).unwrap(), backup::Copied { blobs: 3, copied_bytes: 3, spared: 2 });
    assert_eq!(backup::copy(&kept.folder.path().join("nothing"), &copy, false).unwrap(), backup::Copied::default());
    fs::write(path_of(&copy, new.sha256, None), b"nex").unwrap();
    assert!(matches!(backup::verify(&copy), Err(Error::Damaged(blob)) if blob == new.sha256));
    // A damaged original is not copied.
    let damaged = kept.put(None, b"sound");
    fs::write(kept.path(&damaged), b"wrong").unwrap();
    assert!(matches!(backup::copy(&kept.blobs.folder, &copy, false), Err(Error::Damaged(blob)) if blob == damaged.sha256));
    assert!(!path_of(&copy, damaged.sha256, None).exists());
}
