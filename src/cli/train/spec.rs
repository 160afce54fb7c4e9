//! From flags to settings: which flag is for which kind, and what it is without one.

use prunelens_core::{
    error::{Error, Result},
    train::{Architecture, Batch, Budget, Decoder, Jump, Sparsity, TrainSpec},
};

use super::{
    TrainArgs,
    sae::{ArchitectureName as Name, DecoderName, SaeArgs, SaeTuning, SparsityName},
};

const TOP: &[Name] = &[Name::TopK, Name::BatchTopK, Name::Matryoshka];
const BATCH: &[Name] = &[Name::BatchTopK, Name::Matryoshka];
const L1: &[Name] = &[Name::Standard, Name::Gated];
const JUMP: &[Name] = &[Name::JumpRelu];

/// Settings of one SAE as its flags and the run's ask for them, for activations of `d_in`.
pub fn train_spec(args: &TrainArgs, sae: &SaeArgs, d_in: usize) -> Result<TrainSpec> {
    refuse_foreign(sae)?;
    let tuning = &sae.tuning;
    let d_sae = sae.d_sae.unwrap_or(8 * d_in);
    let spec = TrainSpec::new(architecture(sae, d_sae)?, d_sae, budget(args));
    Ok(TrainSpec {
        layer_norm: tuning.layer_norm.unwrap_or(spec.layer_norm),
        batch: args.tuning.batch,
        buffer: args.tuning.buffer.max(args.tuning.batch),
        learning_rate: tuning.lr.unwrap_or(spec.learning_rate),
        warm_up: tuning.warm_up.unwrap_or(spec.warm_up),
        decay: tuning.decay.unwrap_or(spec.decay),
        decoder: match tuning.decoder {
            Some(DecoderName::Unit) => Decoder::Unit,
            Some(DecoderName::Free) => Decoder::Free,
            None => spec.decoder,
        },
        clip: tuning.clip.map_or(spec.clip, |clip| (clip != 0.0).then_some(clip)),
        auxiliary: tuning.auxiliary.unwrap_or(spec.auxiliary),
        auxiliary_k: tuning.auxiliary_k,
        dead_after: tuning.dead_after.unwrap_or(spec.dead_after),
        seed: tuning.seed.unwrap_or(spec.seed),
        data_seed: args.tuning.data_seed,
        ..spec
    })
}

/// What all SAEs of a run have to train in.
pub fn budget(args: &TrainArgs) -> Budget {
    match (args.tokens, args.minutes) {
        (Some(tokens), _) => Budget::Tokens(tokens),
        (None, minutes) => Budget::Minutes(minutes.unwrap_or_default()),
    }
}

fn architecture(args: &SaeArgs, d_sae: usize) -> Result<Architecture> {
    const K: f64 = 32.0;
    let (tuning, k) = (&args.tuning, args.k.unwrap_or(K));
    let rate = |batch: Batch| Batch { threshold_rate: tuning.threshold_rate.unwrap_or(batch.threshold_rate), ..batch };
    let l1 = |weight, warm_up| (tuning.l1.unwrap_or(weight), tuning.l1_warm_up.unwrap_or(warm_up));
    Ok(match args.architecture() {
        Name::TopK if k.fract() != 0.0 || k < 0.0 => {
            return Err(Error::Usage(format!("--k {k}: topk takes a whole number; batchtopk takes any")));
        }
        Name::TopK => Architecture::TopK { k: k as usize },
        Name::Standard => {
            let (l1, l1_warm_up) = l1(5.0, 0.05);
            Architecture::Standard { l1, l1_warm_up }
        }
        Name::Gated => {
            let (l1, l1_warm_up) = l1(1.0, 0.0);
            Architecture::Gated { l1, l1_warm_up }
        }
        Name::BatchTopK => Architecture::BatchTopK(rate(Batch::new(k))),
        Name::Matryoshka => Architecture::Matryoshka { batch: rate(Batch::new(k)), widths: widths(args, d_sae) },
        Name::JumpRelu => Architecture::JumpRelu(jump(tuning)?),
    })
}

