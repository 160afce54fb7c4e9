//! What the engine reports.

use std::sync::Arc;

use prunelens_core::{
    compare::{Comparison, Variant},
    edit::Edits,
};

use crate::{
    engine::{JobId, JobState, Report, SessionInfo, Unfinished},
    tui::{
        keys::action::{Action, Context},
        state::{AtlasView, Choice, Job, Knobs, Level, Overlay, Panel, Past, Phase, Shown, State, Strip},
        update::{effect::Effect, generation, open, pair, strip},
    },
};

pub fn reported(state: &mut State, report: Report, effects: &mut Vec<Effect>) {
    match report {
        Report::Loading(progress) => {
            let since = match &state.phase {
                Phase::Loading { progress: Some(before), since } if before.what == progress.what => *since,
                _ => state.now,
            };
            state.phase = Phase::Loading { progress: Some(progress), since };
        }
        Report::Ready(info) => {
            state.names.clear();
            state.explained = Arc::default();
            effects.push(Effect::RecallNames(info.sae_digest.clone()));
            ready(state, info, effects);
        }
        Report::Opening(progress) => {
            if let Some(coming) = &mut state.coming {
                let same = coming.progress.as_ref().is_some_and(|before| before.what == progress.what);
                coming.since = if same { coming.since } else { state.now };
                coming.progress = Some(progress);
            }
        }
        Report::Opened { info, spec } => open::opened(state, info, spec, effects),
        Report::OpenFailed(message) => open::failed(state, &message),
        Report::Layer { generation, layer, figures } => strip::arrived(state, generation, layer, figures),
        Report::Layers { generation } => strip::ended(state, generation),
        Report::Joined { info, asked } => joined(state, info, asked),
        Report::JoinedElsewhere(text) => {
            // What the strip has of that layer is of the SAE before.
            state.strip = Strip::default();
            state.log.push(state.now, Level::Info, text);
        }
        Report::NotJoined(why) => super::resume::without_trained(state, &why, effects),
        Report::LoadFailed(message) => {
            // The screen itself says it.
            state.log.push(state.now, Level::Error, message.clone());
            state.log.dismiss();
            state.phase = Phase::Failed(message);
        }
        Report::Comparison { generation, comparison, complete } => {
            if state.follow.is_current(generation) {
                state.follow.waiting = false;
                compared(state, generation, comparison, complete);
            }
        }
        Report::Latent { generation, detail } => {
            if state.follow.latent.as_ref().is_some_and(|(g, _)| *g == generation) {
                state.follow.latent_waiting = false;
                if state.detail.as_ref().is_none_or(|d| d.latent != detail.latent) {
                    state.detail_scroll = 0;
                }
                state.detail = Some(detail);
            }
        }
        Report::Reading { read, of } => state.read = Some((read, of)),
        Report::Indexed => {
            (state.indexing, state.read) = (false, None);
            // Looked for while the corpus was read: once more, now that all is known.
            if let Some(Overlay::Find(find)) = &mut state.overlay {
                find.asked = None;
            }
        }
        Report::Page { generation, page } => {
            if state.latent_view.asked.is_some_and(|(asked, _)| asked == generation) {
                if state.latent_view.pinning.take_if(|latent| *latent == page.latent).is_some() {
                    state.latent_view.pinned = Some(page.clone());
                }
                state.latent_view.page = Some(page);
            }
        }
        Report::Found { generation, hits } => super::find::arrived(state, generation, hits),
        Report::Predictions { generation, predictions } => {
            if let Some((_, key)) = state.predictions.asked.clone().filter(|(asked, _)| *asked == generation) {
                state.predictions.waiting = false;
                state.predictions.came = Some((key, predictions));
            }
        }
        Report::Atlas { generation, atlas } => super::atlas::arrived(state, generation, atlas),
        Report::Beside { generation, comparison } => pair::arrived(state, generation, comparison),
        Report::Generating { generation, by } => generation::begun(state, generation, by),
        Report::Generated { generation, of, written, seconds } => {
            generation::grown(state, generation, of, written, seconds);
        }
        Report::RequestFailed { generation, message } => failed(state, generation, message),
        Report::Job { id, state: job } => job_changed(state, id, job),
        Report::JobTable { id, table, details } => {
            if let Some(job) = state.jobs.iter_mut().find(|j| j.id == id) {
                (job.table, job.details) = (Some(table), details);
            }
        }
        Report::JobRemark { id, text } => {
            if let Some(job) = state.jobs.iter_mut().find(|j| j.id == id) {
                job.remarks.push(text);
            }
        }
        Report::Estimate { generation, estimate } => {
            if let Some(Overlay::Form(form)) = &mut state.overlay
                && form.asked.as_ref().is_some_and(|(asked, _)| *asked == generation)
            {
                (form.estimate, form.waiting) = (Some(estimate), false);
            }
        }
        Report::Unfinished(all) => unfinished(state, all),
        Report::Runs { runs, now } => {
            let opened = std::mem::take(&mut state.past.opened);
            state.past = Past { runs, looked: (now, state.now), opened };
        }
        Report::Warning(text) => state.log.push(state.now, Level::Warning, text),
        Report::Memory(memory) => state.memory = memory,
        Report::Crashed(message) => {
            let text = format!(
                "the engine stopped: {message}. Nothing more can be computed; q quits, e still exports what is shown"
            );
            state.log.push(state.now, Level::Error, text);
            state.follow.waiting = false;
            state.follow.latent_waiting = false;
            state.generation.going = false;
            (state.coming, state.strip.waiting) = (None, false);
            for job in state.jobs.iter_mut().filter(|j| !j.is_over()) {
                job.state =
                    JobState::Failed("the engine stopped; what was saved of it goes on at the next start".into());
            }
            state.focus = Panel::Latents;
            state.phase = Phase::Crashed(message);
        }
    }
}

