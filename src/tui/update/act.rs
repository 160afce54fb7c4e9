//! What each action does.

use prunelens_core::{compare::Variant, sae::Criterion};

use crate::{
    engine::Command,
    tui::{
        keys::{action::Action, palette},
        state::{Ask, Choice, Find, Level, Outgoing, Overlay, Panel, Phase, Screen, State, Tour, Wanted},
        update::{
            atlas, copies, edits, effect::Effect, exports, find, generation, jobs, latent, open, pair, resume, strip,
            study, typing,
        },
    },
};

/// Rows a page key moves by.
const PAGE: usize = 10;

pub fn act(state: &mut State, action: Action, effects: &mut Vec<Effect>) {
    use Action as A;
    // Help goes away as soon as something else is done.
    if matches!(state.overlay, Some(Overlay::Help { .. })) && closes_help(action) {
        state.overlay = None;
        if matches!(action, A::Help | A::Quit) {
            return;
        }
    }
    match action {
        A::Quit if unfinished(state) => state.overlay = Some(Overlay::ConfirmQuit),
        A::Quit | A::QuitNow => effects.extend(super::quit()),
        A::KeepRunning => state.overlay = None,
        A::Suspend => effects.push(Effect::Suspend),
        A::Redraw => effects.push(Effect::Clear),
        A::Back => back(state, effects),
        A::Help => state.overlay = Some(Overlay::Help { scroll: 0 }),
        A::Palette => state.overlay = Some(Overlay::Palette { query: String::new(), selected: 0 }),
        A::NextPanel if matches!(state.overlay, Some(Overlay::Open(_))) => open::complete(state, effects),
        A::NextPanel => {
            if state.focus == Panel::Prompt {
                typing::remember(state, effects);
            }
            cycle(state, 1);
        }
        A::PreviousPanel => cycle(state, Panel::ALL.len() - 1),
        A::Panel(number) => panel(state, number),
        A::Submit => {
            typing::submit(state);
            typing::remember(state, effects);
            if !state.prompt.is_blank() {
                state.focus = Panel::Latents;
            }
        }
        A::Newline => {
            state.prompt.area.insert_newline();
            typing::edited(state);
        }
        A::ClearPrompt => {
            typing::remember(state, effects);
            state.prompt.set("");
            typing::edited(state);
        }
        A::TokenLeft => move_token(state, state.token.saturating_sub(1)),
        A::TokenRight => move_token(state, state.token + 1),
        A::FirstToken => move_token(state, 0),
        A::LastToken => move_token(state, usize::MAX),
        A::LatentUp => move_latent(state, |at, _| at.saturating_sub(1)),
        A::LatentDown => move_latent(state, |at, _| at + 1),
        A::LatentPageUp => move_latent(state, |at, _| at.saturating_sub(PAGE)),
        A::LatentPageDown => move_latent(state, |at, _| at + PAGE),
        A::FirstLatent => move_latent(state, |_, _| 0),
        A::LastLatent => move_latent(state, |_, last| last),
        A::Find => {
            if state.shown.is_some() || state.screen == Screen::Atlas {
                state.overlay = Some(Overlay::Find(Find::default()));
            } else {
                exports::nothing_yet(state);
            }
        }
        A::Sort => {
            let variants = state.info.as_ref().map_or(&Variant::ALL[..], |i| &i.variants);
            state.table.sort = state.table.sort.next(variants);
            refill(state);
        }
        A::WholePrompt => {
            state.table.whole = !state.table.whole;
            refill(state);
        }
        A::Shade => state.shade = state.shade.next(),
        A::Split => pair::split(state),
        A::Swap => pair::swap(state),
        A::OpenLatent if state.screen == Screen::Atlas => atlas::enter(state),
        A::OpenLatent => latent::open(state),
        A::Atlas => atlas::open(state),
        A::AtlasLeft => atlas::step(state, -1, 0),
        A::AtlasRight => atlas::step(state, 1, 0),
        A::AtlasAcross => atlas::axis(state, true, true),
        A::AtlasAcrossBack => atlas::axis(state, true, false),
        A::AtlasUpwards => atlas::axis(state, false, true),
        A::AtlasUpwardsBack => atlas::axis(state, false, false),
        A::AtlasReverse => atlas::reverse(state),
        A::AtlasList => atlas::next_list(state),
        A::AtlasFate => atlas::next_fate(state),
        A::AtlasNamed => atlas::named(state),
        A::AtlasClear => atlas::clear(state),
        A::AtlasRegion => atlas::mark(state),
        A::AtlasFates => atlas::look(state),
        A::PreviousLatent => latent::walk(state, -1),
        A::NextLatent => latent::walk(state, 1),
        A::TextsBeside => latent::beside(state),
        A::NextVariants => state.predictions.turned += 1,
        A::Pin => latent::pin(state),
        A::Predictions => latent::predictions(state),
        A::Generate => generation::generate(state, effects),
        A::PreviousText => generation::select(state, -1),
        A::NextText => generation::select(state, 1),
        A::TakeText => generation::take(state, effects),
        A::GenerationSettings => generation::settings(state),
        A::Ablate => edits::ablate(state),
        A::Edit => edits::edit(state),
        A::DropEdits => edits::drop_edits(state),
        A::ErrorTerm => edits::error_term(state),
        A::Name => latent::name(state),
        A::EarlierPrompt | A::LaterPrompt => typing::recall(state, action == A::EarlierPrompt),
        A::RatioDown => turn(state, -1, false, effects),
        A::RatioUp => turn(state, 1, false, effects),
        A::RatioFineDown => turn(state, -1, true, effects),
        A::RatioFineUp => turn(state, 1, true, effects),
        A::RatioZero => set(state, state.knobs.scale().untouched(), effects),
        A::Knob => next_knob(state),
        A::Criterion => next_criterion(state),
        A::ScrollUp => scroll(state, -1),
        A::ScrollDown => scroll(state, 1),
        A::PageUp => scroll(state, -(PAGE as isize)),
        A::PageDown => scroll(state, PAGE as isize),
        A::Accept => accept(state, effects),
        A::Measure => jobs::open_form(state),
        A::Train => jobs::open_training(state),
        A::Metrics => {
            state.metrics.from_study = false;
            state.open(Screen::Metrics);
        }
        A::PauseJob => jobs::pause(state, effects),
        A::ResumeJob => jobs::resume(state, effects),
        A::CancelJob => jobs::cancel(state, effects),
        A::JobEarlier => jobs::shift(state, true, effects),
        A::JobLater => jobs::shift(state, false, effects),
        A::WriteResults => jobs::write_to(state),
        A::ViewPrevious => jobs::turn_view(state, false),
        A::ViewNext => jobs::turn_view(state, true),
        A::Beside => jobs::mark(state),
        A::NextFigure => jobs::next_figure(state),
        A::ValuePrevious => jobs::turn_value(state, false),
        A::ValueNext => jobs::turn_value(state, true),
        A::ValueDefault => match &mut state.overlay {
            Some(Overlay::Generation(form)) => form.default_value(),
            _ => jobs::default_value(state),
        },
        A::QuitDropping => {
            effects.extend(jobs::cancel_all(state));
            effects.extend(super::quit());
        }
        A::Session => state.open(Screen::Session),
        A::Log => {
            state.open(Screen::Log);
            // The newest is at the bottom; drawing clamps this.
            state.scroll = usize::MAX;
            state.log.dismiss();
        }
        A::Theme => {
            state.theme = (state.theme + 1) % state.themes.len().max(1);
            let name = state.themes.get(state.theme).cloned().unwrap_or_default();
            state.log.push(state.now, Level::Info, format!("theme {name}"));
        }
        A::Mouse => {
            state.mouse = !state.mouse;
            let text = if state.mouse {
                "the mouse points here now; Shift selects text"
            } else {
                "the mouse is the terminal's again"
            };
            state.log.push(state.now, Level::Info, text);
            effects.push(Effect::Mouse(state.mouse));
        }
        A::Copy => exports::send(state, Outgoing::Copy, effects),
        A::Export => exports::send(state, Outgoing::Files, effects),
        A::Tour => {
            state.tour = match state.tour {
                None => Some(Tour::at(0)),
                // It has been seen to its end.
                Some(_) if state.toured() => None,
                Some(tour) => Some(Tour { hidden: !tour.hidden, ..tour }),
            }
        }
        A::TourNext => {
            state.tour = state.tour.and_then(Tour::next);
        }
        A::TakeUp => resume::take_up(state, effects),
        A::Open => open::ask(state, Wanted::Session, "", effects),
        A::Study => study::open(state, effects),
        A::SquareLeft => study::step(state, 0, -1),
        A::SquareRight => study::step(state, 0, 1),
        A::OpenCell => study::enter(state),
        A::ExploreCell => study::explore(state, effects),
        A::NextCurve => study::next_figure(state),
        A::NextNotable => study::next_notable(state),
        A::PreviousLayer | A::NextLayer => open::step(state, action == A::NextLayer, effects),
        A::Layers => strip::open(state),
        A::Copies => copies::ask(state),
        A::GoToLayer => strip::enter(state, effects),
        A::SaveView if state.shown.is_none() => exports::nothing_yet(state),
        A::SaveView => ask(state, Ask::SaveView),
        A::Explanations => ask(state, Ask::Explanations),
        A::Record if state.recording.is_some() => effects.push(Effect::Record(None)),
        A::Record => ask(state, Ask::Record),
        A::Retry => {
            if matches!(state.phase, Phase::Failed(_)) {
                state.phase = Phase::Loading { progress: None, since: state.now };
                effects.push(Effect::Command(Command::Load(Box::new(state.spec.as_ref().clone()))));
            }
        }
    }
}

