//! Jobs: the form that starts one, the queue, and what of the Metrics screen is looked at.

use std::{path::PathBuf, sync::Arc};

use prunelens_metrics::{Metric, Run, train::TrainJob};

use crate::{
    engine::{Command, JobId, JobSpec, JobState},
    safe,
    tui::{
        state::{Chosen, Form, Job, Level, Overlay, Screen, State, View},
        update::effect::Effect,
    },
};

/// The form, with the family that was measured last. A training is asked for by a key of its own: again it would train another SAE.
pub fn open_form(state: &mut State) {
    let measured = |job: &&Job| job.spec.family != TrainJob::NAME;
    let last = state.jobs.iter().rfind(measured).map(|job| job.spec.family.clone());
    open_form_of(state, last.as_deref().unwrap_or_default());
}

/// The form of a training.
pub fn open_training(state: &mut State) {
    open_form_of(state, TrainJob::NAME);
}

/// The form of a family; of the first, if there is none of that name.
pub fn open_form_of(state: &mut State, family: &str) {
    if !super::ready(state) {
        return;
    }
    state.open(Screen::Metrics);
    let Some(info) = &state.info else { return };
    let family = info.families.iter().position(|f| f.name == family).unwrap_or(0);
    state.overlay = Form::new(family, info, &state.knobs).map(Overlay::Form);
}

/// Another value of the field, or another family.
pub fn turn_value(state: &mut State, forward: bool) {
    let Some(info) = state.info.clone() else { return };
    let Some(Overlay::Form(form)) = &mut state.overlay else { return };
    if form.selected > 0 {
        if let Some(family) = info.families.get(form.family) {
            form.turn(family, forward);
        }
        return;
    }
    let n = info.families.len().max(1);
    let next = (form.family + if forward { 1 } else { n - 1 }) % n;
    if let Some(new) = Form::new(next, &info, &state.knobs) {
        *form = new;
    }
}

pub fn default_value(state: &mut State) {
    let Some(info) = &state.info else { return };
    let Some(Overlay::Form(form)) = &mut state.overlay else { return };
    let default = info.families.get(form.family).and_then(|family| form.param(family)).map(|p| p.default.clone());
    if let (Some(default), Some(text)) = (default, form.fields.get_mut(form.selected.wrapping_sub(1))) {
        *text = default;
    }
}

pub fn select_field(state: &mut State, row: usize) {
    if let Some(Overlay::Form(form)) = &mut state.overlay {
        form.selected = row.min(form.fields.len());
    }
}

/// Start what the form describes; with a mistake in it, go there instead. The same job is not started twice, and one that
/// was interrupted goes on.
pub fn start(state: &mut State, mut form: Form, effects: &mut Vec<Effect>) {
    let info = state.info.clone();
    let Some(family) = info.as_ref().and_then(|i| i.families.get(form.family)) else { return };
    let Some(spec) = form.spec(family) else {
        form.selected = form.mistake(family).map_or(form.selected, |(at, _)| at + 1);
        state.overlay = Some(Overlay::Form(form));
        return;
    };
    // The form says why it would fail.
    if !form.waiting && matches!(form.estimate, Some(Err(_))) {
        state.overlay = Some(Overlay::Form(form));
        return;
    }
    if let Some(at) = state.jobs.iter().position(|job| job.spec == spec && job.is_here() && job.can_go_on()) {
        select(state, at);
        if matches!(state.jobs[at].state, JobState::Interrupted(_) | JobState::Paused(_)) {
            resume(state, effects);
        }
        return;
    }
    begin(state, spec, false, effects);
}

/// Whether a job can be started or forgotten: what is on screen is about to be another session's.
fn settled(state: &mut State) -> bool {
    if state.coming.is_some() {
        say(state, "another session is on its way: when it is here, or Esc has stopped it");
    }
    state.coming.is_none()
}

/// A new job at the end of the queue.
fn begin(state: &mut State, spec: JobSpec, anew: bool, effects: &mut Vec<Effect>) {
    if !settled(state) {
        return;
    }
    let (id, of) = (state.next_job(), state.spec.clone());
    state.jobs.push(Job::new(id, spec.clone(), of.clone(), JobState::Queued));
    // What was marked among the earlier runs has moved down by one.
    let last = state.jobs.len() - 1;
    if let Some(beside) = state.metrics.beside.as_mut().filter(|row| **row >= last) {
        *beside += 1;
    }
    select(state, last);
    effects.push(Effect::Command(Command::StartJob { id, job: spec, of, anew }));
}

