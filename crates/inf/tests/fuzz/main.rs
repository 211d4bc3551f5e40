//! The corpus of the fuzz targets, replayed, and damaged a little.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

use proptest::prelude::*;

mod check;

/// The committed corpus, and the files that have snapshots.
fn corpus() -> Vec<Vec<u8>> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [own.join("../../fuzz/corpus/inf"), own.join("tests/cases")];
    let mut paths: Vec<_> = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none_or(|e| e != "expected"))
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn every_file_of_the_corpus_holds() {
    let corpus = corpus();
    assert!(corpus.len() >= 160, "only {} files", corpus.len());
    for bytes in &corpus {
        check::inf(bytes);
        check::registry(bytes);
    }
}

proptest! {
    #[test]
    fn no_damage_breaks_the_reader(
        number in any::<proptest::sample::Index>(),
        cuts in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0u8..4), 1..10),
    ) {
        let corpus = corpus();
        let mut bytes = number.get(&corpus).clone();
        for (at, byte, what) in cuts {
            let at = at.index(bytes.len() + 1);
            match what {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"=,;\"\\%[]\n\r\x1a \t"[usize::from(byte) % 13]),
                _ => bytes.truncate(at.max(bytes.len() / 2)),
            }
        }
        check::inf(&bytes);
    }

    #[test]
    fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        check::inf(&bytes);
        check::registry(&bytes);
    }
}
