//! Load the model, compress it, train, save, measure.

use std::{collections::HashSet, path::Path};

use prunelens_core::{
    error::{Error, Result},
    files::create_folder,
    lock::Lock,
    model::{HookPoint, Model},
    progress::{Progress, Tick},
    session::{Models, SessionSpec},
    text::safe,
    train::{
        Report, TrainSpec,
        activations::ModelActivations,
        checkpoint::Checkpoint,
        finish::Trainee,
        report::{self, Rows},
        spec::first_difference,
    },
};
use serde_json::{Value, json};

use super::{
    Finished, FinishedSae, Member, Outcome, RunSpec,
    measure::measure,
    plan::{Memory, Plan},
    teach::teach,
    text::{Text, read_all},
};
use crate::{measurement::say, output::ProgressLine};

/// One SAE of the run with its settings, and what else its outcome depends on.
pub struct Ready<'a> {
    pub member: &'a Member<'a>,
    pub spec: TrainSpec,
    data: Value,
}

impl Ready<'_> {
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint::new(&self.member.folder, json!({"train": self.spec, "data": self.data}))
    }
}

/// Train what is asked for, or say what it takes. `tick` may stop it (Ctrl-C); then checkpoints are left.
pub fn run(run: &RunSpec, session: &SessionSpec, tick: Tick) -> Result<Outcome> {
    let members = &run.members;
    let mut locks = Vec::new();
    if !run.plan {
        for member in members {
            create_folder(&member.folder)?;
            locks.push(lock(&member.folder)?);
            let folder = member.folder.display();
            match member.is_finished() {
                true if run.restart => {
                    return Err(Error::Usage(format!(
                        "{folder} holds a finished SAE, which --restart does not replace; choose another --out, or remove it"
                    )));
                }
                // Made elsewhere: there is nothing to compare it by.
                true if !member.folder.join(report::FILE).is_file() => {
                    return Err(Error::Usage(format!("{folder} already holds an SAE; choose another --out")));
                }
                _ => {}
            }
        }
    }
    let mut line = ProgressLine::new();
    let texts = [read_all(&run.text)?, read_all(&run.eval_text)?];
    let models = Models::load(session, &mut |progress: Progress| {
        line.show(&progress);
        tick()
    })?;
    let model = &models.pruned;
    let specs = specs(run, model)?;
    line.line(|| "reading text".into());
    let text = Text::of(run, &models, &texts)?;
    let source = ModelActivations::new(
        model.clone(),
        run.hooks.clone(),
        if run.exclude_bos { models.tokenizer.specials() } else { HashSet::default() },
        text.training,
        run.text_tokens.map(|tokens| tokens.div_ceil(text.context)),
        run.data_seed,
        run.cache,
    );
    let epoch = source.tokens();
    let widths: Vec<usize> = run.hooks.iter().map(|hook| model.d_in(hook.site)).collect();
    let numbered: Vec<_> = specs.iter().cloned().zip(members.iter().map(|member| member.hook)).collect();
    let memory = Memory::of(&numbered, &widths, epoch, run.cache, &model.device);
    if run.plan {
        line.line(|| "taking a few steps".into());
        return Plan::of(run, &numbered, source, memory, tick).map(Outcome::Planned);
    }
    memory.check()?;

    let rows =
        Rows { context: text.context, bos: run.bos, exclude_bos: run.exclude_bos, fingerprint: source.fingerprint() };
    let data = |hook: &HookPoint| -> Result<Value> {
        let mut data = report::data(&models, *hook, &rows)?;
        data["held_out"] = json!(text.measured);
        Ok(data)
    };
    let data = run.hooks.iter().map(data).collect::<Result<Vec<_>>>()?;
    let all: Vec<Ready> = members
        .iter()
        .zip(specs)
        .map(|(member, spec)| Ready { data: data[member.hook].clone(), member, spec })
        .collect();
    let (done, open): (Vec<_>, Vec<_>) = all.iter().partition(|ready| ready.member.is_finished());
    done.iter().try_for_each(|ready| same_run(ready))?;
    if !done.is_empty() {
        line.clear();
        let which = if all.len() == 1 { String::new() } else { format!("{} of {} SAEs: ", done.len(), all.len()) };
        say(&format!("{which}trained already, with these settings on this text"));
    }
    let mut failed = Vec::new();
    if !open.is_empty() {
        let trained = teach(run, &open, Box::new(source), &mut line, tick)?;
        for (ready, trained) in open.iter().zip(&trained) {
            if let Ok((state, _)) = trained {
                // A disk that takes no SAE may still take this in the last one's place: the same command then only has to write.
                let _ = ready.checkpoint().save(&ready.spec, state);
            }
        }
        for (ready, trained) in open.iter().zip(trained) {
            match trained {
                Ok((state, figures)) => {
                    let Ready { member, spec, data } = ready;
                    let report = Report { settings: spec, data, text_tokens: Some(epoch), training: Some(figures) };
                    let trainee = trainee(run, member, model, text.context);
                    trainee.save(state, &report, &member.folder, run.save_dtype)?;
                    ready.checkpoint().remove()?;
                }
                Err(error) if all.len() == 1 => return Err(error),
                Err(error) => failed.push(format!("{}: {error}", ready.member.name)),
            }
        }
    }
    let mut saes = Vec::new();
    for Member { name, folder, .. } in members.iter().filter(|member| member.is_finished()) {
        let mut listen =
            |done, total| line.line(|| format!("measuring  {name}  {:3.0} %", 100.0 * done as f64 / total as f64));
        let report = measure(model, &models.tokenizer, folder, &text.held_out, &mut listen, tick)?;
        saes.push(FinishedSae { name: name.clone(), folder: folder.clone(), report });
    }
    Ok(Outcome::Trained(Finished { saes, asked: all.len(), failed }))
}