/// A result from elsewhere, as the first of the earlier runs.
pub fn show_run(state: &mut State, run: &Arc<Run>) {
    let first = state.jobs.len();
    state.metrics.from_study = true;
    let row = match state.past.opened.iter().position(|known| known.files == run.files) {
        Some(at) => {
            state.past.opened[at] = run.clone();
            first + at
        }
        None => {
            state.past.opened.insert(0, run.clone());
            // What was marked or selected among the earlier runs has moved down by one.
            let metrics = &mut state.metrics;
            if let Some(beside) = metrics.beside.as_mut().filter(|row| **row >= first) {
                *beside += 1;
            }
            if metrics.row >= first {
                metrics.row += 1;
            }
            first
        }
    };
    select(state, row);
}

pub fn select(state: &mut State, row: usize) {
    let row = row.min(state.rows_of_metrics().saturating_sub(1));
    if row != state.metrics.row {
        // The same kind of view stays in sight where the other run has it.
        let view = state.view();
        (state.metrics.row, state.metrics.scroll) = (row, 0);
        state.metrics.view = state.views().iter().position(|v| *v == view).unwrap_or(0);
    }
}

pub fn show_view(state: &mut State, view: usize) {
    (state.metrics.view, state.metrics.scroll) = (view.min(state.views().len() - 1), 0);
}

pub fn turn_view(state: &mut State, forward: bool) {
    let n = state.views().len();
    let at = state.metrics.view.min(n - 1);
    show_view(state, (at + if forward { 1 } else { n - 1 }) % n);
}

/// Mark the chosen run for comparing, or take the mark away.
pub fn mark(state: &mut State) {
    let Some(table) = state.chosen().and_then(Chosen::table) else {
        return say(state, "there are no figures to compare with yet");
    };
    let metric = table.metric.clone();
    if state.metrics.beside == Some(state.metrics.row) {
        state.metrics.beside = None;
        return say(state, "no run is marked any more");
    }
    if state.beside().is_some() {
        // A second mark is a second thought: this one is compared with from now on.
        state.metrics.view = 0;
    }
    state.metrics.beside = Some(state.metrics.row);
    say(state, &format!("marked: select another {metric} run to see the two side by side"));
}

pub fn next_figure(state: &mut State) {
    let rows = state.chosen().and_then(Chosen::table).map_or(0, |table| table.rows.len());
    state.metrics.figure = (state.metrics.figure + 1) % rows.max(1);
    if let Some(at) = state.views().iter().position(|view| *view == View::Layers) {
        show_view(state, at);
    }
}

/// The job of the chosen row; of an earlier run it is said that it is none any more.
fn chosen_job(state: &mut State) -> Option<&mut Job> {
    let row = state.metrics.row;
    if row >= state.jobs.len()
        && let Some(run) = state.past.get(row - state.jobs.len())
    {
        let text = format!("{} is an earlier run: its figures can be read; m measures anew", run.spec.family);
        say(state, &text);
    }
    state.jobs.get_mut(row)
}

pub fn pause(state: &mut State, effects: &mut Vec<Effect>) {
    let Some(job) = chosen_job(state) else { return };
    let (id, family) = (job.id, job.spec.family.clone());
    match job.state {
        JobState::Queued | JobState::Running { .. } => effects.push(Effect::Command(Command::PauseJob(id))),
        JobState::Paused(_) => effects.push(Effect::Command(Command::ResumeJob(id))),
        _ => say(state, &format!("{family} does not run: there is nothing to pause")),
    }
}

