//! A RAVEL job on what a session has loaded: which entities, which variants, how much.

use std::path::Path;

use prunelens_core::{
    compare::Reader,
    data::entities::EntityClass,
    error::{Error, Result},
    model::{
        HookPoint, Model, Site,
        ragged::{readable, reads_ragged},
    },
    rng::Rng,
    session::Session,
    text::{safe, shorten},
};

use super::{
    RavelRun, RavelSpec,
    options::{PARAMS, RavelOptions, amounts, cost},
    prompts::{measured, possible, prompts},
    run::Class,
};
use crate::{
    Cost, Metric, Param, SessionJob,
    data::Data,
    readers::{Names, readers, setting},
};

/// The job of this family.
pub type RavelJob = SessionJob<RavelRun>;

impl Metric for RavelJob {
    const NAME: &'static str = "ravel";
    const TITLE: &'static str = "Attributes of entities changed one at a time through the latents (RAVEL)";
    const PARAMS: &'static [Param] = PARAMS;
    type Options = RavelOptions;

    fn cost(session: &Session, options: &RavelOptions) -> Result<Cost> {
        Ok(cost(session, options, &entities(session, options)?.classes()?))
    }

    fn new(session: &Session, options: &RavelOptions) -> Result<Self> {
        let data = entities(session, options)?;
        let found =
            readers(session, &options.variants, setting(session, options.knob, options.ratio, options.criterion)?)?;
        let names = Names::of(session);
        let (asked, readers) = block_readers(session, &found)?;
        let classes = data.classes()?;
        let mut spec = spec(session, options);
        let mut rng = Rng::new(spec.random_seed, 0);
        let (mut made, mut warnings) = (Vec::new(), Vec::new());
        for class in &classes {
            let class = choose(data.place(), class, session, spec.full_dataset_downsample, &mut rng, &mut warnings)?;
            let attributes = class.chosen.iter().map(|&a| class.attributes[a].clone()).collect();
            spec.entity_attribute_selection.push((class.name.clone(), attributes));
            made.push(class);
        }
        if !reads_ragged(&session.models.original) {
            warnings.push("RAVEL runs in f32 whatever the session runs in".into());
        }
        let mut settings = names.settings();
        settings.push(("data".into(), data.words()));
        settings.push(("known to".into(), session.models.original.name.clone()));
        let run = RavelRun::new(spec, made, session.models.tokenizer.clone(), asked, readers, session.hook)?;
        Ok(Self { warnings, ..Self::new(run, names.identities(&found), settings) })
    }
}

/// The data that were asked for.
fn entities(session: &Session, options: &RavelOptions) -> Result<Data> {
    Data::chosen(&options.data, session, "entities", "prunelens data entities")
}

/// The variants as RAVEL reads them, after their hook's block, and the model that is asked what it knows.
fn block_readers(session: &Session, found: &[Reader]) -> Result<(std::sync::Arc<Model>, Vec<Reader>)> {
    let mut copies: Vec<(std::sync::Arc<Model>, std::sync::Arc<Model>)> = Vec::new();
    let mut copy = |model: &std::sync::Arc<Model>| -> Result<std::sync::Arc<Model>> {
        if let Some((_, copy)) = copies.iter().find(|(from, _)| std::sync::Arc::ptr_eq(from, model)) {
            return Ok(copy.clone());
        }
        let made = readable(model)?;
        copies.push((model.clone(), made.clone()));
        Ok(made)
    };
    let mut readers = Vec::new();
    for r in found {
        if r.hook.site == Site::Z {
            return Err(Error::invalid(format!(
                "ravel reads the residual stream; an SAE of {} cannot be measured with it",
                r.hook
            )));
        }
        let hook = HookPoint { layer: r.hook.layer, site: Site::ResidPost };
        readers.push(Reader::new(r.variant, copy(&r.model)?, r.sae.clone(), r.pruning.clone(), hook, r.space)?);
    }
    Ok((copy(&session.models.original)?, readers))
}

fn spec(session: &Session, options: &RavelOptions) -> RavelSpec {
    let default = RavelSpec::default();
    let (prompts, pairs) = amounts(&session.models.original);
    RavelSpec {
        top_n_entities: options.entities.unwrap_or(default.top_n_entities),
        full_dataset_downsample: Some(options.prompts.unwrap_or(prompts)),
        num_pairs_per_attribute: options.pairs.unwrap_or(pairs),
        num_epochs: options.epochs.unwrap_or(default.num_epochs),
        llm_batch_size: options.batch.unwrap_or(default.llm_batch_size),
        random_seed: options.seed.unwrap_or(default.random_seed),
        ..default
    }
}

/// A class with its prompts.
fn choose(
    dir: &Path,
    class: &EntityClass,
    session: &Session,
    limit: Option<usize>,
    rng: &mut Rng,
    warnings: &mut Vec<String>,
) -> Result<Class> {
    let name = shorten(&class.name, 40);
    let chosen = measured(class);
    if chosen.len() < 2 {
        return Err(Error::file(
            dir,
            format!("class {name}: {} attributes have templates and labels; RAVEL needs at least two", chosen.len()),
        ));
    }
    let (prompts, moved) = prompts(class, &chosen, &session.models.tokenizer, limit, rng)?;
    if prompts.is_empty() {
        return Err(Error::file(
            dir,
            format!("class {name} gives no prompt: no entity has a label that a template asks for"),
        ));
    }
    if moved > 0 {
        warnings.push(format!(
            "{name}: in {moved} of {} prompts what follows the entity is not tokenised as it is alone; as in SAEBench, the entity's place is counted by the latter",
            prompts.len()
        ));
    }
    if let Some(limit) = limit.filter(|limit| possible(class, &chosen) > *limit) {
        warnings.push(format!("{name}: {limit} prompts drawn at random are asked, not all; choose with --prompts"));
    }
    let attributes = class.attributes.iter().map(|a| safe(&a.name)).collect();
    Ok(Class { name: safe(&class.name), attributes, chosen, prompts })
}