fn ask(state: &mut State, what: Ask) {
    if super::ready(state) {
        state.overlay = Some(Overlay::Ask { what, text: String::new() });
    }
}

/// A name was given, in the box or behind the command.
fn answered(state: &mut State, what: Ask, text: &str, effects: &mut Vec<Effect>) {
    let text = text.trim();
    match what {
        _ if text.is_empty() => {
            state.log.push(state.now, Level::Info, "a name is needed, or the path of a file; Esc leaves it");
            state.overlay = Some(Overlay::Ask { what, text: String::new() });
        }
        Ask::SaveView if state.shown.is_none() => exports::nothing_yet(state),
        Ask::SaveView => effects.push(Effect::SaveView(text.to_owned())),
        Ask::Explanations => effects.push(Effect::Explain(text.into())),
        Ask::Record => match &state.recording {
            // Without a name it would end: one is not ended by beginning another.
            Some(file) => {
                let text = format!("{file} is being recorded: end that first, then begin another");
                state.log.push(state.now, Level::Info, text);
            }
            None => effects.push(Effect::Record(Some(text.to_owned()))),
        },
    }
}

fn closes_help(action: Action) -> bool {
    use Action as A;
    !matches!(action, A::ScrollUp | A::ScrollDown | A::PageUp | A::PageDown | A::Back | A::Redraw | A::Theme)
}

