//! Prints how fast keys of persons are found, made and destroyed: `cargo run --release -p tol-events --example keys`.

use std::hint::black_box;
use std::time::Instant;

use tol_events::personal::{FileKeyStore, Key, KeyStore, Sharing};

const PERSONS: usize = 100_000;

fn timed(name: &str, times: usize, run: impl FnOnce() -> Result<(), Box<dyn std::error::Error>>) -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    run()?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{name:<44} {:>12.1} µs each  ({times} in {seconds:.3} s)", seconds * 1e6 / times as f64);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let subjects: Vec<String> = (0..PERSONS).map(|number| format!("customer/{number}")).collect();
    let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
    for sharing in [Sharing::Alone, Sharing::Shared] {
        println!("{sharing:?}, {PERSONS} persons");
        let folder = tempfile::tempdir()?;
        let keys = FileKeyStore::open(folder.path(), Key::new([7; 32]), sharing)?;
        timed("made, 1,000 a batch", PERSONS, || Ok(subjects.chunks(1_000).try_for_each(|batch| keys.ensure(batch))?))?;
        timed("made, one by one", 200, || (0..200).try_for_each(|number| keys.get_or_create(&format!("customer/new-{number}")).map(drop)).map_err(Into::into))?;
        timed("found", 10 * PERSONS, || {
            for _ in 0..10 {
                for subject in &subjects {
                    black_box(keys.get(subject)?);
                }
            }
            Ok(())
        })?;
        timed("destroyed", 10, || Ok(subjects.iter().take(10).try_for_each(|subject| keys.destroy(subject).map(drop))?))?;
        drop(keys);
        timed("opened", 1, || {
            black_box(FileKeyStore::open(folder.path(), Key::new([7; 32]), sharing)?);
            Ok(())
        })?;
    }
    Ok(())
}
