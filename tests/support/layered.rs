//! SAEs of several layers, made of the demo's: the same weights with other biases, each said to read another layer.

use std::{fs, path::Path};

use candle_core::DType;
use prunelens_core::{
    demo,
    sae::{Criterion, Sae, formats},
    session::{Compress, SessionSpec, Source},
};

/// Layers that there are SAEs of; of the second there is none that was trained on the pruned model.
pub const LAYERS: [usize; 3] = [0, 1, 3];
const UNTRAINED: usize = 1;

/// `l0`, `l1` ... and `t0`, `t3` ... in a folder.
pub fn save(folder: &Path) {
    let write = |mut sae: Sae, layer: usize, name: String| {
        sae.config.hook.layer = layer;
        sae.b_enc.iter_mut().for_each(|b| *b += 0.001 * (layer + 1) as f32);
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        formats::save(&sae, &folder, DType::F32, Default::default()).unwrap();
    };
    for layer in LAYERS {
        write(demo::sae(None).unwrap(), layer, format!("l{layer}"));
        if layer != UNTRAINED {
            write(demo::trained_sae(None).unwrap(), layer, format!("t{layer}"));
        }
    }
}

/// Nothing is calibrated.
fn quick() -> SessionSpec {
    SessionSpec { compress: Compress::Magnitude(0.5), criterion: Criterion::Magnitude, ..super::demo_spec() }
}

/// A session of all of them.
pub fn spec(folder: &Path) -> SessionSpec {
    let source = |name: &str| Some(Source::Path(folder.join(name)));
    SessionSpec { sae: source("l{layer}"), trained_sae: source("t{layer}"), ..quick() }
}

/// A session of one of them, as if there were no others.
pub fn alone(folder: &Path, layer: usize) -> SessionSpec {
    let source = |name: &str| Some(Source::Path(folder.join(format!("{name}{layer}"))));
    let trained_sae = source("t").filter(|_| layer != UNTRAINED);
    SessionSpec { sae: source("l"), trained_sae, ..quick() }
}