/// Something would be left undone.
fn unfinished(state: &State) -> bool {
    state.jobs.iter().any(|job| !job.is_over())
}

/// Close the top layer.
fn back(state: &mut State, effects: &mut Vec<Effect>) {
    // What is on its way is stopped by an Esc that sees it: neither a message nor another screen stands before it.
    let seen = !state.log.is_showing() && state.screen != Screen::Log;
    state.log.dismiss();
    if state.overlay.take().is_some() {
        return;
    }
    if state.coming.is_some() && seen {
        return open::stop(state, effects);
    }
    if state.screen == Screen::Generation && state.generation.going {
        generation::stop(state, effects);
    } else if state.screen == Screen::Latent && state.latent_view.from_atlas {
        state.screen = Screen::Atlas;
    } else if state.screen == Screen::Metrics && state.metrics.from_study {
        state.metrics.from_study = false;
        state.screen = Screen::Study;
    } else if state.screen != Screen::Explore {
        state.screen = Screen::Explore;
    } else if state.focus == Panel::Prompt {
        typing::submit(state);
        typing::remember(state, effects);
        state.focus = Panel::Latents;
    }
}

fn cycle(state: &mut State, by: usize) {
    if state.overlay.is_none() && state.screen == Screen::Atlas {
        return atlas::focus(state);
    }
    if state.overlay.is_some() || state.screen != Screen::Explore {
        return;
    }
    let at = Panel::ALL.iter().position(|&p| p == state.focus).unwrap_or(0);
    state.focus = Panel::ALL[(at + by) % Panel::ALL.len()];
}

