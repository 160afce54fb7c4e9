//! The sessions of `prunelens metrics`: one, or one a layer.

use std::{cell::OnceCell, path::PathBuf, rc::Rc, time::Duration};

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
    settings::SessionSettings,
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
    let specs = layers.iter().map(|&layer| {
        let session = at_layer(&args.session, layer)?;
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

/// The same session at another layer.
fn at_layer(args: &SessionSettings, layer: usize) -> Result<SessionSettings> {
    let put = |path: &Option<PathBuf>| path.as_ref().map(|path| layers::at(path, layer));
    if !args.sae.as_deref().is_some_and(layers::is_pattern) {
        return Err(Error::Usage(format!(
            "--layers needs an SAE for each layer: put {} where its number stands in --sae",
            layers::PLACE
        )));
    }
    Ok(SessionSettings {
        sae: put(&args.sae),
        trained_sae: put(&args.trained_sae),
        hook: args.hook.map(|hook| hook.at(layer).into()),
        layer: None,
        ..args.clone()
    })
}
