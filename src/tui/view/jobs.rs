//! Background jobs: one line for all of them, and one row each.

use prunelens_metrics::{
    MetricTable, ParamValue, RunFile,
    params::{CRITERION, KNOB, RATIO},
};
use ratatui::{
    style::Style,
    text::{Line, Span},
};

use crate::{
    engine::JobSpec,
    safe,
    tui::{
        state::{Job, JobState, State},
        theme::{Role, Theme},
        widgets::{bars, format, spinner},
    },
};

/// The sign of a job's state.
fn sign(job: &Job, frame: usize, theme: &Theme) -> (&'static str, Style) {
    match &job.state {
        JobState::Queued => (theme.symbol("○", "o"), theme.style(Role::Muted)),
        JobState::Running { .. } => (spinner(frame, theme.ascii), theme.style(Role::Accent)),
        JobState::Paused(_) => (theme.symbol("◫", "="), theme.style(Role::Accent)),
        JobState::Interrupted(_) => (theme.symbol("◌", "~"), theme.style(Role::Warning)),
        JobState::Unwritten(_) => ("!", theme.style(Role::Error)),
        JobState::Done { .. } => (theme.symbol("✓", "v"), theme.style(Role::Text)),
        JobState::Failed(_) => (theme.symbol("✗", "x"), theme.style(Role::Error)),
        JobState::Cancelled => (theme.symbol("■", "-"), theme.style(Role::Muted)),
    }
}

/// How far a job is, in a few words.
fn words(job: &Job) -> String {
    match &job.state {
        JobState::Queued => "queued".into(),
        JobState::Running { .. } => {
            let share = job.share().map(|s| format!("{:.0} %", 100.0 * s)).unwrap_or_else(|| "starting".into());
            match job.seconds_left() {
                Some(left) => format!("{share}  {} left", format::time(left)),
                None => share,
            }
        }
        JobState::Paused(share) => format!("paused at {}", percent(*share)),
        JobState::Interrupted(share) => format!("interrupted at {}", percent(*share)),
        JobState::Unwritten(_) => "not written".into(),
        JobState::Done { seconds, .. } => format!("in {}", format::time(*seconds)),
        JobState::Failed(_) => "failed".into(),
        JobState::Cancelled => "cancelled".into(),
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// All jobs in one line, the newest first.
pub fn line(state: &State, theme: &Theme) -> Line<'static> {
    let mut spans = Vec::new();
    for job in state.jobs.iter().rev().take(3) {
        let (sign, style) = sign(job, state.spin(), theme);
        spans.push(Span::styled(format!(" {sign} "), style));
        spans.push(Span::raw(safe::line(&job.spec.family)));
        spans.push(Span::styled(format!(" {}    ", words(job)), theme.style(Role::Muted)));
    }
    Line::from(spans)
}

/// What a job works on. Where it was given no setting of its own, its figures say which they are of.
pub fn subject(spec: &JobSpec, table: Option<&MetricTable>) -> String {
    let value = |name| spec.params.0.get(name);
    let family = safe::line(&spec.family);
    let knob = value(KNOB.name).map(|knob| safe::line(&knob.to_string())).filter(|knob| knob != "ratio");
    if let Some(knob) = knob {
        return format!("{family} at {knob}");
    }
    match (value(RATIO.name), value(CRITERION.name)) {
        (Some(ParamValue::Number(ratio)), Some(criterion)) => {
            format!("{family} at {ratio:.2} {}", safe::line(&criterion.to_string()))
        }
        _ => {
            // As the metrics of variants call it, and as the atlas does.
            let says = |(name, _): &&(String, String)| ["sae pruning", "pruned"].contains(&name.as_str());
            let of = table.and_then(|table| table.settings.iter().find(says));
            of.map_or(family.clone(), |(_, setting)| format!("{family}, {}", safe::line(setting)))
        }
    }
}

/// What of another session differs from the one that is open, by their labels.
fn elsewhere(session: &str, here: &str) -> String {
    // Rules one after the other are one part: "wanda 50%, then rtn int8".
    let parts = |label: &str| label.replace(", then ", " then ").split(", ").map(str::to_owned).collect::<Vec<_>>();
    let (all, own) = (parts(session), parts(here));
    let differing: Vec<&str> = all.iter().zip(&own).filter(|(a, b)| a != b).map(|(a, _)| a.as_str()).collect();
    match all.len() == own.len() {
        true if differing.is_empty() => "in another session of this name".into(),
        true => format!("on {}", safe::line(&differing.join(", "))),
        false => format!("on {}", safe::line(session)),
    }
}

/// A row of the list of jobs; `here` is the label of the session that is open.
pub fn row(job: &Job, here: Option<&str>, width: usize, frame: usize, theme: &Theme) -> Line<'static> {
    let (sign, style) = sign(job, frame, theme);
    let muted = theme.style(Role::Muted);
    let mut spans = vec![
        Span::styled(format!("{sign} "), style),
        Span::raw(format!("{:<28} ", subject(&job.spec, job.table.as_deref()))),
    ];
    if let Some(share) = job.share() {
        spans.push(Span::styled(bars::meter(share, 20, theme.ascii), theme.style(Role::Accent)));
        spans.push(Span::raw(" "));
    }
    spans.push(Span::styled(words(job), muted));
    let (note, role) = match &job.state {
        JobState::Running { done, total, unit, seconds, note } => {
            let rate = if *seconds > 0.0 { *done as f64 / seconds } else { 0.0 };
            let (pace, by) = format::pace(rate);
            let counted = format!("{done} of {total} {unit}, {pace}/{by}");
            (if note.is_empty() { counted } else { format!("{counted}   {}", safe::line(note)) }, Role::Muted)
        }
        JobState::Done { files, .. } => (written(files).unwrap_or_default(), Role::Muted),
        JobState::Failed(message) | JobState::Unwritten(message) => (safe::line(message), Role::Error),
        JobState::Queued | JobState::Cancelled | JobState::Paused(_) | JobState::Interrupted(_) => {
            (String::new(), Role::Muted)
        }
    };
    // What happened to it comes first: it is said once.
    let remarks = job.remarks.iter().map(|text| safe::line(text));
    let on = job.session.as_deref().zip(here).map(|(session, here)| elsewhere(session, here));
    let note: Vec<String> = on.into_iter().chain(remarks).chain(Some(note).filter(|note| !note.is_empty())).collect();
    if note.is_empty() {
        return Line::from(spans);
    }
    let note = note.join(theme.symbol(" · ", ", "));
    let room = width.saturating_sub(spans.iter().map(Span::width).sum::<usize>() + 4);
    spans.push(Span::styled(format!("   {}", safe::cut(&note, room, theme.ascii)), theme.style(role)));
    Line::from(spans)
}

/// Where a job's results are, in few words.
fn written(files: &[RunFile]) -> Option<String> {
    let folder = safe::line(&files.first()?.path.parent()?.display().to_string());
    Some(match files.len() {
        1 => format!("one file in {folder}"),
        n => format!("{n} files in {folder}"),
    })
}
