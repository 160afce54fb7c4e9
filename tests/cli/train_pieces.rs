//! Training on the demo's model, in memory: stopping and going on at any step, several at once.

use std::{fs, path::Path, sync::Arc, time::Duration};

use candle_core::{DType, Device};
use prunelens_core::{
    data, demo,
    error::Error,
    model::Model,
    train::{
        Architecture, Batch, Budget, Course, Jump, Keeping, Run, State, TrainEvent, TrainSpec, Trained,
        activations::ModelActivations, checkpoint::Checkpoint, curve, train,
    },
};
use serde_json::json;

fn spec() -> TrainSpec {
    TrainSpec { batch: 64, buffer: 300, dead_after: 500, ..TrainSpec::topk(4, 48, Budget::Tokens(3000)) }
}

/// One of each kind.
fn kinds() -> Vec<Architecture> {
    let batch = Batch::new(3.5);
    vec![
        Architecture::TopK { k: 4 },
        Architecture::Standard { l1: 0.1, l1_warm_up: 0.05 },
        Architecture::BatchTopK(batch),
        Architecture::Matryoshka { batch, widths: vec![6, 20, 48] },
        Architecture::Gated { l1: 0.5, l1_warm_up: 0.1 },
        Architecture::JumpRelu(Jump { l0: 0.1, pull: 0.01, ..Jump::default() }),
    ]
}

/// The demo's model and rows of its calibration text.
fn activations(model: &Arc<Model>, hooks: &[&str], cache: u64) -> Box<ModelActivations> {
    let tokenizer = demo::tokenizer(model).unwrap();
    let texts = demo::calibration().unwrap();
    let rows = data::rows::first_rows(&tokenizer, texts.iter().map(String::as_str), 32, true, 40).unwrap();
    let hooks = hooks.iter().map(|hook| hook.parse().unwrap()).collect();
    Box::new(ModelActivations::new(model.clone(), hooks, tokenizer.specials(), rows, None, spec().data_seed, cache))
}

const HOOK: &str = "blocks.1.hook_resid_post";

fn model() -> Arc<Model> {
    Arc::new(demo::model(&Device::Cpu, DType::F32, &mut |_| Ok(())).unwrap())
}

fn same(a: &State, b: &State) {
    let untimed = |state: &State| State { course: Course { seconds: 0.0, ..state.course.clone() }, ..state.clone() };
    assert!(untimed(a) == untimed(b), "states differ after {} and {} tokens", a.course.tokens, b.course.tokens);
}

/// Settings with the number of the hook that they are for.
type Wanted = [(TrainSpec, usize)];

/// Train, keeping each SAE in a folder of its number in `folder` and stopping after so many steps of this process.
fn attempt(
    wanted: &Wanted,
    model: &Arc<Model>,
    hooks: &[&str],
    folder: &Path,
    stop: u64,
    cache: u64,
) -> Result<Vec<Trained>, Error> {
    let run = |(at, (spec, hook)): (usize, &(TrainSpec, usize))| {
        let folder = folder.join(at.to_string());
        fs::create_dir_all(&folder).unwrap();
        Run { spec: spec.clone(), hook: *hook, checkpoint: Some(Checkpoint::new(&folder, json!(spec))) }
    };
    let steps = std::cell::Cell::new(0);
    let mut count = |event: TrainEvent| {
        if let TrainEvent::Step(_) = event {
            steps.set(steps.get() + 1);
        }
    };
    let mut tick = || if steps.get() >= stop { Err(Error::Interrupted) } else { Ok(()) };
    let keeping = Keeping { every: Duration::from_secs(3600), resume: true };
    let source = activations(model, hooks, cache);
    train(wanted.iter().enumerate().map(run).collect(), source, keeping, &mut count, &mut tick)
}

fn states(trained: Vec<Trained>) -> Vec<State> {
    trained.into_iter().map(|trained| trained.unwrap().0).collect()
}

fn whole(spec: &TrainSpec, model: &Arc<Model>, hook: &str) -> State {
    let folder = tempfile::tempdir().unwrap();
    states(attempt(&[(spec.clone(), 0)], model, &[hook], folder.path(), u64::MAX, 0).unwrap()).remove(0)
}

