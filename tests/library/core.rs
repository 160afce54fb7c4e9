//! The core run over several variants at once: shared work changes no figure, and being stopped loses nothing.

use std::{collections::HashSet, sync::Arc};

use candle_core::{DType, Device, Tensor};
use prunelens_core::{
    compare::{Reader, Variant},
    data::read_tokens,
    error::Error,
    model::{Captured, HookPoint, Model, Site},
    prune::sae::rank,
    sae::{Criterion, Pruning, Sae, formats},
};
use prunelens_metrics::{
    Measure,
    core::{CoreResult, CoreRun, CoreSpec, blocks::FIGURES, check_comparable},
};

use crate::support::{fixture, metrics_fixture};

const BORDER: u32 = 814;

fn sae(name: &str) -> Arc<Sae> {
    Arc::new(formats::load(&metrics_fixture("saes").join(name)).unwrap())
}

/// All four variants: two models, two SAEs, one of them pruned.
fn readers() -> Vec<Reader> {
    let model = Model::load(&metrics_fixture("model"), &Device::Cpu, DType::F32, &mut |_| Ok(())).unwrap();
    let (original, pruned) = (Arc::new(model.clone()), Arc::new(model));
    let pretrained = sae("standard_resid");
    let mut trained = Sae::clone(&pretrained);
    trained.b_enc.iter_mut().for_each(|b| *b += 0.05);
    let order = Arc::new(rank(&*pretrained, Criterion::Magnitude, None, &mut || Ok(())).unwrap());
    let reader = |variant, sae: &Arc<Sae>, pruning| {
        let model = if variant == Variant::Original { &original } else { &pruned };
        Reader::new(variant, model.clone(), sae.clone(), pruning, sae.config.hook, sae.config.space).unwrap()
    };
    vec![
        reader(Variant::Original, &pretrained, None),
        reader(Variant::Transfer, &pretrained, None),
        reader(Variant::Pruned, &pretrained, Some(Pruning { order, at: 0.6 })),
        reader(Variant::Trained, &Arc::new(trained), None),
    ]
}

fn rows() -> Vec<Vec<u32>> {
    read_tokens(metrics_fixture("core/tokens.safetensors")).unwrap().remove(0).rows
}

fn new_run(spec: CoreSpec, readers: Vec<Reader>) -> prunelens_core::error::Result<CoreRun> {
    CoreRun::new(spec, readers, rows(), HashSet::from([BORDER]))
}

fn spec() -> CoreSpec {
    CoreSpec { n_eval_reconstruction_batches: 2, ..CoreSpec::over(rows().len(), 24, 4, "tokens") }
}

fn finish(mut run: CoreRun) -> Vec<(Variant, CoreResult)> {
    while run.step(&mut || Ok(())).unwrap() {}
    run.finish().unwrap()
}

/// Equal in every digit, with NaN equal to itself.
fn same(a: &[(Variant, CoreResult)], b: &[(Variant, CoreResult)]) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

#[test]
fn variants_together_give_what_each_gives_alone() {
    let together = finish(new_run(spec(), readers()).unwrap());
    assert_eq!(together.iter().map(|r| r.0).collect::<Vec<_>>(), Variant::ALL);
    for (reader, result) in readers().into_iter().zip(together.chunks(1)) {
        let alone = finish(new_run(spec(), vec![reader]).unwrap());
        assert!(same(&alone, result), "{}", result[0].0);
    }
    let figures = |at: usize| &together[at].1;
    assert_eq!(figures(0).downstream, figures(1).downstream, "the same SAE on the same weights");
    assert_ne!(figures(1).downstream.ce_loss_with_sae, figures(2).downstream.ce_loss_with_sae);
    assert!(figures(2).weights.encoder_norm.iter().zip(&figures(1).weights.encoder_norm).all(|(p, w)| p < w));
}

#[test]
fn being_stopped_anywhere_changes_nothing() {
    let expected = finish(new_run(spec(), readers()).unwrap());
    for patience in [1, 7, 15] {
        let mut run = new_run(spec(), readers()).unwrap();
        let mut stops = 0;
        loop {
            // Stop after so many ticks; then let the step through, so that it ends.
            let mut left = patience;
            let mut impatient = || {
                left -= 1;
                if left < 0 { Err(Error::Interrupted) } else { Ok(()) }
            };
            let more = match run.step(&mut impatient) {
                Err(Error::Interrupted) => {
                    stops += 1;
                    run.step(&mut || Ok(())).unwrap()
                }
                other => other.unwrap(),
            };
            if !more {
                break;
            }
        }
        // Every step has more ticks than that: each is stopped, or all of them are shorter and none is.
        assert!(stops > 0, "never stopped after {patience} ticks");
        assert!(same(&run.finish().unwrap(), &expected));
    }
}

