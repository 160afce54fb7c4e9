//! What stands in the table's place while a session loads, and when that failed.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        state::{Phase, Progress, State},
        theme::{Role, Theme},
        widgets::{self, bars, format, line_at, put, spinner, wrap},
    },
};

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let inside = widgets::Panel::new("session", false).render(area, buffer, theme);
    let width = inside.width.saturating_sub(4).min(72);
    let column = Rect { x: inside.x + (inside.width - width) / 2, width, ..inside };
    let lines = match &state.phase {
        Phase::Loading { progress, since } => {
            let seconds = state.now.saturating_sub(*since).as_secs_f64();
            loading(progress.as_ref(), seconds, usize::from(width), state.spin(), theme)
        }
        Phase::Failed(message) => failed("The session could not be loaded.", message, usize::from(width), theme),
        Phase::Crashed(message) => failed("The engine stopped.", message, usize::from(width), theme),
        Phase::Ready => Vec::new(),
    };
    let top = inside.height.saturating_sub(lines.len() as u16) / 2;
    for (at, line) in lines.into_iter().enumerate() {
        put(buffer, line_at(column, top + at as u16), line);
    }
}

fn loading(progress: Option<&Progress>, seconds: f64, width: usize, frame: usize, theme: &Theme) -> Vec<Line<'static>> {
    let muted = theme.style(Role::Muted);
    let spin = Span::styled(format!("{} ", spinner(frame, theme.ascii)), theme.style(Role::Accent));
    let Some(progress) = progress else {
        return vec![Line::from(vec![spin, Span::raw("loading")])];
    };
    let mut lines =
        vec![Line::from(vec![spin, Span::raw(safe::cut(&safe::line(&progress.what), width - 2, theme.ascii))])];
    let amount = |n: u64| if progress.unit == "bytes" { format::bytes(n) } else { n.to_string() };
    let unit = if progress.unit == "bytes" { "" } else { progress.unit };
    if progress.total > 0 {
        let share = progress.done as f64 / progress.total as f64;
        let meter = Span::styled(bars::meter(share, width.saturating_sub(8), theme.ascii), theme.style(Role::Accent));
        lines.push(Line::from(vec![meter, Span::raw(format!("  {:>3.0} %", 100.0 * share.min(1.0)))]));
        let mut note = format!("{} of {} {unit}", amount(progress.done), amount(progress.total));
        // The first moments say nothing about the pace.
        if progress.done > 0 && seconds > 1.0 {
            let rate = progress.done as f64 / seconds;
            let (pace, by) = format::pace(rate);
            note += &match unit {
                "" => format!("   {}/s", format::bytes(rate as u64)),
                unit => format!("   {pace} {unit}/{by}"),
            };
            note += &format!("   {} left", format::time((progress.total.saturating_sub(progress.done)) as f64 / rate));
        }
        lines.push(Line::styled(note, muted));
    } else if progress.done > 0 {
        lines.push(Line::styled(format!("{} {unit}", amount(progress.done)), muted));
    }
    lines.push(Line::default());
    lines.push(Line::styled("You can type already. Ctrl-C gives up.", muted));
    lines
}

fn failed(title: &'static str, message: &str, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled(title, theme.style(Role::Error)), Line::default()];
    lines.extend(wrap(&safe::line(message), width).into_iter().take(8).map(Line::raw));
    lines
}
