//! The form that starts a job: its parameters, and what it will take.

use prunelens_metrics::Estimate;
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    text::{Line, Span},
};

use crate::{
    engine::{FamilyInfo, ParamInfo},
    safe,
    tui::{
        state::{Form, State},
        theme::{Role, Theme},
        widgets::{self, format, line_at, popup, put, skip, wrap},
    },
};

/// Cells of the form, and of a field's name.
const WIDTH: u16 = 78;
const NAME: u16 = 18;
/// Lines under the fields: what the field means, what is wrong, what the job takes.
const FOOT: u16 = 5;

fn place(area: Rect, form: &Form) -> Rect {
    let height = (form.fields.len() as u16 + 1 + FOOT + 2).min(area.height.saturating_sub(2)).max(8);
    let (width, height) = (WIDTH.min(area.width), height.min(area.height));
    Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height }
}

/// Rows of fields that are seen, and the first of them.
fn window(at: Rect, form: &Form) -> (usize, usize) {
    let visible = usize::from(at.height.saturating_sub(2 + FOOT)).max(1);
    (visible, widgets::offset(form.selected, form.fields.len() + 1, visible))
}

/// The row of the form at a point: 0 is the metric.
pub fn row_at(area: Rect, form: &Form, at: Position) -> Option<usize> {
    let place = place(area, form);
    let (visible, first) = window(place, form);
    let line = usize::from(at.y.checked_sub(place.y + 1)?);
    let row = first + line;
    (place.contains(at) && line < visible && row <= form.fields.len()).then_some(row)
}

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, form: &Form, theme: &Theme) -> Option<Position> {
    let info = state.info.clone()?;
    let family = info.families.get(form.family)?;
    let at = popup(area, place(area, form).width, place(area, form).height, buffer);
    let inside = widgets::Panel::new("measure", true)
        .foot(Line::default(), "Enter starts, Esc closes")
        .render(at, buffer, theme);
    let (visible, first) = window(at, form);
    let mut cursor = None;
    for row in (first..=form.fields.len()).take(visible) {
        let line = line_at(inside, (row - first) as u16);
        let end = field(line, buffer, form, family, row, info.families.len(), theme);
        if row == form.selected && row > 0 {
            cursor = Some(end);
        }
    }
    widgets::scrollbar(buffer, at, form.fields.len() + 1, visible, first, theme);
    let foot =
        Rect { y: inside.bottom().saturating_sub(FOOT.min(inside.height)), height: FOOT.min(inside.height), ..inside };
    for (at, line) in
        words(state, form, family, usize::from(foot.width).saturating_sub(2), theme).into_iter().enumerate()
    {
        put(buffer, skip(line_at(foot, at as u16 + 1), 1), line);
    }
    cursor
}

/// One row; gives where its text ends.
fn field(
    line: Rect,
    buffer: &mut Buffer,
    form: &Form,
    family: &FamilyInfo,
    row: usize,
    families: usize,
    theme: &Theme,
) -> Position {
    let selected = row == form.selected;
    let muted = theme.style(Role::Muted);
    let mark = if selected { theme.symbol("▸", ">") } else { " " };
    put(buffer, line, Line::styled(mark, theme.style(Role::Accent)));
    let value = skip(line, NAME + 2);
    let room = usize::from(value.width).saturating_sub(2);
    let turns = |text: String| {
        if selected { format!("{} {text} {}", theme.symbol("◂", "<"), theme.symbol("▸", ">")) } else { text }
    };
    let Some((param, text)) = row.checked_sub(1).and_then(|at| Some((family.params.get(at)?, form.fields.get(at)?)))
    else {
        put(buffer, skip(line, 2), Line::styled("metric", muted));
        let name = if families > 1 { turns(family.name.to_owned()) } else { family.name.to_owned() };
        let title = safe::cut(&format!("  {}", family.title), room.saturating_sub(safe::width(&name)), theme.ascii);
        let spans = [Span::styled(name, theme.style(Role::Title)), Span::styled(title, muted)];
        put(buffer, value, Line::from_iter(spans));
        return Position::new(value.x, value.y);
    };
    put(
        buffer,
        skip(line, 2),
        Line::styled(safe::cut(&param.name.replace(['-', '_'], " "), usize::from(NAME) - 1, theme.ascii), muted),
    );
    let wrong = !text.trim().is_empty() && param.kind.parse(text).is_err();
    let shown = safe::end(&safe::line(text), room.saturating_sub(4));
    let (words, role) = match (shown.is_empty(), wrong) {
        (_, true) => (shown.clone(), Role::Error),
        (true, _) => (empty(param).to_owned(), Role::Muted),
        _ => (shown.clone(), if *text == param.default { Role::Muted } else { Role::Text }),
    };
    let words = if param.kind.choices().is_some() { turns(words) } else { words };
    put(buffer, value, Line::styled(words, theme.style(role)));
    if selected {
        widgets::select(buffer, line, theme);
    }
    Position::new((value.x + safe::width(&shown) as u16).min(value.right().saturating_sub(1)), value.y)
}