#[test]
fn progress_and_table_follow_the_work() {
    let mut run = new_run(spec(), readers()).unwrap();
    assert!(run.finish().is_err());
    let rows = run.table().rows.len();
    assert!(run.table().rows.iter().filter(|r| r.category != "token_stats").all(|r| r.values == [None; 4]));
    let (mut last, total) = run.progress();
    assert_eq!((last, total), (0, 16 * 24));
    while run.step(&mut || Ok(())).unwrap() {
        let (done, _) = run.progress();
        assert!(done >= last && !run.note().is_empty());
        last = done;
    }
    assert_eq!(last, total);
    let table = run.table();
    assert_eq!((table.rows.len(), table.progress, table.variants.len()), (rows, 1.0, 4));
    let value = |name: &str| table.rows.iter().find(|r| r.name == name).unwrap().values[0].unwrap();
    assert_eq!(value("ce_loss_with_sae"), run.finish().unwrap()[0].1.downstream.ce_loss_with_sae);
    assert!(value("variance_explained") < 1.0 && value("mse_per_element") > 0.0);
    assert!(table.settings.contains(&("sae pruning".into(), "magnitude 0.6".into())));
}

#[test]
fn rows_add_up_to_the_figures() {
    let over = |rows: usize| {
        let mut run = new_run(CoreSpec::over(rows, 24, 4, "tokens"), readers()).unwrap();
        assert!(run.table().blocks.is_empty(), "nothing is whole yet");
        while run.step(&mut || Ok(())).unwrap() {}
        run.table()
    };
    let (whole, half) = (over(16), over(8));
    assert_eq!(whole.blocks.iter().map(|blocks| blocks.variant).collect::<Vec<_>>(), whole.variants);
    for (at, blocks) in whole.blocks.iter().enumerate() {
        assert_eq!(blocks.sums.len(), 16);
        let first: Vec<u32> = (0..16).map(|row| u32::from(row < 8)).collect();
        for (table, times) in [(&whole, vec![1; 16]), (&half, first)] {
            for name in FIGURES {
                let expected = table.rows.iter().find(|row| row.name == name).unwrap().values[at].unwrap();
                let found = blocks.figure(name, &times);
                assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{name}: {found}, {expected}");
            }
        }
    }
    // Where losses are of fewer batches than errors there is nothing to draw.
    let mut other = new_run(spec(), readers()).unwrap();
    while other.step(&mut || Ok(())).unwrap() {}
    assert!(other.table().blocks.is_empty());
}

#[test]
fn figures_that_the_text_decides_must_agree() {
    let mut results = finish(new_run(spec(), readers()).unwrap());
    check_comparable(&results).unwrap();
    results[2].1.downstream.ce_loss_without_sae += 1e-6;
    let message = check_comparable(&results).unwrap_err().to_string();
    assert!(message.contains("pruned") && message.contains("ce_loss_without_sae"), "{message}");
}

#[test]
fn impossible_runs_are_refused() {
    let message = |spec: CoreSpec, readers: Vec<Reader>| new_run(spec, readers).err().unwrap().to_string();
    assert!(message(spec(), vec![]).contains("no variant"));
    assert!(message(CoreSpec { batch_size_prompts: 5, ..spec() }, readers()).contains("needs 20 rows"));
    assert!(message(CoreSpec { context_size: 25, ..spec() }, readers()).contains("context of 25"));
    assert!(message(CoreSpec { batch_size_prompts: 0, ..spec() }, readers()).contains("at least one"));
}

/// What lets the ablated pass be one token: with zeros at the residual stream nothing of text and position is left, and
/// a number added to all coordinates is invisible behind a LayerNorm.
#[test]
fn zeros_at_the_residual_stream_forget_the_text() {
    let tokens = Tensor::new(&[[1u32, 5, 2, 7, 3], [4, 4, 9, 0, 6]], &Device::Cpu).unwrap();
    let one = Tensor::zeros((1, 1), DType::U32, &Device::Cpu).unwrap();
    for (family, layer_norm) in [("gpt2", true), ("llama", false)] {
        let folder = fixture("models").join(family);
        let model = Model::load(&folder, &Device::Cpu, DType::F32, &mut |_| Ok(())).unwrap();
        for site in [Site::ResidPre, Site::ResidMid, Site::ResidPost] {
            let capture = |tokens| model.capture(tokens, HookPoint { layer: 0, site }, &mut || Ok(())).unwrap();
            let logits = |captured: &Captured, put: &Tensor| {
                model.logits(&model.resume(captured, put, &mut || Ok(())).unwrap()).unwrap()
            };
            let (one, all) = (capture(&one), capture(&tokens));
            let expected = logits(&one, &one.acts.zeros_like().unwrap());
            let largest = |put: &Tensor| {
                let difference = logits(&all, put).broadcast_sub(&expected).unwrap();
                difference.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
            };
            let off = largest(&all.acts.zeros_like().unwrap());
            assert!(off < 1e-5, "{family} {site:?}: {off}");
            if layer_norm {
                let off = largest(&all.acts.zeros_like().unwrap().affine(1.0, 0.5).unwrap());
                assert!(off < 1e-4, "{family} {site:?} with the same number everywhere: {off}");
            }
        }
    }
}