fn ready(state: &mut State, info: Arc<SessionInfo>, effects: &mut Vec<Effect>) {
    state.phase = Phase::Ready;
    state.knobs = Knobs::new(info.setting, info.criterion, info.d_in);
    state.memory = info.memory.clone();
    for warning in &info.warnings {
        state.log.push(state.now, Level::Warning, warning.clone());
    }
    if !info.layers.is_empty() {
        // The one that was meant, where none was named.
        state.spec = Arc::new(state.spec.at_layer(info.layer));
    }
    state.info = Some(info);
    (state.indexing, state.read) = (true, None);
    state.forget_answers();
    (state.atlas, state.pair, state.edits) = (AtlasView::default(), None, Edits::default());
    state.copies.clear();
    // A prompt given on the command line, or a view.
    super::typing::submit(state);
    if let Some(view) = state.opening.take() {
        super::resume::begin(state, view, effects);
    }
}

/// The session has a new `trained` variant: what is on screen of the others stays until its new answer comes, ratio, prompt and edits
/// too. An SAE that was `asked` for comes with a view.
fn joined(state: &mut State, info: Arc<SessionInfo>, asked: bool) {
    state.memory = info.memory.clone();
    state.info = Some(info);
    (state.indexing, state.read) = (true, None);
    let continued = state.generation.asked.is_some();
    let pinned = state.latent_view.pinned.as_ref().map(|page| page.latent);
    state.forget_answers();
    state.latent_view.pinning = pinned;
    if let Some(shown) = &mut state.shown {
        shown.forget(Variant::Trained);
    }
    // Its columns of `trained` are of another SAE.
    state.atlas = AtlasView::default();
    state.strip = Strip::default();
    if continued {
        let key = state.keymap.key_of(Action::Generate, &[Context::OnLatent]);
        let text = format!("continued texts were of the variants before: {key} draws them again");
        state.log.push(state.now, Level::Info, text);
    }
    let key = state.keymap.key_of(Action::Open, &[Context::Global]);
    let again = if asked { " with this view" } else { "" };
    let text = format!(
        "the SAE that was trained{again} is the variant `trained` from now on; {key} and this session again: the one before"
    );
    state.log.push(state.now, Level::Info, text);
    if let Some(view) = state.opening.take_if(|_| asked) {
        super::resume::begin_joined(state, view);
    }
}

