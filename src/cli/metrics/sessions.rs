//! The sessions of `prunelens metrics`: one, or one a layer.

use std::{cell::OnceCell, path::Path, rc::Rc, time::Duration};

use prunelens_core::{
    error::{Error, Result},
    session::{Models, Session, SessionSpec, layers},
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
    let Some(Layers(wanted)) = &args.layers else {
        let spec = headless(args.session.clone())?.spec;
        return Ok(vec![(None, Box::new(move || Session::load(&spec, &mut output::listener())))]);
    };
    // In a folder of this machine it is known at once, and nobody is asked who has it elsewhere.
    let pattern = args.session.sae.as_deref().filter(|sae| layers::is_pattern(sae));
    let found = pattern.map(|pattern| layers::on_disk(pattern).unwrap_or_default()).unwrap_or_default();
    if let (Some(pattern), Some(layer)) = (pattern, wanted.iter().find(|layer| !found.contains(layer)))
        && !found.is_empty()
    {
        return Err(Error::Usage(format!(
            "--layers {layer}: there is no SAE of that layer; {} has the layers {}",
            pattern.display(),
            layers::ranges(&found)
        )));
    }
    interrupt::watch()?;
    let specs = wanted.iter().map(|&layer| {
        let session = args.session.at_layer(layer, Path::new(""))?;
        Ok((layer, settings(session)?.spec))
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