/// A folder is one process's at a time: another would go on from the same checkpoint.
fn lock(folder: &Path) -> Result<Option<Lock>> {
    let held =
        || Error::file(folder, "another process trains an SAE here: wait until it is done, or choose another --out");
    Lock::take(&folder.join("training.lock"), held)
}

/// The settings of each SAE, checked against the model.
fn specs(run: &RunSpec, model: &Model) -> Result<Vec<TrainSpec>> {
    run.hooks.iter().try_for_each(|hook| model.check_hook(*hook))?;
    let of = |member: &Member| {
        let d_in = model.d_in(run.hooks[member.hook].site);
        let spec = (member.settings)(d_in)?;
        spec.check(d_in).map(|()| spec)
    };
    let named = |member: &Member, error: Error| match (error, member.name.is_empty()) {
        (Error::Usage(what), false) => Error::Usage(format!("{}: {what}", member.name)),
        (error, _) => error,
    };
    run.members.iter().map(|member| of(member).map_err(|error| named(member, error))).collect()
}

/// What an SAE is called and where it comes from.
fn trainee<'a>(run: &RunSpec, member: &Member, model: &'a Model, context: usize) -> Trainee<'a> {
    let names: Vec<_> = run.text.iter().filter_map(|p| p.file_name()).map(|n| safe(&n.to_string_lossy())).collect();
    Trainee {
        name: member.folder.file_name().map_or_else(|| "sae".into(), |n| safe(&n.to_string_lossy())),
        model,
        hook: run.hooks[member.hook],
        bos: run.bos,
        context,
        text: names.join(", "),
    }
}

/// Refuse to count a finished SAE of another run as one of this.
fn same_run(ready: &Ready) -> Result<()> {
    let report = report::read(&ready.member.folder)?;
    let stored = json!({"train": report["settings"], "data": report["data"]});
    // Numbers go through text as those stored did.
    let asked = json!({"train": ready.spec, "data": ready.data}).to_string();
    let asked: Value = serde_json::from_str(&asked).map_err(|e| Error::invalid(e.to_string()))?;
    match first_difference(&stored, &asked) {
        None => Ok(()),
        Some((key, stored, asked)) => Err(Error::file(
            &ready.member.folder,
            format!(
                "holds an SAE of another run: {key} was {stored}, but {asked} is asked for; give the same settings, or another --out"
            ),
        )),
    }
}