fn panel(state: &mut State, number: u8) {
    if let Some(&panel) = Panel::ALL.get(usize::from(number).wrapping_sub(1)) {
        state.screen = Screen::Explore;
        state.focus = panel;
    }
}

pub fn move_token(state: &mut State, to: usize) {
    let Some(shown) = &state.shown else { return };
    let last = shown.comparison.tokens.len().saturating_sub(1);
    let to = to.min(last);
    state.at_end = to == last;
    if to != state.token {
        state.token = to;
        state.fill(false);
    }
}

/// Moving puts a table right whose order is that of earlier values; the selected latent keeps its identity.
pub fn move_latent(state: &mut State, to: impl Fn(usize, usize) -> usize) {
    if state.table.disordered {
        refill(state);
    }
    let Some(last) = state.table.rows.len().checked_sub(1) else { return };
    let at = state.latent.and_then(|l| state.table.position(l)).unwrap_or(0);
    state.latent = Some(state.table.rows[to(at, last).min(last)].latent);
    state.choice = Choice::Moved;
}

/// Order anew with the selection kept.
pub fn refill(state: &mut State) {
    if let Some(shown) = &state.shown {
        state.table.fill(shown, state.pair.as_ref(), state.token, state.latent, false);
    }
}

/// Turn the knob by steps, away from the untouched SAE or back.
fn turn(state: &mut State, steps: i32, fine: bool, effects: &mut Vec<Effect>) {
    let setting = state.setting();
    let at = state.knobs.scale().moved(setting.at, steps, fine);
    if at == setting.at && super::ready(state) {
        return state.log.push(state.now, Level::Info, format!("{setting}: it goes no further"));
    }
    set(state, at, effects);
}

pub fn set(state: &mut State, at: f64, effects: &mut Vec<Effect>) {
    if !super::ready(state) {
        return;
    }
    state.knobs.set(at);
    if std::mem::take(&mut state.first_steps) {
        effects.push(Effect::RememberUse);
    }
}

fn next_knob(state: &mut State) {
    if super::ready(state) {
        state.knobs.next();
    }
}

fn next_criterion(state: &mut State) {
    let knob = state.setting().knob;
    if knob.criterion().is_none() {
        let text = format!("{} has no criterion: {}", knob.name(), knob.meaning());
        return state.log.push(state.now, Level::Info, text);
    }
    let criteria = state.info.as_ref().map_or(&Criterion::ALL[..], |i| &i.criteria);
    if let Some(at) = criteria.iter().position(|&c| c == state.knobs.criterion()) {
        state.knobs.by(criteria[(at + 1) % criteria.len()]);
    }
}

