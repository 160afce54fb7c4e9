//! What is loaded, and what uses memory.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        state::State,
        theme::{Role, Theme},
        view::{figures, frame},
        widgets::{self, bars, format, line_at, put},
    },
};

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let middle = frame(area, buffer, state, theme);
    let inside = widgets::Panel::new("session", true).render(middle, buffer, theme);
    let lines = lines(state, theme, usize::from(inside.width));
    let visible = usize::from(inside.height);
    let rows = lines.len();
    let first = state.scroll.min(rows.saturating_sub(visible));
    for (at, line) in lines.into_iter().skip(first).take(visible).enumerate() {
        put(buffer, line_at(inside, at as u16), line);
    }
    widgets::scrollbar(buffer, middle, rows, visible, first, theme);
}

fn lines(state: &State, theme: &Theme, width: usize) -> Vec<Line<'static>> {
    let muted = theme.style(Role::Muted);
    let Some(info) = &state.info else { return vec![Line::styled(" nothing is loaded yet", muted)] };
    let row = |name: &str, value: String| {
        Line::from(vec![
            Span::styled(format!(" {name:<18}"), muted),
            Span::raw(safe::cut(&safe::line(&value), width.saturating_sub(20), theme.ascii)),
        ])
    };
    let join = |names: Vec<&str>| names.join(", ");
    let mut lines = vec![
        row("model", format!("{}, {} weights, {} layers", info.model, format::count(info.parameters), info.n_layers)),
        row("pruned model", info.compression.clone()),
        row("hook point", info.hook.clone()),
        row("SAE", format!("{}, {} latents", info.sae, info.d_sae)),
        row("activations", info.space.clone()),
        row("variants", join(info.variants.iter().map(|v| v.name()).collect())),
        row("criteria", join(info.criteria.iter().map(|c| c.name()).collect())),
        row("longest prompt", format!("{} tokens", info.context)),
        row("device", format!("{}, {}", info.device, info.dtype)),
        row(
            "a short prompt",
            format!("takes {:.0} ms{}", info.probe_ms, if state.slow() { ", so Enter compares" } else { "" }),
        ),
        row("results folder", state.spec.results.display().to_string()),
        row("theme", theme.name.clone()),
        Line::default(),
    ];
    let figures = figures::all(width as u16, state, theme);
    if !figures.is_empty() {
        lines.push(Line::styled(" this prompt", theme.style(Role::Title)));
        lines.extend(figures);
        lines.push(Line::default());
    }
    lines.push(Line::styled(" memory", theme.style(Role::Title)));
    let parts = &state.memory.parts;
    let most = parts.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0).max(1);
    for (name, bytes) in parts {
        let name = safe::cut(&safe::line(name), 28, theme.ascii);
        let pad = " ".repeat(30usize.saturating_sub(safe::width(&name)));
        lines.push(Line::from(vec![
            Span::styled(format!(" {name}{pad}"), muted),
            Span::raw(format!("{:>9}  ", format::bytes(*bytes))),
            Span::styled(bars::meter(*bytes as f64 / most as f64, 24, theme.ascii), theme.style(Role::Accent)),
        ]));
    }
    let wholes = [("whole process", Some(state.memory.in_use())), ("whole GPU, all programs", state.memory.gpu)];
    for (name, bytes) in wholes.into_iter().filter_map(|(name, bytes)| Some((name, bytes?))) {
        lines.push(Line::from(vec![
            Span::styled(format!(" {name:<30}"), muted),
            Span::raw(format!("{:>9}", format::bytes(bytes))),
        ]));
    }
    if !info.warnings.is_empty() {
        lines.push(Line::default());
        lines.push(Line::styled(" warnings", theme.style(Role::Title)));
        for warning in &info.warnings {
            let rows = widgets::wrap(&safe::line(warning), width.saturating_sub(4));
            lines.extend(rows.into_iter().map(|r| Line::styled(format!("  {r}"), theme.style(Role::Warning))));
        }
    }
    lines
}
