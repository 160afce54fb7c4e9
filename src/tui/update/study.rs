//! A study on screen: its folder is looked at again and again, while it is seen.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{effect::Effect, jobs, open};
use crate::{
    study::{squares::Square, watch::Seen},
    tui::{
        state::{Level, Phase, Screen, State, StudyView, Wanted},
        studies::{Ask, Told},
    },
};

/// Time between two looks, at least; a look may take a tenth of it.
const EVERY: Duration = Duration::from_secs(2);
const SPARING: u32 = 10;

/// The study that is open, or the line that asks for one.
pub fn open(state: &mut State, effects: &mut Vec<Effect>) {
    match state.study.folder.clone() {
        // What was taken away or repaired since is seen anew.
        Some(folder) if state.screen != Screen::Study => go(state, folder),
        _ => open::ask(state, Wanted::Study, "", effects),
    }
}

/// The study of a folder.
pub fn show(state: &mut State, folder: &str) {
    let folder = PathBuf::from(folder.trim());
    if state.study.folder.as_ref() != Some(&folder) {
        state.study = StudyView::default();
    }
    go(state, folder);
}

pub(super) fn go(state: &mut State, folder: PathBuf) {
    state.open(Screen::Study);
    state.study = StudyView { folder: Some(folder), asked: None, waiting: false, due: None, ..state.study.clone() };
}

/// Look at the folder, where that is due and the study is on screen.
pub fn ask(state: &mut State, effects: &mut Vec<Effect>) {
    let (Screen::Study, Some(folder)) = (state.screen, state.study.folder.clone()) else { return };
    let view = &mut state.study;
    let here = (view.row, view.column);
    let due = !view.waiting && view.due.is_none_or(|due| due <= state.now);
    if view.asked == Some(here) && !due {
        return;
    }
    let anew = view.asked.is_none();
    let at = view.cell().map_or((0, 0), |(row, cell)| (row, cell.unwrap_or(0)));
    effects.push(Effect::Study(Ask::Look { folder, at, anew }));
    (view.asked, view.waiting, view.due) = (Some(here), true, None);
}

/// Something was found out; whether it is anything new.
pub fn told(state: &mut State, told: Told, effects: &mut Vec<Effect>) -> bool {
    let now = state.now;
    let view = &mut state.study;
    match told {
        Told::Seen(seen) => {
            let new = view.wrong.take().is_some() || view.seen.as_ref().is_none_or(|before| !same(before, &seen));
            (view.waiting, view.due) = (false, Some(now + EVERY.max(seen.took * SPARING)));
            if new {
                view.seen = Some(seen);
                clamp(view);
            }
            new
        }
        Told::Wrong(why) => {
            (view.waiting, view.due) = (false, Some(now + EVERY));
            let new = view.wrong.as_ref() != Some(&why);
            view.wrong = Some(why);
            new
        }
        Told::Session(Ok(meant)) => {
            let (spec, settings) = *meant;
            state.open(Screen::Explore);
            open::begin(state, spec, settings.into(), effects);
            true
        }
        Told::Session(Err(why)) => {
            state.log.push(now, Level::Error, why);
            true
        }
    }
}

fn same(a: &Seen, b: &Seen) -> bool {
    let runs = match (&a.run, &b.run) {
        (Some(Ok(a)), Some(Ok(b))) => Arc::ptr_eq(a, b),
        (a, b) => a == b,
    };
    runs && a.at == b.at && Arc::ptr_eq(&a.overview, &b.overview) && Arc::ptr_eq(&a.curves, &b.curves)
}

fn clamp(view: &mut StudyView) {
    let (rows, columns) = view.overview().map_or((0, 0), |all| (all.rows.len(), all.columns.len()));
    view.row = view.row.min(rows.saturating_sub(1));
    view.column = view.column.min(columns.saturating_sub(1));
}

/// Another row, another column.
pub fn step(state: &mut State, rows: isize, columns: isize) {
    let view = &mut state.study;
    view.row = view.row.saturating_add_signed(rows);
    view.column = view.column.saturating_add_signed(columns);
    clamp(view);
}

pub fn select(state: &mut State, (row, column): (usize, usize)) {
    (state.study.row, state.study.column) = (row, column);
    clamp(&mut state.study);
}

/// The next figure against the ratio.
pub fn next_figure(state: &mut State) {
    let n = state.study.seen.as_ref().map_or(0, |seen| seen.curves.len());
    state.study.figure = (state.study.figure + 1) % n.max(1);
}

/// The next cell that could not be measured, else that is being measured.
pub fn next_notable(state: &mut State) {
    let Some(overview) = state.study.overview() else { return };
    let n = overview.columns.len();
    let here = state.study.row * n + state.study.column;
    let total = overview.rows.len() * n;
    let find = |is: &dyn Fn(&Square) -> bool| {
        let all = (1..=total).map(|by| (here + by) % total);
        all.map(|at| (at / n, at % n)).find(|(row, column)| overview.square(*row, *column).is_some_and(is))
    };
    let failed = find(&|square| matches!(square, Square::Failed(_)));
    match failed.or_else(|| find(&|square| matches!(square, Square::Working(_)))) {
        Some(at) => select(state, at),
        None => say(state, "no cell has failed, and none is being measured"),
    }
}

/// The selected cell's result in Metrics, or why there is none.
pub fn enter(state: &mut State) {
    let text = match (state.study.square(), state.study.run()) {
        (_, Some(Ok(run))) => {
            let (run, when) = (run.clone(), state.study.seen.as_ref().map_or(0, |seen| seen.when));
            if when > state.past.clock(state.now) {
                state.past.looked = (when, state.now);
            }
            state.open(Screen::Metrics);
            return jobs::show_run(state, &run);
        }
        (_, Some(Err(why))) => why.clone(),
        (None, _) => "this session has no such cell".into(),
        (Some(Square::Done), None) => "its result is being read".into(),
        (Some(Square::Failed(why)), _) => {
            format!("it could not be measured, and is tried again by the next run: {why}")
        }
        (Some(Square::Working(_)), _) => "it is being measured".into(),
        (Some(Square::Waiting), _) => {
            "it is not measured yet: `prunelens study work FOLDER` measures what is left".into()
        }
    };
    say(state, &text);
}

/// The selected cell's session in Explore.
pub fn explore(state: &mut State, effects: &mut Vec<Effect>) {
    let Some((group, _)) = state.study.cell() else { return };
    match state.phase {
        Phase::Ready | Phase::Failed(_) => {
            let now = state.settings.clone();
            effects.push(Effect::Study(Ask::Session { group, now }));
        }
        _ => say(state, "the session is being loaded: open another one after that"),
    }
}

fn say(state: &mut State, text: &str) {
    state.log.push(state.now, Level::Info, text);
}
