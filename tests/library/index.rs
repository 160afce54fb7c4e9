//! What was read of a corpus is kept, whole or not: the next session goes on from there, to the same bits.

use std::{path::Path, sync::Arc};

use prunelens::engine::{Command, Query, Report, Request};
use prunelens_core::{
    cache::{Cache, Entry},
    index::Indexing,
    sae::{Activation, Sae},
    session::{Session, SessionSpec},
};

use crate::{
    loaded::{DEADLINE, Loaded},
    support::demo_spec,
};

/// The demo over a corpus of its own, of about so many sentences, with a cache.
fn spec(folder: &Path, sentences: usize) -> SessionSpec {
    let corpus = folder.join("corpus.txt");
    let ships = ["navy", "army", "river", "parliament", "church"];
    let sentence = |n: usize| format!("In {} the {} of the United States was in the north.\n", 1800 + n, ships[n % 5]);
    std::fs::write(&corpus, (0..sentences).map(sentence).collect::<String>()).unwrap();
    let cache = Some(Cache::new(folder.join("made"), 1 << 30));
    SessionSpec { corpus: Some(corpus), cache, results: folder.to_path_buf(), ..demo_spec() }
}

fn load(spec: &SessionSpec) -> Session {
    Session::load(spec, &mut |_| Ok(())).unwrap()
}

fn begin(session: &Session) -> Indexing {
    session.indexing(session.setting, &mut || Ok(())).unwrap()
}

/// Some batches more, or all that there are.
fn read(indexing: &mut Indexing, batches: usize) {
    for _ in 0..batches {
        let Some(batch) = indexing.next() else { return };
        indexing.add(&batch.read(&mut || Ok(())).unwrap());
    }
}

#[test]
fn an_index_goes_on_from_where_it_was_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path(), 400);
    let with = |session: &Session, memory| {
        let mut session = session.clone();
        session.spec.memory = memory;
        session
    };
    let apart = load(&SessionSpec { cache: None, ..spec.clone() });
    let mut whole = begin(&apart);
    read(&mut whole, usize::MAX);
    assert_eq!(whole.index.read, whole.index.rows.len());
    assert!(whole.index.read > 16, "{} rows are too few for a test", whole.index.read);
    let (first_day, second_day) = (load(&spec), load(&spec));
    // With all of the memory, and with so little that it is used up on the way.
    for memory in [spec.memory, whole.index.bytes() * 3 / 4] {
        let mut through = begin(&with(&apart, memory));
        read(&mut through, usize::MAX);
        let session = with(&first_day, memory);
        let mut first = begin(&session);
        assert_eq!(first.index.read, 0);
        read(&mut first, 1);
        session.keep_index(&first).unwrap()().unwrap();
        let entries = spec.cache.as_ref().unwrap().entries();
        let some = format!("{} of {} rows", first.index.read, first.index.rows.len());
        let kept = |entry: &&Entry| entry.kind == "examples" && entry.about.ends_with(&some);
        assert_eq!(entries.iter().filter(kept).count(), 1, "{some}");
        let session = with(&second_day, memory);
        let mut second = begin(&session);
        assert_eq!(second.index.to_bytes(), first.index.to_bytes());
        read(&mut second, usize::MAX);
        assert!(second.index.to_bytes() == through.index.to_bytes(), "as one that is read through");
        session.keep_index(&second).unwrap()().unwrap();
        let third = begin(&session);
        assert!(third.next().is_none(), "nothing is left to read");
        assert!(third.index.to_bytes() == through.index.to_bytes());
        assert_eq!(through.index.read < whole.index.read, memory < spec.memory);
    }
}

#[test]
fn examples_of_another_trained_sae_are_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let session = load(&spec(folder.path(), 100));
    let trained = session.trained.as_ref().expect("the demo has one").sae().clone();
    let with = |trained: &Sae| begin(&session.with_trained(Arc::new(trained.clone()), folder.path()).unwrap());
    let mut first = with(&trained);
    read(&mut first, 1);
    session.keep_index(&first).unwrap()().unwrap();
    assert!(with(&trained).index.read > 0);
    // The same weights with another line in their config.
    let Activation::TopK { k, rescale_by_decoder_norm } = trained.activation else {
        panic!("{:?}", trained.activation)
    };
    let activation = Activation::TopK { k: k / 2, rescale_by_decoder_norm };
    assert_eq!(with(&Sae { activation, ..trained.clone() }).index.read, 0);
    let mut shifted = trained;
    shifted.config.apply_b_dec_to_input ^= true;
    assert_eq!(with(&shifted).index.read, 0);
}

/// An engine that reads the corpus for a latent's page.
fn reading(spec: &SessionSpec) -> Loaded {
    let reading = Loaded::load(spec.clone());
    reading
        .handle
        .request(Request { generation: 1, query: Query::Page { latent: 708, setting: spec.first_setting() } });
    reading
}

/// How many rows were read, once some are, and of how many.
fn rows(reading: &mut Loaded) -> (usize, usize) {
    reading.until(|report| match report {
        Report::Page { page, .. } if page.rows.0 > 0 => Some(page.rows),
        _ => None,
    })
}

/// Leave it, and wait until it is gone.
fn quit(mut reading: Loaded) {
    reading.handle.command(Command::Quit);
    let Loaded { handle, runtime, .. } = &mut reading;
    runtime.block_on(async {
        let mut report = async || tokio::time::timeout(DEADLINE, handle.reports.recv()).await;
        while report().await.expect("the engine does not end").is_some() {}
    });
}

#[test]
fn a_corpus_that_is_left_unread_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path(), 3000);
    let mut first = reading(&spec);
    let (before, all) = rows(&mut first);
    assert!(before < all, "{before} of {all}");
    quit(first);
    let cache = spec.cache.as_ref().unwrap();
    let entries = cache.entries();
    let about = &entries.iter().find(|entry| entry.kind == "examples").expect("nothing was kept").about;
    let kept: usize = about.rsplit(", ").next().unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((before..all).contains(&kept) && about.ends_with(&format!("{kept} of {all} rows")), "{about}");
    let mut again = reading(&spec);
    let (first, of) = rows(&mut again);
    assert!(first >= kept && of == all, "{first} of {of}, {kept} were kept");
    quit(again);
}