fn scroll(state: &mut State, by: isize) {
    let moved = |at: usize| at.saturating_add_signed(by);
    match &mut state.overlay {
        Some(Overlay::Help { scroll }) => *scroll = moved(*scroll),
        Some(Overlay::Palette { query, selected }) => {
            *selected = moved(*selected).min(palette::find(&state.keymap, query).len().saturating_sub(1));
        }
        Some(Overlay::Find(find)) => {
            let d_sae = state.info.as_ref().map_or(0, |info| info.d_sae);
            let found = find.found(d_sae, (&state.table.rows, state.table.whole), &state.names, &state.explained).len();
            find.selected = moved(find.selected).min(found.saturating_sub(1));
        }
        Some(Overlay::Open(line)) => {
            line.selected = moved(line.selected).min(line.found.len().saturating_sub(1));
        }
        Some(Overlay::Copies { selected }) => {
            *selected = moved(*selected).min(state.spec.compressions.len().saturating_sub(1));
        }
        Some(Overlay::Edit { of, .. }) => {
            let (rows, row) = (state.edits.list.len(), of.map_or(0, |at| at + 1));
            let to = moved(row).min(rows);
            // What is written stays where there is nowhere to go.
            if to != row {
                edits::write_anew(state, to.checked_sub(1));
            }
        }
        Some(Overlay::Form(form)) => form.selected = moved(form.selected).min(form.fields.len()),
        Some(Overlay::Generation(form)) => form.selected = moved(form.selected).min(form.fields.len() - 1),
        Some(_) => {}
        None => match state.screen {
            Screen::Latent => state.latent_view.scroll = moved(state.latent_view.scroll),
            Screen::Predictions | Screen::Generation => {}
            Screen::Atlas if by.unsigned_abs() > 1 => atlas::walk(state, by),
            Screen::Atlas => atlas::step(state, 0, -by as i32),
            Screen::Layers => strip::walk(state, by),
            Screen::Study => study::step(state, by, 0),
            Screen::Explore => state.detail_scroll = moved(state.detail_scroll),
            Screen::Metrics if by.unsigned_abs() > 1 => state.metrics.scroll = moved(state.metrics.scroll),
            Screen::Metrics => jobs::select(state, moved(state.metrics.row)),
            Screen::Session | Screen::Log => state.scroll = moved(state.scroll),
        },
    }
}

fn accept(state: &mut State, effects: &mut Vec<Effect>) {
    match state.overlay.take() {
        Some(Overlay::Open(line)) if line.text.trim().is_empty() => state.overlay = Some(Overlay::Open(line)),
        Some(Overlay::Open(line)) if line.wanted == Wanted::Study => study::show(state, &line.text),
        Some(Overlay::Open(line)) => open::written(state, &line.text, effects),
        Some(Overlay::Palette { query, selected }) => {
            match palette::with_argument(&query) {
                Some((Action::Open, line)) => return open::written(state, line, effects),
                Some((Action::Study, folder)) => return study::show(state, folder),
                _ => {}
            }
            let asked = palette::with_argument(&query).and_then(|(action, argument)| {
                let what = match action {
                    Action::SaveView => Ask::SaveView,
                    Action::Explanations => Ask::Explanations,
                    Action::Record => Ask::Record,
                    _ => return None,
                };
                Some((what, argument))
            });
            if let Some((what, argument)) = asked {
                answered(state, what, argument, effects);
            } else if let Some(entry) = palette::find(&state.keymap, &query).get(selected) {
                act(state, entry.action, effects);
            }
        }
        Some(Overlay::Find(sought)) => find::accept(state, sought),
        Some(Overlay::Copies { selected }) => copies::go(state, selected, effects),
        Some(Overlay::Edit { spec, of }) => edits::edited(state, spec, of),
        Some(Overlay::Name { latent, name }) => latent::named(state, latent, &name, effects),
        Some(Overlay::Ask { what, text }) => answered(state, what, &text, effects),
        Some(Overlay::Form(form)) => jobs::start(state, form, effects),
        Some(Overlay::Generation(form)) => generation::set(state, form, effects),
        Some(Overlay::WriteTo { id, folder }) => jobs::write(state, id, &folder, effects),
        other => state.overlay = other,
    }
}