/// What an empty field means.
fn empty(param: &ParamInfo) -> &'static str {
    match param.name {
        "variants" => "all that are loaded",
        "text" => "built-in held-out text",
        "corpus" => "built-in calibration text",
        "data" if param.default.is_empty() => "needed: a folder",
        "data" => "those built in",
        "datasets" => "all",
        "layers" => "the session's",
        name if name.starts_with("layer-") => "none",
        _ => "as it suits",
    }
}

/// What the field means, what is wrong, what the job will take.
fn words(state: &State, form: &Form, family: &FamilyInfo, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let muted = theme.style(Role::Muted);
    let help = form.param(family).map_or(family.title, |param| param.help);
    // Help for the command line names the default, which the field shows.
    let help = help.split(" [default").next().unwrap_or(help);
    let mut lines: Vec<Line> = wrap(help, width).into_iter().take(2).map(|row| Line::styled(row, muted)).collect();
    if let Some((at, why)) = form.mistake(family) {
        let text = format!("{}: {why}", family.params.get(at).map_or("", |p| p.name));
        lines.extend(wrap(&text, width).into_iter().map(|row| Line::styled(row, theme.style(Role::Error))));
        return lines;
    }
    match &form.estimate {
        Some(Ok(estimate)) => {
            let style = theme.style(if form.waiting { Role::Old } else { Role::Text });
            lines.extend(wrap(&takes(estimate), width).into_iter().take(2).map(|row| Line::styled(row, style)));
            if let Some(remark) = &estimate.remark {
                lines.push(Line::styled(safe::line(remark), theme.style(Role::Warning)));
            }
        }
        Some(Err(why)) => {
            let rows = wrap(&safe::line(why), width);
            lines.extend(rows.into_iter().take(2).map(|row| Line::styled(row, theme.style(Role::Error))));
        }
        None => lines.push(Line::styled("timing a short probe", theme.style(Role::Old))),
    }
    let queued = state.jobs.iter().filter(|job| job.is_busy()).count();
    if queued > 0 && lines.len() < usize::from(FOOT) {
        let text =
            if queued == 1 { "after the job that runs".to_owned() } else { format!("after {queued} other jobs") };
        lines.push(Line::styled(text, muted));
    }
    lines
}

/// "8192 tokens, 4.2 passes, about 0:38, 120 MiB".
fn takes(estimate: &Estimate) -> String {
    let mut parts = Vec::new();
    if estimate.tokens > 0 {
        parts.push(format!("{} tokens", format::count(estimate.tokens)));
    }
    if estimate.passes > 0.0 {
        parts.push(format!("{:.1} passes of a model", estimate.passes));
    }
    parts.push(match estimate.seconds {
        Some(seconds) => format!("about {}", format::time(seconds)),
        None => "how long it takes shows once it runs".into(),
    });
    if estimate.bytes > 0 {
        let free = estimate.free.map(|free| format!(" of {} free", format::bytes(free))).unwrap_or_default();
        parts.push(format!("{} of memory{free}", format::bytes(estimate.bytes)).replace("of memory of", "of the"));
    }
    parts.join(", ")
}
