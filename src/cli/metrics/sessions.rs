//! The sessions of `prunelens metrics`: one, or one a layer.

use std::{cell::OnceCell, rc::Rc, time::Duration};

use prunelens_core::{
    error::{Error, Result},
    session::{Models, Session, SessionSpec, Source, layers},
};
use prunelens_metrics::{Store, keeper::EVERY};

use super::{Layers, MetricsArgs};
use crate::{cli::setup::headless, folders::Folders, output};

/// They differ in their layer where there are several; without `--layers` there is one, with no layer.
pub type Sessions<'a> = Vec<(Option<usize>, Box<dyn FnOnce() -> Result<Session> + 'a>)>;

/// Where a command without a screen keeps unfinished and finished runs.
pub fn store(args: &MetricsArgs) -> Option<Store> {
    let every = Duration::try_from_secs_f64(args.checkpoint_every).unwrap_or(EVERY);
    Folders::find().map(|folders| Store { every, ..Store::new(folders.state) })
}

/// The sessions of `prunelens metrics`: one, or one a layer with the models shared.
pub fn sessions(args: &MetricsArgs) -> Result<Sessions<'_>> {
    let spec = headless(args.session.clone())?.spec;
    let Some(Layers(wanted)) = &args.layers else {
        return Ok(vec![(None, Box::new(move || Session::load(&spec, &mut output::listener())))]);
    };
    if !spec.is_layered() {
        return Err(Error::Usage(format!(
            "--layers needs an SAE for each layer: put {} where its number stands in --sae",
            layers::PLACE
        )));
    }
    if let Some(trained) = spec.trained_sae.as_ref().filter(|sae| **sae != Source::Demo && !sae.is_pattern()) {
        return Err(Error::Usage(format!(
            "--trained-sae {} is of one layer: put {} where its number stands, or leave --layers out",
            trained.words(),
            layers::PLACE
        )));
    }
    let words = spec.sae.as_ref().map(Source::words).unwrap_or_default();
    // What there is of each layer is looked up once, on this machine or on the hub. A layer may lack a trained SAE.
    let all = SessionSpec { layer: None, ..spec }.of_one_layer(&mut output::listener())?;
    let found: Vec<usize> = all.layers.iter().map(|layer| layer.number).collect();
    if let Some(layer) = wanted.iter().find(|layer| !found.contains(layer)) {
        return Err(Error::Usage(format!(
            "--layers {layer}: there is no SAE of that layer; {words} has the layers {}",
            layers::ranges(&found)
        )));
    }
    let specs = wanted.iter().map(|&layer| (layer, all.at_layer(layer)));
    let models: Rc<OnceCell<Models>> = Rc::default();
    let session = |(layer, spec): (usize, SessionSpec)| {
        let models = models.clone();
        let load: Box<dyn FnOnce() -> Result<Session>> = Box::new(move || {
            let shared = match models.get() {
                Some(models) => models.clone(),
                None => {
                    let loaded = Models::load(&spec, &mut output::listener())?;
                    models.get_or_init(|| loaded).clone()
                }
            };
            Session::with_models(&spec, shared, &mut output::listener())
        });
        (Some(layer), load)
    };
    Ok(specs.map(session).collect())
}
