//! What lies over the screen: help, commands, finding a latent, the question before quitting.

use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        keys::action::{Action, Context},
        state::{Ask, Overlay, State},
        theme::{Role, Theme},
        view::{copies, find, form, generation, help, open, palette},
        widgets::{self, line_at, popup, put, skip},
    },
};

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) -> Option<Position> {
    match state.overlay.as_ref()? {
        Overlay::Help { scroll } => {
            help::render(area, buffer, state, *scroll, theme);
            None
        }
        Overlay::Palette { query, selected } => Some(palette::render(area, buffer, state, query, *selected, theme)),
        Overlay::Find(sought) => Some(find::render(area, buffer, state, sought, theme)),
        Overlay::Name { latent, name } => Some(entry(area, buffer, &format!("name #{latent}"), name, theme)),
        Overlay::Ask { what, text } => Some(ask(area, buffer, *what, text, theme)),
        Overlay::Open(line) => Some(open::render(area, buffer, state, line, theme)),
        Overlay::Copies { selected } => {
            copies::render(area, buffer, state, *selected, theme);
            None
        }
        Overlay::Edit { spec, of } => Some(edit(area, buffer, state, (spec, *of), theme)),
        Overlay::Generation(form) => Some(generation::form(area, buffer, form, theme)),
        Overlay::Form(form) => form::render(area, buffer, state, form, theme),
        Overlay::WriteTo { folder, .. } => Some(write_to(area, buffer, folder, theme)),
        Overlay::ConfirmQuit => {
            confirm(area, buffer, state, theme);
            None
        }
    }
}

/// What is written, and all edits that are in force.
fn edit(area: Rect, buffer: &mut Buffer, state: &State, (spec, of): (&str, Option<usize>), theme: &Theme) -> Position {
    let list = &state.edits.list;
    let rows = if list.is_empty() { 0 } else { list.len() as u16 + 1 };
    let at = popup(area, 64, rows.saturating_add(5), buffer);
    let inside = skip(widgets::Panel::new("steer a latent", true).render(at, buffer, theme), 1);
    let shown = safe::end(&safe::line(spec), usize::from(inside.width).saturating_sub(2));
    put(buffer, inside, Line::from(vec![Span::styled("#", theme.style(Role::Key)), Span::raw(shown.clone())]));
    let muted = theme.style(Role::Muted);
    put(buffer, line_at(inside, 1), Line::styled("ablate, scale:F, set:V, or add:S times its decoder row;", muted));
    put(buffer, line_at(inside, 2), Line::styled("behind it @P for one token, @P.. from it on; then Enter", muted));
    if !list.is_empty() {
        put(buffer, line_at(inside, 3), Line::styled("in force, to be changed, or emptied to take one back:", muted));
    }
    let visible = usize::from(inside.height.saturating_sub(4));
    let first = widgets::offset(of.unwrap_or(0), list.len(), visible);
    for (row, (at, edit)) in list.iter().enumerate().skip(first).take(visible).enumerate() {
        let line = line_at(inside, row as u16 + 4);
        put(buffer, line, Line::raw(format!("#{edit}")));
        if of == Some(at) {
            widgets::select(buffer, line, theme);
        }
    }
    widgets::scrollbar(buffer, at, list.len(), visible, first, theme);
    Position::new((inside.x + 1 + safe::width(&shown) as u16).min(inside.right().saturating_sub(1)), inside.y)
}

fn ask(area: Rect, buffer: &mut Buffer, what: Ask, text: &str, theme: &Theme) -> Position {
    let (title, meaning) = match what {
        Ask::SaveView => {
            ("save the view as", "a name in the results folder, or a path (./NAME); Enter. --view opens it")
        }
        Ask::Record => ("record to", "a name in the results folder, or a path (./NAME); Enter. Again ends it"),
        Ask::Explanations => {
            ("read explanations from", "a file of Neuronpedia's, JSONL with layer, index, description")
        }
    };
    let at = popup(area, 74, 4, buffer);
    let inside = skip(widgets::Panel::new(title, true).render(at, buffer, theme), 1);
    let shown = safe::end(&safe::line(text), usize::from(inside.width).saturating_sub(2));
    put(buffer, inside, Line::raw(shown.clone()));
    put(buffer, line_at(inside, 1), Line::styled(meaning, theme.style(Role::Muted)));
    Position::new((inside.x + safe::width(&shown) as u16).min(inside.right().saturating_sub(1)), inside.y)
}

/// One line of text.
fn entry(area: Rect, buffer: &mut Buffer, title: &str, text: &str, theme: &Theme) -> Position {
    let at = popup(area, 64, 3, buffer);
    let inside = skip(widgets::Panel::new(title.to_owned(), true).render(at, buffer, theme), 1);
    let shown = safe::end(&safe::line(text), usize::from(inside.width).saturating_sub(2));
    put(buffer, inside, Line::raw(shown.clone()));
    Position::new((inside.x + safe::width(&shown) as u16).min(inside.right().saturating_sub(1)), inside.y)
}

fn write_to(area: Rect, buffer: &mut Buffer, folder: &str, theme: &Theme) -> Position {
    let at = popup(area, 72, 4, buffer);
    let inside = widgets::Panel::new("write the results to", true).render(at, buffer, theme);
    let room = usize::from(inside.width).saturating_sub(3);
    let shown = safe::end(&safe::line(folder), room);
    put(buffer, skip(inside, 1), Line::raw(shown.clone()));
    put(buffer, skip(line_at(inside, 1), 1), Line::styled("a folder, then Enter", theme.style(Role::Muted)));
    Position::new((inside.x + 1 + safe::width(&shown) as u16).min(inside.right().saturating_sub(1)), inside.y)
}

fn confirm(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let at = popup(area, 52, 6, buffer);
    let inside = widgets::Panel::new("quit?", true).render(at, buffer, theme);
    let inside = skip(inside, 1);
    let running = state.jobs.iter().filter(|j| !j.is_over()).count();
    let what =
        if running == 1 { "A job is not finished.".to_owned() } else { format!("{running} jobs are not finished.") };
    put(buffer, inside, Line::raw(what));
    put(
        buffer,
        line_at(inside, 1),
        Line::styled("What is done is kept: it can go on next time.", theme.style(Role::Muted)),
    );
    let key = |action| Span::styled(state.keymap.key_of(action, &[Context::Confirm]), theme.style(Role::Key));
    let keys = Line::from(vec![
        key(Action::QuitNow),
        Span::raw(" quit     "),
        key(Action::QuitDropping),
        Span::raw(" quit and cancel     "),
        key(Action::KeepRunning),
        Span::raw(" stay"),
    ]);
    put(buffer, line_at(inside, 3), keys);
}
