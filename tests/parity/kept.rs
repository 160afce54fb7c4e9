//! What is kept by its contents is kept whatever computes: models, masks and copies, and what was read of a corpus.

use candle_core::{DType, Device};
use prunelens_core::{
    cache::Cache,
    demo,
    model::Model,
    prune::{copies, masks, rtn::Rtn},
    session::{Session, SessionSpec},
};
use prunelens_kernels::Sparsity;

use crate::support::{demo_spec, device::TestDevice};

#[test]
fn masks_and_copies_come_back_to_the_bit_wherever_the_model_lies() {
    let device = TestDevice::asked().device;
    let rows = vec![vec![(1..40).collect::<Vec<u32>>()]];
    for dtype in [DType::F32, DType::BF16] {
        let model = |device: &Device| demo::model(device, dtype, &mut |_| Ok(())).unwrap();
        let original = model(&device);
        let digest = |model: &Model| model.digest(&mut || Ok(())).unwrap().expect("it can be kept");
        assert_eq!(digest(&original), digest(&model(&Device::Cpu)), "the same wherever it lies");
        let pruned = original.wanda(&rows, Sparsity::Ratio(0.5), &mut |_| Ok(())).unwrap();
        let again = masks::apply(&original, &masks::of(&original, &pruned).unwrap(), &mut || Ok(())).unwrap();
        assert_eq!(digest(&again), digest(&pruned), "{dtype:?}");
        assert_ne!(digest(&again), digest(&original), "{dtype:?}");
        let rounded = original.rtn(Rtn::parse(&["int4", "g16"]).unwrap(), None, &mut |_| Ok(())).unwrap();
        let again = copies::apply(&original, &copies::of(&rounded).unwrap(), &mut || Ok(())).unwrap();
        assert_eq!(digest(&again), digest(&rounded), "{dtype:?}");
    }
}

#[test]
fn a_second_session_makes_nothing_anew() {
    let folder = tempfile::tempdir().unwrap();
    let spec = SessionSpec { cache: Some(Cache::new(folder.path(), 1 << 30)), ..demo_spec() };
    let load = || {
        let mut done = Vec::new();
        let session = Session::load(&spec, &mut |progress| {
            done.push(progress.what);
            Ok(())
        });
        (session.unwrap(), done)
    };
    let begin = |session: &Session| session.indexing(session.setting, &mut || Ok(())).unwrap();
    let (first, done) = load();
    assert!(done.iter().any(|what| what.contains("pruning")), "{done:?}");
    let mut indexing = begin(&first);
    let batch = indexing.next().expect("rows to read").read(&mut || Ok(())).unwrap();
    indexing.add(&batch);
    first.keep_index(&indexing).expect("a place for it")().unwrap();
    let mut kinds: Vec<String> = first.spec.cache.as_ref().unwrap().entries().into_iter().map(|e| e.kind).collect();
    kinds.sort();
    assert_eq!(kinds, ["examples", "masks", "norms"]);
    let (second, done) = load();
    assert!(!done.iter().any(|what| what.contains("pruning")), "{done:?}");
    let [before, after] = [&first, &second].map(|session| session.models.pruned.digest(&mut || Ok(())).unwrap());
    assert_eq!(after, before);
    let again = begin(&second);
    assert!(again.index.read > 0);
    assert!(again.index.to_bytes() == indexing.index.to_bytes());
}
