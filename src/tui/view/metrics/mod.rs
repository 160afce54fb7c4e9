//! The Metrics screen: jobs and earlier runs, and what the selected one measured.

mod compare;
pub mod detail;
mod figures;
mod layers;
mod list;

use prunelens_metrics::MetricTable;
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Modifier,
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        keys::action::{Action, Context},
        state::{Chosen, JobState, Pointed, State, View},
        theme::{Role, Theme},
        view::{frame, jobs},
        widgets::{self, format, line_at, put, skip, wrap},
    },
};

/// Rows of the list seen at once, at most.
const ROWS: usize = 8;

/// The list and the panel under it.
fn areas(middle: Rect, state: &State) -> (Rect, Rect) {
    let wanted = state.rows_of_metrics().clamp(1, ROWS) as u16 + 2;
    // The panel needs a few lines of its own.
    let height = wanted.min((middle.height / 2).max(3)).min(middle.height);
    let list = Rect { height, ..middle };
    (list, Rect { y: middle.y + height, height: middle.height - height, ..middle })
}

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let middle = frame(area, buffer, state, theme);
    let (list, panel) = areas(middle, state);
    list::render(list, buffer, state, theme);
    render_panel(panel, buffer, state, theme);
}

/// What is at a point of the screen.
pub fn hit(area: Rect, state: &State, theme: &Theme, x: u16, y: u16) -> Option<Pointed> {
    let middle = super::middle(area);
    let (list, panel) = areas(middle, state);
    let at = ratatui::layout::Position::new(x, y);
    if list.contains(at) {
        return list::row_at(list, state, y).map(Pointed::Job);
    }
    if !panel.contains(at) {
        return None;
    }
    let tab = tabs(state, panel.width, theme).into_iter().find(|tab| {
        y == panel.y && (panel.x + tab.start..panel.x + tab.start + safe::width(&tab.text) as u16).contains(&x)
    });
    Some(tab.map_or(Pointed::Measured, |tab| Pointed::View(tab.view)))
}

/// The selected run's panel: a view of it, with the others named in its border.
pub fn render_panel(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    if area.height < 3 {
        return;
    }
    let chosen = state.chosen();
    let Some((chosen, table)) = chosen.and_then(|chosen| Some((chosen, chosen.table()?))) else {
        return empty(area, buffer, state, chosen, theme);
    };
    let mut panel = widgets::Panel::new(title(state, area.width, theme), false).note(note(table));
    if !table.warnings.is_empty() {
        let n = table.warnings.len();
        let place = if state.view() == View::Figures { ", below" } else { "" };
        let text = if n == 1 { format!("! a warning{place}") } else { format!("! {n} warnings{place}") };
        panel = panel.foot(Span::styled(text, theme.style(Role::Warning)), Line::default());
    }
    let inside = panel.render(area, buffer, theme);
    let room = usize::from(inside.width);
    // Heads stay where they are, the rest scrolls.
    let (heads, body) = match state.view() {
        View::Figures => figures::lines(table, chosen, room, theme),
        View::Compare => match state.beside() {
            Some(beside) => compare::lines(state, chosen, beside, room, theme),
            None => figures::lines(table, chosen, room, theme),
        },
        View::Layers => layers::lines(state, room, theme),
        View::Detail(at) => match chosen.details().get(at) {
            Some(of) => {
                let of = detail::laid_over(of, state.beside());
                let used = detail::chart(&of, inside, buffer, theme);
                let rest = Rect { y: inside.y + used, height: inside.height - used, ..inside };
                return scrolled(area, rest, buffer, state, detail::lines(&of, room, theme), theme);
            }
            None => figures::lines(table, chosen, room, theme),
        },
    };
    scrolled(area, inside, buffer, state, (heads, body), theme);
}

/// Lines of the panel that shows all of its view, border included, within an area.
pub fn height(area: Rect, state: &State, theme: &Theme) -> u16 {
    let room = usize::from(area.width.saturating_sub(2));
    let rows = |(heads, body): Lines| heads.len() + body.len();
    let Some((chosen, table)) = state.chosen().and_then(|c| Some((c, c.table()?))) else { return area.height.min(6) };
    let lines = match (state.view(), state.beside()) {
        (View::Compare, Some(beside)) => rows(compare::lines(state, chosen, beside, room, theme)),
        (View::Layers, _) => rows(layers::lines(state, room, theme)),
        (View::Detail(at), _) => chosen.details().get(at).map_or(0, |of| {
            let mut buffer = Buffer::empty(Rect { height: area.height.min(40), ..area });
            let inside = buffer.area;
            let of = detail::laid_over(of, state.beside());
            usize::from(detail::chart(&of, inside, &mut buffer, theme)) + rows(detail::lines(&of, room, theme))
        }),
        _ => rows(figures::lines(table, chosen, room, theme)),
    };
    (lines + 2).clamp(6, usize::from(area.height)) as u16
}

