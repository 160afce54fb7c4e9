//! The atlas screen: columns, filters, regions, the list.

use std::sync::Arc;

use prunelens_metrics::atlas::{Atlas, Fate};

use super::{effect::Effect, jobs, latent};
use crate::{
    engine::{Query, Request},
    safe,
    tui::state::{
        Choice, Find, Level, SavedAtlas, Screen, State,
        atlas::{AtlasView, BINS, Look, Only, Region, axis::is_death, bin},
    },
};

/// Bins that the cross moves by, across and up.
const STEP: (i32, i32) = (8, 8);

/// Open the newest atlas of the session; one that is open stays as it was left.
pub fn open(state: &mut State) {
    if let Some(newest) = state.newest_atlas() {
        state.atlas.wanted = Some(newest);
    }
    state.open(Screen::Atlas);
}

/// It was read; one of another dictionary is no atlas of this session.
pub fn arrived(state: &mut State, generation: u64, atlas: Arc<Atlas>) {
    if state.atlas.asked.as_ref().is_none_or(|(asked, _)| *asked != generation) {
        return;
    }
    state.atlas.waiting = false;
    let d_sae = state.info.as_ref().map_or(0, |info| info.d_sae);
    if atlas.about.d_sae != d_sae {
        let text =
            format!("{}: an atlas of {} latents; the SAE here has {d_sae}", atlas.path.display(), atlas.about.d_sae);
        return state.log.push(state.now, Level::Error, text);
    }
    state.atlas.show(atlas);
    if let Some(saved) = state.atlas.saved.take() {
        restore(state, saved);
    }
    if state.latent.is_none() {
        select(state, 0);
    }
}

/// Look at it as a view has it; what this atlas lacks is said.
fn restore(state: &mut State, saved: SavedAtlas) {
    let view = &mut state.atlas;
    let Some(atlas) = view.atlas.clone() else { return };
    let mut lacking = Vec::new();
    for (name, at) in [(&saved.across, &mut view.across), (&saved.up, &mut view.up), (&saved.by, &mut view.rank)] {
        match atlas.columns.iter().position(|(column, _)| column == name) {
            Some(found) => *at = found,
            None => lacking.push(format!("column {name:?}")),
        }
    }
    view.ascending = saved.smallest_first;
    view.fate = saved.fate.as_deref().and_then(Fate::named);
    if let (Some(name), None) = (&saved.fate, view.fate) {
        lacking.push(format!("fate {name:?}"));
    }
    view.refresh();
    if !lacking.is_empty() {
        let text = format!("the view's atlas has what this one has not: {}", safe::line(&lacking.join(", ")));
        state.log.push(state.now, Level::Warning, text);
    }
}

/// Whether there is an atlas to do something with.
fn shown(state: &mut State) -> Option<&mut AtlasView> {
    let there = state.screen == Screen::Atlas && state.atlas.atlas.is_some();
    there.then_some(&mut state.atlas)
}

/// Change what is drawn, and draw it anew.
fn change(state: &mut State, with: impl FnOnce(&mut AtlasView)) {
    if let Some(view) = shown(state) {
        with(view);
        view.refresh();
    }
}

fn turn(at: usize, n: usize, forward: bool) -> usize {
    (at + if forward { 1 } else { n.max(1) - 1 }) % n.max(1)
}

/// Another column across, or up; what was marked on the old axes goes.
pub fn axis(state: &mut State, across: bool, forward: bool) {
    change(state, |view| {
        let n = view.atlas.as_ref().map_or(0, |atlas| atlas.columns.len());
        let axis = if across { &mut view.across } else { &mut view.up };
        *axis = turn(*axis, n, forward);
        (view.region, view.anchor, view.look) = (None, None, Look::Plot);
    });
}

/// The list by another column.
pub fn rank(state: &mut State, forward: bool) {
    change(state, |view| {
        let n = view.atlas.as_ref().map_or(0, |atlas| atlas.columns.len());
        view.rank = turn(view.rank, n, forward);
    });
}

pub fn reverse(state: &mut State) {
    change(state, |view| view.ascending = !view.ascending);
}

/// Name, column that orders it, whether the smallest comes first, and the fate that it is of.
type List = (&'static str, &'static str, bool, Option<Fate>);

const LISTS: [List; 5] = [
    ("died first", "dies_half", true, None),
    ("most changed", "corr.pruned", true, None),
    ("new on the pruned model", "mass.transfer", false, Some(Fate::New)),
    ("absorbed by another", "heir_share", false, Some(Fate::Absorbed)),
    ("the loss depends on most", "importance", false, None),
];

/// The next of the lists that are worth a look.
pub fn next_list(state: &mut State) {
    let mut name = "";
    change(state, |view| {
        view.list = (view.list + 1) % LISTS.len();
        let (title, column, ascending, fate) = LISTS[view.list];
        let at = view.atlas.as_ref().and_then(|atlas| atlas.columns.iter().position(|(name, _)| name == column));
        // Of bits and ranks, the largest kill first.
        let turned = is_death(column) && view.atlas.as_ref().is_some_and(|atlas| atlas.about.descends());
        (view.rank, view.ascending, view.fate) = (at.unwrap_or(view.rank), ascending != turned, fate);
        (view.in_list, name) = (true, title);
    });
    if !name.is_empty() {
        state.log.push(state.now, Level::Info, format!("listed: {name}"));
        select(state, 0);
    }
}