/// Train with an interruption each time `stop` more steps are done; `harm` may do something to the checkpoints then.
fn train_in_pieces(
    wanted: &Wanted,
    model: &Arc<Model>,
    hooks: &[&str],
    stop: u64,
    cache: u64,
    mut harm: impl FnMut(&Path, usize),
) -> Vec<State> {
    let folder = tempfile::tempdir().unwrap();
    for piece in 0.. {
        match attempt(wanted, model, hooks, folder.path(), stop, cache) {
            Ok(trained) => {
                assert!(piece > 2, "only {piece} interruptions");
                for (at, trained) in trained.iter().enumerate() {
                    // One line a step, of each step one, whatever came in between.
                    let steps: Vec<u64> =
                        curve::read(&folder.path().join(at.to_string())).iter().map(|r| r.step).collect();
                    let last = trained.as_ref().unwrap().1.step;
                    assert_eq!(steps, (1..=last).collect::<Vec<_>>());
                }
                return states(trained);
            }
            Err(Error::Interrupted) => {
                assert!(folder.path().join("0/checkpoint.safetensors").exists());
                harm(folder.path(), piece);
            }
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!()
}

#[test]
fn stopping_and_going_on_changes_nothing() {
    let model = model();
    for kind in kinds() {
        let spec = TrainSpec { architecture: kind.clone(), ..TrainSpec::new(kind, 48, Budget::Tokens(3000)) };
        let spec = TrainSpec { batch: 64, buffer: 300, dead_after: 500, ..spec };
        let whole = whole(&spec, &model, HOOK);
        // Buffers end at other places than pieces do, and kept activations are those the model gives again.
        for (stop, cache) in [(7, 1 << 30), (5, 0)] {
            let pieces = train_in_pieces(&[(spec.clone(), 0)], &model, &[HOOK], stop, cache, |_, _| {});
            same(&whole, &pieces[0]);
        }
    }
}

#[test]
fn many_at_once_are_what_each_is_alone_whatever_stops_them() {
    let model = model();
    let hooks = ["blocks.1.hook_resid_post", "blocks.0.hook_mlp_out"];
    let of = |kind: Architecture, seed| TrainSpec {
        seed,
        batch: 64,
        buffer: 300,
        dead_after: 500,
        ..TrainSpec::new(kind, 48, Budget::Tokens(2000))
    };
    let mut wanted: Vec<_> = kinds().into_iter().map(|kind| (of(kind, 0), 0)).collect();
    wanted.push((of(Architecture::TopK { k: 4 }, 1), 0));
    wanted.push((TrainSpec { d_sae: 24, layer_norm: true, ..of(Architecture::TopK { k: 2 }, 3) }, 1));
    wanted.push((TrainSpec { budget: Budget::Tokens(1300), ..of(Architecture::TopK { k: 4 }, 0) }, 1));
    let alone: Vec<State> = wanted.iter().map(|(spec, hook)| whole(spec, &model, hooks[*hook])).collect();
    let folder = tempfile::tempdir().unwrap();
    let together = states(attempt(&wanted, &model, &hooks, folder.path(), u64::MAX, 0).unwrap());
    alone.iter().zip(&together).for_each(|(alone, together)| same(alone, together));

    // A process that is killed while checkpoints are written leaves some of them old, and some not there at all.
    let mut old: Vec<Option<Vec<u8>>> = vec![None; wanted.len()];
    let mut rng = prunelens_core::rng::Rng::new(7, 0);
    let pieces = train_in_pieces(&wanted, &model, &hooks, 9, 0, |folder, piece| {
        if piece > 1 {
            return;
        }
        for (at, old) in old.iter_mut().enumerate() {
            let path = folder.join(at.to_string()).join("checkpoint.safetensors");
            let new = fs::read(&path).unwrap();
            match (rng.below(3), old.take()) {
                (0, Some(bytes)) if at > 0 => fs::write(&path, bytes).unwrap(),
                (0, None) if at > 0 => fs::remove_file(&path).unwrap(),
                _ => *old = Some(new),
            }
        }
    });
    alone.iter().zip(&pieces).for_each(|(alone, pieces)| same(alone, pieces));
}

#[test]
fn one_that_diverges_takes_no_other_with_it() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let wanted = [(TrainSpec { learning_rate: 1e30, ..spec() }, 0), (spec(), 0)];
    let trained = attempt(&wanted, &model, &[HOOK], folder.path(), u64::MAX, 0).unwrap();
    let message = trained[0].as_ref().err().unwrap().to_string();
    assert!(message.contains("--lr"), "{message}");
    same(&whole(&spec(), &model, HOOK), &trained[1].as_ref().unwrap().0);
}

#[test]
fn a_checkpoint_of_other_settings_is_refused_by_the_key_that_differs() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let run = |spec: TrainSpec, stop| attempt(&[(spec, 0)], &model, &[HOOK], folder.path(), stop, 0);
    assert!(matches!(run(spec(), 8), Err(Error::Interrupted)));
    let message = run(TrainSpec { learning_rate: 0.5, ..spec() }, 8).err().unwrap().to_string();
    assert!(message.contains("learning_rate") && message.contains("0.5"), "{message}");
    assert!(run(spec(), u64::MAX).is_ok());
}
