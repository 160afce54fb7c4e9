//! Inputs that fuzzing found to be worth keeping: each reader takes or refuses them within its memory, and goes on.

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
};

#[path = "../../../fuzz/src/bounded.rs"]
mod bounded;
#[path = "../../../fuzz/src/readers.rs"]
mod readers;

use bounded::bounded;

pub type Reader = fn(&[u8]);

/// A folder for each reader.
pub const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/hostile/corpus");

pub const READERS: [(&str, Reader); 15] = [
    ("safetensors", readers::weights),
    ("npz", readers::weights),
    ("torch", readers::weights),
    ("gguf", readers::gguf),
    ("state_dict", readers::state_dict),
    ("model_config", readers::model_config),
    ("index_json", readers::index_json),
    ("quantised_config", readers::quantised_config),
    ("quantised_tensors", readers::quantised_tensors),
    ("sae_config", readers::sae_config),
    ("session", readers::session),
    ("theme", readers::theme),
    ("tokenizer", readers::tokenizer),
    ("token_rows", readers::token_rows),
    ("table", readers::table),
];

/// The readers write what they read into one folder: one test at a time.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn what_fuzzing_found() {
    let _turn = turn();
    let mut tried = 0;
    for entry in fs::read_dir(CORPUS).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let (_, read) = READERS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no reader {name}"));
        for case in fs::read_dir(&folder).unwrap() {
            let case = case.unwrap().path();
            println!("{}", case.display());
            read(&fs::read(&case).unwrap());
            tried += 1;
        }
    }
    assert!(tried >= 100, "{tried} inputs in {CORPUS}");
}

#[test]
#[should_panic(expected = "bytes allocated for 8 bytes of input")]
fn what_allocates_too_much_is_seen() {
    bounded(8, || vec![1_u8; 65 << 20]);
}
