//! `prunelens metrics sweep` over layers: a path with `{layer}` in it stands for the SAEs of all of them.

use super::layers;
use crate::{
    cli::MetricsArgs,
    error::{Error, Result},
    jobs::{
        Param,
        sweep::{LAYER_SAES, LAYER_TRAINED, LAYERS},
    },
};

impl MetricsArgs {
    /// Where `--sae` or `--trained-sae` has a place for the layer's number, load the SAEs of the first layer and hand the path
    /// on to the sweep.
    pub fn spread_layers(&mut self) -> Result<()> {
        let first = self.params.0.counts(LAYERS.name)?.and_then(|layers| layers.into_iter().min());
        let paths = [(&mut self.session.sae, LAYER_SAES), (&mut self.session.trained_sae, LAYER_TRAINED)];
        for (path, param) in paths {
            let Some(pattern) = path.as_ref().filter(|path| layers::is_pattern(path)).cloned() else { continue };
            let Some(first) = first else {
                let place = layers::PLACE;
                return Err(Error::Usage(format!("a path with {place} in it needs --layers, such as --layers 0-11")));
            };
            *path = Some(layers::at(&pattern, first));
            let Param { name, kind, .. } = param;
            let value = kind.parse(&pattern.to_string_lossy()).map_err(|why| Error::Usage(format!("{name}: {why}")))?;
            self.params.0.set(name, value);
        }
        Ok(())
    }
}