type Lines = (Vec<Line<'static>>, Vec<Line<'static>>);

fn scrolled(panel: Rect, area: Rect, buffer: &mut Buffer, state: &State, (heads, body): Lines, theme: &Theme) {
    let visible = usize::from(area.height).saturating_sub(heads.len());
    let first = state.metrics.scroll.min(body.len().saturating_sub(visible));
    let rows = body.len();
    let lines = heads.into_iter().chain(body.into_iter().skip(first).take(visible));
    for (at, line) in lines.enumerate().take(usize::from(area.height)) {
        put(buffer, line_at(area, at as u16), line);
    }
    widgets::scrollbar(buffer, panel, rows, visible, first, theme);
}

fn note(table: &MetricTable) -> String {
    if table.progress < 1.0 { format!("{} so far", format::percent(table.progress)) } else { String::new() }
}

fn empty(area: Rect, buffer: &mut Buffer, state: &State, chosen: Option<Chosen>, theme: &Theme) {
    let inside = widgets::Panel::new("figures", false).render(area, buffer, theme);
    let job = match chosen {
        Some(Chosen::Job(job)) => Some(job),
        _ => None,
    };
    let (text, role) = match job.map(|job| &job.state) {
        Some(JobState::Failed(message)) => (safe::line(message), Role::Error),
        Some(JobState::Interrupted(_)) => {
            let key = state.keymap.key_of(Action::ResumeJob, &[Context::Metrics]);
            (
                format!("interrupted; {key} goes on where it was, with the same figures as without the break"),
                Role::Muted,
            )
        }
        Some(_) => ("figures appear here as soon as the first texts are measured".into(), Role::Muted),
        None => ("variants side by side, with their differences from original".into(), Role::Muted),
    };
    let rows = wrap(&text, usize::from(inside.width).saturating_sub(2));
    if let [row] = &rows[..]
        && role == Role::Muted
    {
        let line = Line::styled(row.clone(), theme.style(role)).centered();
        return put(buffer, line_at(inside, inside.height / 2), line);
    }
    for (at, row) in rows.into_iter().enumerate() {
        put(buffer, skip(line_at(inside, at as u16), 1), Line::styled(row, theme.style(role)));
    }
}

/// A view's name in the panel's border.
struct Tab {
    text: String,
    view: usize,
    /// Cells from the panel's left edge.
    start: u16,
    chosen: bool,
}

/// Cells of a view's name, at most.
const TAB: usize = 28;

fn tabs(state: &State, width: u16, theme: &Theme) -> Vec<Tab> {
    let views = state.views();
    let chosen = state.metrics.view.min(views.len().saturating_sub(1));
    let name = |view: &View, room: usize| match view {
        View::Figures => state.chosen().map_or("figures".to_owned(), |c| jobs::subject(c.spec(), c.table())),
        View::Compare => "compared".into(),
        View::Layers => "layers".into(),
        View::Detail(at) => {
            let title = state.chosen().and_then(|c| c.details().get(*at)).map(|d| safe::line(&d.title));
            safe::cut(&title.unwrap_or_default(), room, theme.ascii)
        }
    };
    let mut names: Vec<String> = views.iter().map(|view| name(view, TAB)).collect();
    let total: usize = names.iter().map(|name| safe::width(name) + 2).sum();
    if names.len() > 1 {
        // Alone, it has the whole border.
        let room = if total + 10 > usize::from(width) { usize::from(width).saturating_sub(20) } else { TAB };
        names[chosen] = format!("[{}]", name(&views[chosen], room.max(8)));
    }
    let mut tabs = Vec::new();
    // The border's corner, and a space before the title.
    let mut start = 2;
    for (view, text) in names.into_iter().enumerate() {
        // Where not all fit, the one that is shown stays.
        if total + 10 > usize::from(width) && view != chosen {
            continue;
        }
        let next = start + safe::width(&text) as u16 + 2;
        tabs.push(Tab { text, view, start, chosen: view == chosen });
        start = next;
    }
    tabs
}

fn title(state: &State, width: u16, theme: &Theme) -> Line<'static> {
    let tabs = tabs(state, width, theme);
    let (shown, all) = (tabs.len(), state.views().len());
    let mut spans = Vec::new();
    for (at, tab) in tabs.into_iter().enumerate() {
        if at > 0 {
            spans.push(Span::raw("  "));
        }
        let style = theme.style(if tab.chosen { Role::Title } else { Role::Muted });
        spans.push(Span::styled(tab.text, if tab.chosen { style.add_modifier(Modifier::BOLD) } else { style }));
        if shown < all {
            spans.push(Span::styled(format!("  {} of {all}", tab.view + 1), theme.style(Role::Muted)));
        }
    }
    Line::from(spans)
}
