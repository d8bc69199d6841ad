//! Seeded mutations of a checked-in corpus. Without coverage feedback, so that it runs in `cargo test` on any toolchain: what is
//! found is minimised by hand and checked in, and from then on is where mutations begin.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// splitmix64: what follows from the seed is the same on every machine.
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`; 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end.max(1) as u64) as usize
    }

    pub fn one_of<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// What decoders tend to trip over, beside what the corpus holds.
const TOKENS: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\0",
    b"\r\n",
    b"\n",
    b"%",
    b"%00",
    b"%ff",
    b"\xff",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"\\u0000",
    b"null",
    b"1e999",
    b"-0",
    b"99999999999999999999999",
    b"\xef\xbb\xbf",
    b"ce-",
    b"ce_",
    b"data_base64",
    b"\"data\":",
    b"\x80\x80\x80\x80\x10",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"[[[[[[[[[[[[[[[[",
    b"2026-02-30T25:61:61Z",
    b"application/cloudevents+json",
];

/// Changes `input` in one to four places; `other` is another of the corpus.
pub fn mutate(draw: &mut Draw, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=draw.below(4) {
        let at = draw.below(input.len() + 1);
        let until = (at + 1 + draw.below(24)).min(input.len());
        match draw.below(8) {
            0 if at < input.len() => input[at] ^= 1 << draw.below(8),
            1 if at < input.len() => input[at] = draw.number() as u8,
            2 if at < until => drop(input.drain(at..until)),
            3 => input.truncate(at),
            4 if at < until => {
                let again = input[at..until].to_vec();
                input.splice(at..at, again);
            }
            5 => {
                let from = draw.below(other.len());
                let upto = (from + draw.below(64)).min(other.len());
                input.splice(at..at, other[from..upto].iter().copied());
            }
            _ => {
                let token = draw.one_of(TOKENS);
                input.splice(at..at, token.iter().copied());
            }
        }
    }
}

/// The files of a target, in order of their names.
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// A number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Has `check` look at each of `inputs` and at `iterations` mutations of them. What makes it panic is written to a file that can be
/// checked in. TOL_FUZZ_SEED starts elsewhere, TOL_FUZZ_TIMES runs so many times as long.
pub fn fuzz(target: &str, inputs: &[Vec<u8>], iterations: u64, check: impl Fn(&[u8])) {
    assert!(!inputs.is_empty(), "the corpus of {target} is empty");
    let seed = setting("TOL_FUZZ_SEED", 1);
    let run = |input: &[u8], name: String| {
        if catch_unwind(AssertUnwindSafe(|| check(input))).is_err() {
            let path = std::env::temp_dir().join(format!("tol-fuzz-{target}-{}", std::process::id()));
            std::fs::write(&path, input).unwrap();
            panic!("{target}, {name}: the input that did it is {}; add it to tests/fuzz/corpus/{target}", path.display());
        }
    };
    for (place, input) in inputs.iter().enumerate() {
        run(input, format!("corpus {place}"));
    }
    for iteration in 0..iterations * setting("TOL_FUZZ_TIMES", 1) {
        let mut draw = Draw::new(seed.wrapping_mul(0x1_0000_0000).wrapping_add(iteration));
        let mut input = inputs[draw.below(inputs.len())].clone();
        let other = &inputs[draw.below(inputs.len())];
        mutate(&mut draw, &mut input, other);
        run(&input, format!("seed {seed}, iteration {iteration}"));
    }
}