fn failed(state: &mut State, generation: u64, message: String) {
    if state.follow.is_current(generation) {
        state.follow.waiting = false;
        state.follow.failed = true;
        state.follow.refusal = Some(message.clone());
        state.restoring = None;
        // What has come of it is all there will be.
        let wanted = state.target().prompt;
        match &mut state.shown {
            Some(shown) if shown.generation == generation => shown.complete = true,
            // The prompt was refused: what is shown is of another one, and must not stand under this one's text.
            Some(shown) if shown.of.prompt != wanted => state.forget_shown(),
            _ => {}
        }
    } else if state.predictions.asked.as_ref().is_some_and(|(asked, _)| *asked == generation) {
        state.predictions.waiting = false;
    } else if let Some(pair) = &mut state.pair
        && pair.asked.as_ref().is_some_and(|(asked, _)| *asked == generation)
    {
        pair.waiting = false;
    } else if generation::is_asked(state, generation) {
        state.generation.going = false;
    } else if let Some(Overlay::Find(find)) = &mut state.overlay
        && find.asked.as_ref().is_some_and(|(asked, _)| *asked == generation)
    {
        (find.waiting, find.go) = (false, false);
    } else if state.strip.asked.as_ref().is_some_and(|(asked, _)| *asked == generation) {
        state.strip.waiting = false;
    } else if state.atlas.asked.as_ref().is_some_and(|(asked, _)| *asked == generation) {
        state.atlas.waiting = false;
    } else if state.follow.latent.as_ref().is_some_and(|(g, _)| *g == generation) {
        state.follow.latent_waiting = false;
    } else {
        return;
    }
    state.log.push(state.now, Level::Error, message);
}

fn compared(state: &mut State, generation: u64, comparison: Arc<Comparison>, complete: bool) {
    // What was said of another prompt is over.
    let refusal = state.follow.refusal.take();
    if refusal.is_some() && state.log.status().map(|said| &said.text) == refusal.as_ref() {
        state.log.dismiss();
    }
    let before = state.shown.take();
    let same_prompt = before.as_ref().is_some_and(|b| *b.of.prompt == *comparison.prompt);
    let shown = Shown::new(generation, comparison, complete, before);
    let last = shown.comparison.tokens.len().saturating_sub(1);
    if !same_prompt {
        state.token = if state.at_end { last } else { state.token.min(last) };
        let kept = match (state.choice, state.latent) {
            (Choice::Found, Some(_)) => true,
            (Choice::Moved, Some(latent)) => shown.fires(latent),
            _ => false,
        };
        if !kept {
            state.choice = Choice::Strongest;
        }
    }
    if let Some(pair) = &mut state.pair {
        pair.align(&shown.comparison.tokens);
    }
    state.shown = Some(shown);
    state.note_copy();
    state.fill(same_prompt);
    super::resume::compared(state);
}

/// Jobs that can go on: rows of their own, above what is started from now on.
fn unfinished(state: &mut State, all: Vec<Unfinished>) {
    let n = all.len();
    for Unfinished { spec, share } in all {
        // The same job may be under way in another session, and a row of it be here from an earlier visit.
        if !state.jobs.iter().any(|job| job.spec == spec && job.is_here() && job.can_go_on()) {
            let (id, of) = (state.next_job(), state.spec.clone());
            state.jobs.push(Job::new(id, spec, of, JobState::Interrupted(share)));
        }
    }
    let keys = [Action::Metrics, Action::ResumeJob]
        .map(|action| state.keymap.key_of(action, &[Context::Metrics, Context::Global]));
    let what = if n == 1 { "a job was interrupted".to_owned() } else { format!("{n} jobs were interrupted") };
    let it = if n == 1 { "it" } else { "them" };
    let text = format!("{what} earlier: {} shows {it}, {} goes on with {it}", keys[0], keys[1]);
    state.log.push(state.now, Level::Info, text);
}

fn job_changed(state: &mut State, id: JobId, new: JobState) {
    let now = state.now;
    let Some(job) = state.jobs.iter_mut().find(|j| j.id == id) else { return };
    match &new {
        JobState::Done { files, .. } => {
            let folder = files.first().and_then(|f| f.path.parent()).map(|f| f.display().to_string());
            let written = folder.map(|f| format!(", results are in {f}")).unwrap_or_default();
            state.log.push(now, Level::Info, format!("{} finished{written}", job.spec.family));
        }
        JobState::Unwritten(message) => {
            let key = state.keymap.key_of(Action::WriteResults, &[Context::Metrics]);
            let text = format!("{} is not written, {key} writes it elsewhere: {message}", job.spec.family);
            state.log.push(now, Level::Error, text);
        }
        JobState::Failed(message) => {
            // It stays in the job's row; the status line belongs to actions.
            state.log.push(now, Level::Error, format!("{} failed: {message}", job.spec.family));
        }
        _ => {}
    }
    job.state = new;
}
