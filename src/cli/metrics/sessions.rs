//! The sessions of `prunelens metrics`: one, or one a layer.

use std::{cell::OnceCell, rc::Rc, time::Duration};

use prunelens_core::{
    error::Result,
    session::{Models, Session, SessionSpec},
};
use prunelens_metrics::{Store, keeper::EVERY};

use super::{Layers, MetricsArgs};
use crate::{
    cli::setup::{headless, settings},
    folders::Folders,
    interrupt, output,
};

/// They differ in their layer where there are several; without `--layers` there is one, with no layer.
pub type Sessions<'a> = Vec<(Option<usize>, Box<dyn FnOnce() -> Result<Session> + 'a>)>;

/// Where a command without a screen keeps unfinished and finished runs.
pub fn store(args: &MetricsArgs) -> Option<Store> {
    let every = Duration::try_from_secs_f64(args.checkpoint_every).unwrap_or(EVERY);
    Folders::find().map(|folders| Store { every, ..Store::new(folders.state) })
}

/// The sessions of `prunelens metrics`: one, or one a layer with the models shared.
pub fn sessions(args: &MetricsArgs) -> Result<Sessions<'_>> {
    let Some(Layers(layers)) = &args.layers else {
        let spec = headless(args.session.clone())?.spec;
        return Ok(vec![(None, Box::new(move || Session::load(&spec, &mut output::listener())))]);
    };
    interrupt::watch()?;
    // A layer that has no SAE is refused before any is measured; what there is is listed once.
    let mut listed = Vec::new();
    let specs = layers.iter().map(|&layer| {
        let mut spec = settings(args.session.at_layer(layer)?)?.spec;
        if spec.layers.is_empty() {
            spec.layers.clone_from(&listed);
        }
        let spec = spec.of_one_layer(&mut output::listener())?;
        listed.clone_from(&spec.layers);
        Ok((layer, spec))
    });
    let specs = specs.collect::<Result<Vec<_>>>()?;
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
    Ok(specs.into_iter().map(session).collect())
}
