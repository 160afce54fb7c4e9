//! What holds for every input of a kind, tried on many drawn at random (the same at every run).

use candle_core::{DType, Device, Tensor};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::RngSeed};
use prunelens::settings::SessionSettings;
use prunelens_core::{
    model::{HookPoint, Site, Space},
    prune::{Compress, Sparsity},
    sae::{Activation, Normalize, Sae, SaeConfig, formats},
};
use prunelens_kernels::{Group, cut, ops, ranks};

/// The same cases every time: a failure is one that can be repeated.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() }
}

fn floats(len: usize) -> impl Strategy<Value = Vec<f32>> {
    vec(-3.0_f32..3.0, len)
}

/// A small SAE of any kind that SAELens 6 has.
fn saes() -> impl Strategy<Value = Sae> {
    (1_usize..7, 1_usize..9, 0_usize..40, select(&Site::ALL[..]), 0..4).prop_flat_map(
        |(d_in, d_sae, layer, site, kind)| {
            let parts =
                (floats(d_in * d_sae), floats(d_in * d_sae), floats(d_sae), floats(d_in), floats(d_sae), 1..=d_sae);
            (parts, select(vec![Normalize::None, Normalize::LayerNorm]), any::<[bool; 2]>()).prop_map(
                move |((enc, dec, b_enc, b_dec, own, k), normalize, [apply_b_dec_to_input, prepend_bos])| {
                    let matrix = |values| Tensor::from_vec(values, (d_sae, d_in), &Device::Cpu).unwrap();
                    let (architecture, activation) = match kind {
                        0 => ("standard", Activation::Relu),
                        1 => ("topk", Activation::TopK { k, rescale_by_decoder_norm: false }),
                        2 => ("jumprelu", Activation::JumpRelu { threshold: own.iter().map(|v| v.abs()).collect() }),
                        _ => ("gated", Activation::Gated { r_mag: own.clone(), b_mag: own }),
                    };
                    let config = SaeConfig {
                        name: "drawn".into(),
                        architecture,
                        d_in,
                        d_sae,
                        hook: HookPoint { layer, site },
                        module: None,
                        normalize,
                        apply_b_dec_to_input,
                        prepend_bos,
                        space: Space::Raw,
                        source: serde_json::Value::Null,
                        folded: None,
                        warnings: Vec::new(),
                    };
                    // A decoder of nothing but zeros is refused when read.
                    let dec = if dec.iter().all(|v| *v == 0.0) { vec![1.0; dec.len()] } else { dec };
                    let (w_enc, w_dec) = (matrix(enc), matrix(dec));
                    Sae { config, w_enc, b_enc, w_dec, b_dec, activation, decode_scale: None }
                },
            )
        },
    )
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect()
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn an_sae_that_is_saved_reads_back_the_same(sae in saes()) {
        let folder = tempfile::tempdir().unwrap();
        formats::save(&sae, folder.path(), DType::F32, serde_json::Map::new()).unwrap();
        let read = formats::load(folder.path()).unwrap();
        prop_assert_eq!(bits(&read.w_enc), bits(&sae.w_enc));
        prop_assert_eq!(bits(&read.w_dec), bits(&sae.w_dec));
        prop_assert_eq!((&read.b_enc, &read.b_dec, &read.activation), (&sae.b_enc, &sae.b_dec, &sae.activation));
        let (a, b) = (&read.config, &sae.config);
        prop_assert_eq!((a.hook, a.normalize, a.space), (b.hook, b.normalize, b.space));
        prop_assert_eq!((a.apply_b_dec_to_input, a.prepend_bos), (b.apply_b_dec_to_input, b.prepend_bos));
        prop_assert!(a.warnings.is_empty(), "{:?}", a.warnings);
    }
}

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn hooks_are_read_as_they_are_written(layer in 0_usize..10_000, site in select(&Site::ALL[..])) {
        let hook = HookPoint { layer, site };
        prop_assert_eq!(hook.to_string().parse::<HookPoint>().unwrap(), hook);
    }

    #[test]
    fn texts_that_are_no_hooks_are_refused_without_a_panic(text in "\\PC{0,40}") {
        if let Ok(hook) = text.parse::<HookPoint>() {
            let written = hook.to_string();
            prop_assert!(written == text || text.ends_with("hook_z"), "{} for {:?}", written, text);
        }
        let _ = HookPoint::from_module(&text);
        let _ = text.parse::<Compress>();
    }

    #[test]
    fn rules_are_read_as_they_are_written(ratio in 0.0_f64..1.0, n in 0_usize..63, more in 1_usize..64, which in 0..5) {
        let m = (n + more).min(64);
        let rule = match which {
            0 => Compress::None,
            1 => Compress::Wanda(ratio),
            2 => Compress::WandaNM(n, m),
            3 => Compress::Magnitude(ratio),
            _ => Compress::Paper(ratio),
        };
        prop_assert_eq!(rule.to_string().parse::<Compress>().unwrap(), rule);
    }

    #[test]
    fn every_group_loses_its_share_and_larger_ratios_keep_less(
        rows in 1_usize..9,
        columns in 1_usize..12,
        by_row in any::<bool>(),
        seed in vec(-2.0_f32..2.0, 108),
        ratios in (0.0_f64..1.0, 0.0_f64..1.0),
    ) {
        let group = if by_row { Group::Row } else { Group::Column };
        let found = ranks::ranks(rows, columns, group, |row, column| seed[row * columns + column].abs());
        let len = group.len(rows, columns);
        let (low, high) = (ratios.0.min(ratios.1), ratios.0.max(ratios.1));
        let kept = |ratio: f64| -> Vec<bool> { (0..rows * columns).map(|at| found.get(at) >= cut(len, ratio)).collect() };
        let (more, less) = (kept(low), kept(high));
        prop_assert!(more.iter().zip(&less).all(|(more, less)| *more || !*less));
        let groups = if by_row { rows } else { columns };
        prop_assert_eq!(more.iter().filter(|kept| !**kept).count(), groups * cut(len, low) as usize);
        // Of two weights in a group the smaller one never outlives the larger.
        for (at, other) in (0..rows * columns).flat_map(|at| (0..rows * columns).map(move |other| (at, other))) {
            let same = if by_row { at / columns == other / columns } else { at % columns == other % columns };
            if same && seed[at].abs() < seed[other].abs() {
                prop_assert!(less[other] || !less[at]);
            }
        }
    }

    #[test]
    fn pruned_weights_are_the_weights_or_zero(
        rows in 1_usize..5,
        columns in 1_usize..12,
        seed in vec(-2.0_f32..2.0, 60),
        ratio in 0.0_f64..1.0,
    ) {
        let weight = Tensor::from_slice(&seed[..rows * columns], (rows, columns), &Device::Cpu).unwrap();
        let pruned = ops::on(None).prune(&weight, None, Sparsity::Ratio(ratio)).unwrap();
        let (before, after) = (bits(&weight), bits(&pruned));
        prop_assert!(before.iter().zip(&after).all(|(before, after)| after == before || *after == 0));
        let lost = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        prop_assert!(lost <= rows * cut(columns, ratio) as usize);
    }

    #[test]
    fn settings_that_are_given_win_and_the_others_are_filled_in(
        mine in (proptest::option::of(0.0_f64..0.99), proptest::option::of(any::<bool>()), proptest::option::of(0_usize..9)),
        theirs in (proptest::option::of(0.0_f64..0.99), proptest::option::of(any::<bool>()), proptest::option::of(0_usize..9)),
    ) {
        let settings = |(ratio, bos, layer): (Option<f64>, Option<bool>, Option<usize>)| SessionSettings {
            ratio,
            bos,
            hook: layer.map(|layer| HookPoint { layer, site: Site::ResidPost }.into()),
            ..SessionSettings::default()
        };
        let merged = settings(mine).or(settings(theirs));
        prop_assert_eq!(merged.ratio, mine.0.or(theirs.0));
        prop_assert_eq!(merged.bos, mine.1.or(theirs.1));
        prop_assert_eq!(merged.hook.and_then(|hook| hook.layer()), mine.2.or(theirs.2));
        prop_assert!(merged.sae.is_none() && merged.model.model.is_none());
    }
}