/// Only latents of the next fate, then all again.
pub fn next_fate(state: &mut State) {
    change(state, |view| {
        view.fate = match view.fate {
            None => Fate::ALL.first().copied(),
            Some(fate) => Fate::ALL.get(fate as usize + 1).copied(),
        };
    });
}

/// Only latents that have a name, or all again.
pub fn named(state: &mut State) {
    let latents: Vec<u32> = state.names.keys().copied().collect();
    if latents.is_empty() {
        return state.log.push(state.now, Level::Info, "no latent has a name yet: n gives one");
    }
    let why = "with a name".to_owned();
    change(state, |view| match &view.only {
        Some(only) if only.why == why => view.only = None,
        _ => view.only = Some(Only { why, latents }),
    });
}

/// What was looked for: one latent by its number, or all that have to do with a word.
pub fn found(state: &mut State, sought: &Find) {
    let d_sae = state.info.as_ref().map_or(0, |info| info.d_sae);
    let found = sought.found(d_sae, (&state.table.rows, state.table.whole), &state.names, &state.explained);
    let mut latents: Vec<u32> = found.iter().map(|found| found.latent).collect();
    if let (Some(_), Some(latent)) = (sought.number(), latents.first()) {
        return choose(state, *latent);
    }
    latents.sort_unstable();
    latents.dedup();
    let word = sought.query.trim().to_owned();
    if latents.is_empty() {
        let text = format!("no latent was found for {word:?}");
        return state.log.push(state.now, Level::Warning, text);
    }
    change(state, |view| view.only = Some(Only { why: word, latents }));
    select(state, 0);
}

/// No region and no filter.
pub fn clear(state: &mut State) {
    change(state, |view| (view.region, view.anchor, view.fate, view.only) = (None, None, None, None));
}

pub fn look(state: &mut State) {
    if let Some(view) = shown(state) {
        view.look = if view.look == Look::Plot { Look::Fates } else { Look::Plot };
    }
}

/// Give the keys to the plot, or to the list.
pub fn focus(state: &mut State) {
    state.atlas.in_list = !state.atlas.in_list;
}

/// The first corner of a region, then the second.
pub fn mark(state: &mut State) {
    let Some(view) = shown(state) else { return };
    view.in_list = false;
    match view.anchor.take() {
        None => (view.anchor, view.region) = (Some(view.cursor), None),
        Some(anchor) => view.region = Some(Region::between(anchor, view.cursor)),
    }
    view.refresh();
    select(state, 0);
}

/// A step of the cross, or in the list.
pub fn step(state: &mut State, across: i32, up: i32) {
    let Some(view) = shown(state) else { return };
    if !view.in_list && view.look == Look::Plot {
        let moved = |at: u16, by: i32, n: u16| (i32::from(at) + by).clamp(0, i32::from(n) - 1) as u16;
        view.cursor = (moved(view.cursor.0, across * STEP.0, BINS.0), moved(view.cursor.1, up * STEP.1, BINS.1));
        return;
    }
    if across != 0 {
        return rank(state, across > 0);
    }
    walk(state, -up as isize);
}

/// To another latent of the list.
pub fn walk(state: &mut State, by: isize) {
    let Some(drawn) = state.atlas.drawn.clone() else { return };
    let at = state.latent.and_then(|latent| drawn.position(latent));
    select(state, at.map_or(0, |at| at.saturating_add_signed(by)));
}

/// A row of the list.
pub fn select(state: &mut State, row: usize) {
    let Some(drawn) = state.atlas.drawn.clone() else { return };
    let last = drawn.list.len().saturating_sub(1);
    if let Some((latent, _)) = drawn.list.get(row.min(last)) {
        choose(state, *latent);
    }
}

fn choose(state: &mut State, latent: u32) {
    (state.latent, state.choice) = (Some(latent), Choice::Found);
}

/// The latent in full, or, without an atlas, the form that makes one.
pub fn enter(state: &mut State) {
    if state.atlas.atlas.is_some() {
        latent::open(state);
    } else if !state.atlas.waiting {
        jobs::open_form_of(state, "atlas");
    }
}

/// The mouse on the plot: pressed, it is a corner and the cross; dragged, the other corner.
pub fn pointed(state: &mut State, (x, y): (f64, f64), dragged: bool) {
    let Some(view) = shown(state) else { return };
    view.in_list = false;
    let at = bin(x, y);
    if dragged && let Some(held) = view.held {
        let region = Some(Region::between(held, at));
        view.cursor = at;
        if view.region != region {
            view.region = region;
            view.refresh();
            select(state, 0);
        }
    } else {
        (view.held, view.anchor, view.cursor) = (Some(at), None, at);
        if view.region.take().is_some() {
            view.refresh();
        }
    }
}

/// Ask for what is wanted and not there.
pub fn ask(state: &mut State, effects: &mut Vec<Effect>) {
    let seen = matches!(state.screen, Screen::Atlas | Screen::Latent);
    if state.screen == Screen::Atlas && state.atlas.atlas.is_none() && !state.atlas.waiting {
        // One may have been finished since the screen was opened.
        state.atlas.wanted = state.newest_atlas().or(state.atlas.wanted.take());
    }
    let Some(file) = state.atlas.wanted.clone().filter(|_| seen) else { return };
    if state.atlas.asked.as_ref().is_some_and(|(_, asked)| *asked == file) {
        return;
    }
    let generation = state.follow.advance();
    effects.push(Effect::Request(Request { generation, query: Query::Atlas { file: file.clone() } }));
    (state.atlas.asked, state.atlas.waiting) = (Some((generation, file)), true);
}