pub fn resume(state: &mut State, effects: &mut Vec<Effect>) {
    let id = state.next_job();
    let Some(job) = chosen_job(state) else { return };
    let family = job.spec.family.clone();
    match job.state {
        JobState::Paused(_) => effects.push(Effect::Command(Command::ResumeJob(job.id))),
        JobState::Interrupted(_) | JobState::Failed(_) if !job.is_here() => elsewhere(state),
        JobState::Interrupted(_) | JobState::Failed(_) => {
            if !settled(state) {
                return;
            }
            // The engine knows nothing of it any more: a job of its own, at the end of the queue, which finds what this
            // one left.
            let mut job = state.jobs.remove(state.metrics.row);
            (job.id, job.state) = (id, JobState::Queued);
            job.remarks.clear();
            let (spec, of) = (job.spec.clone(), job.of.clone());
            effects.push(Effect::Command(Command::StartJob { id, job: spec, of, anew: false }));
            state.jobs.push(job);
            state.metrics.beside = None;
            state.metrics.row = state.jobs.len() - 1;
        }
        JobState::Done { .. } if !job.is_here() => elsewhere(state),
        // The figures that are there stay beside the new ones.
        JobState::Done { .. } => {
            let spec = job.spec.clone();
            begin(state, spec, true, effects);
        }
        JobState::Queued | JobState::Running { .. } => say(state, &format!("{family} runs already")),
        _ => say(state, &format!("{family} is over; m starts it anew")),
    }
}

pub fn cancel(state: &mut State, effects: &mut Vec<Effect>) {
    let Some(job) = chosen_job(state) else { return };
    let (id, family) = (job.id, job.spec.family.clone());
    match job.state {
        JobState::Interrupted(_) | JobState::Failed(_) if !job.is_here() => elsewhere(state),
        JobState::Interrupted(_) | JobState::Failed(_) => {
            if !settled(state) {
                return;
            }
            let Some(job) = chosen_job(state) else { return };
            let forget = Command::ForgetJob { job: job.spec.clone(), of: job.of.clone() };
            job.state = JobState::Cancelled;
            effects.push(Effect::Command(forget));
        }
        _ if job.is_over() => say(state, &format!("{family} is over: there is nothing to cancel")),
        _ => effects.push(Effect::Command(Command::CancelJob(id))),
    }
}

pub fn cancel_all(state: &State) -> Vec<Effect> {
    let unfinished = state.jobs.iter().filter(|job| !job.is_over());
    unfinished.map(|job| Effect::Command(Command::CancelJob(job.id))).collect()
}

/// Move a waiting job in the queue; the selection goes with it.
pub fn shift(state: &mut State, earlier: bool, effects: &mut Vec<Effect>) {
    let at = state.metrics.row;
    let Some(job) = chosen_job(state) else { return };
    if job.is_over() {
        let text = format!("{} is over: it waits in no queue", job.spec.family);
        return say(state, &text);
    }
    let id = job.id;
    // Jobs that are over have no place in the queue: they are passed by.
    let mut others = state.jobs.iter().enumerate().filter(|(_, other)| !other.is_over()).map(|(at, _)| at);
    let to = if earlier { others.rfind(|other| *other < at) } else { others.find(|other| *other > at) };
    let Some(to) = to else { return };
    state.jobs.swap(at, to);
    if let Some(beside) = &mut state.metrics.beside {
        *beside = if *beside == at {
            to
        } else if *beside == to {
            at
        } else {
            *beside
        };
    }
    state.metrics.row = to;
    effects.push(Effect::Command(Command::MoveJob { id, earlier }));
}

/// Ask for the folder to write results to that could not be written.
pub fn write_to(state: &mut State) {
    let folder = state.spec.results.display().to_string();
    match state.jobs.get(state.metrics.row).map(|job| (job.id, &job.state)) {
        Some((id, JobState::Unwritten(_))) => state.overlay = Some(Overlay::WriteTo { id, folder }),
        Some((_, JobState::Done { .. })) => say(state, "the results are written; e exports what is shown"),
        Some(_) => say(state, "there are no finished results to write"),
        None => say(state, "e exports what is shown"),
    }
}

pub fn write(state: &mut State, id: JobId, folder: &str, effects: &mut Vec<Effect>) {
    let folder = folder.trim();
    if folder.is_empty() {
        return say(state, "results need a folder");
    }
    effects.push(Effect::Command(Command::WriteJob { id, folder: Some(PathBuf::from(folder)) }));
}

/// What the chosen job left belongs to its own session.
fn elsewhere(state: &mut State) {
    let Some(job) = chosen_job(state) else { return };
    let session = safe::line(job.session.as_deref().unwrap_or_default());
    let text = format!("{} is of another session: open {session}, and do it there", job.spec.family);
    say(state, &text);
}

fn say(state: &mut State, text: &str) {
    state.log.push(state.now, Level::Info, text);
}