/// Those asked for, and all latents if they are not the last.
fn widths(args: &SaeArgs, d_sae: usize) -> Vec<usize> {
    let mut widths =
        args.widths.clone().unwrap_or_else(|| [d_sae / 16, d_sae / 4].into_iter().filter(|w| *w > 0).collect());
    if widths.last() != Some(&d_sae) {
        widths.push(d_sae);
    }
    widths
}

fn jump(tuning: &SaeTuning) -> Result<Jump> {
    const TANH_SCALE: f64 = 4.0;
    let default = Jump::default();
    let sparsity = match (tuning.l0_loss.unwrap_or(SparsityName::Step), tuning.target_l0, tuning.tanh_scale) {
        (SparsityName::Step, None, None) => Sparsity::Step,
        (SparsityName::Tanh, None, scale) => Sparsity::Tanh { scale: scale.unwrap_or(TANH_SCALE) },
        (SparsityName::Quadratic, Some(target), None) => Sparsity::Quadratic { target },
        (SparsityName::Quadratic, None, _) => {
            return Err(Error::Usage("--l0-loss quadratic needs --target-l0, the latents wanted on a token".into()));
        }
        (_, Some(_), _) => {
            return Err(Error::Usage("--target-l0 is for --l0-loss quadratic; leave it out or choose that".into()));
        }
        (_, _, Some(_)) => {
            return Err(Error::Usage("--tanh-scale is for --l0-loss tanh; leave it out or choose that".into()));
        }
    };
    Ok(Jump {
        threshold: tuning.threshold.unwrap_or(default.threshold),
        bandwidth: tuning.bandwidth.unwrap_or(default.bandwidth),
        l0: tuning.l0.unwrap_or(default.l0),
        l0_warm_up: tuning.l0_warm_up.unwrap_or(default.l0_warm_up),
        sparsity,
        to_input: tuning.ste_to_input.unwrap_or(default.to_input),
        pull: tuning.dead_pull.unwrap_or(default.pull),
    })
}

/// A flag of another kind would be without effect, which nobody asks for knowingly.
fn refuse_foreign(args: &SaeArgs) -> Result<()> {
    let t = &args.tuning;
    let flags: [(&str, bool, &[Name]); 16] = [
        ("--k", args.k.is_some(), TOP),
        ("--auxiliary", t.auxiliary.is_some(), TOP),
        ("--auxiliary-k", t.auxiliary_k.is_some(), TOP),
        ("--widths", args.widths.is_some(), &[Name::Matryoshka]),
        ("--threshold-rate", t.threshold_rate.is_some(), BATCH),
        ("--l1", t.l1.is_some(), L1),
        ("--l1-warm-up", t.l1_warm_up.is_some(), L1),
        ("--l0", t.l0.is_some(), JUMP),
        ("--l0-warm-up", t.l0_warm_up.is_some(), JUMP),
        ("--l0-loss", t.l0_loss.is_some(), JUMP),
        ("--target-l0", t.target_l0.is_some(), JUMP),
        ("--tanh-scale", t.tanh_scale.is_some(), JUMP),
        ("--threshold", t.threshold.is_some(), JUMP),
        ("--bandwidth", t.bandwidth.is_some(), JUMP),
        ("--ste-to-input", t.ste_to_input.is_some(), JUMP),
        ("--dead-pull", t.dead_pull.is_some(), JUMP),
    ];
    let foreign = flags.into_iter().find(|(_, given, kinds)| *given && !kinds.contains(&args.architecture()));
    match foreign {
        None => Ok(()),
        Some((flag, _, kinds)) => Err(Error::Usage(format!(
            "{flag} is for {}; --architecture is {}: leave it out, or choose such a kind",
            kinds.iter().map(|kind| spelled(*kind)).collect::<Vec<_>>().join(", "),
            spelled(args.architecture())
        ))),
    }
}

fn spelled(kind: Name) -> String {
    use clap::ValueEnum;
    kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
