//! The help overlay: keys from the table of actions, and how to read the screen.

use prunelens_core::compare::Variant;
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        keys::action::Context,
        state::State,
        theme::{Role, Theme},
        view::footer::ascii_arrows,
        widgets::{self, bars, line_at, popup, put},
    },
};

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, scroll: usize, theme: &Theme) {
    let at = popup(area, 96, area.height.saturating_sub(4).max(8), buffer);
    let panel =
        widgets::Panel::new("help", true).note(theme.symbol("↑↓ scroll, Esc closes", "Up/Down scroll, Esc closes"));
    let inside = panel.render(at, buffer, theme);
    let mut lines = legend(usize::from(inside.width), theme);
    lines.extend(keys(state, usize::from(inside.width), theme));
    if let Some(file) = &state.log_file {
        lines.push(Line::styled(format!(" details are logged to {}", safe::line(file)), theme.style(Role::Muted)));
    }
    let visible = usize::from(inside.height);
    let rows = lines.len();
    let first = scroll.min(rows.saturating_sub(visible));
    for (at, line) in lines.into_iter().skip(first).take(visible).enumerate() {
        put(buffer, line_at(inside, at as u16), line);
    }
    widgets::scrollbar(buffer, at, rows, visible, first, theme);
}

/// How the screen is read: a sign each, and what it means behind it, in as many lines as that takes.
fn legend(width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled(" How to read the screen", theme.style(Role::Title))];
    for (sign, meaning) in signs(theme) {
        let indent: usize = sign.iter().map(Span::width).sum();
        let mut lead = sign;
        for part in widgets::wrap(meaning, width.saturating_sub(indent + 1)) {
            let mut spans = std::mem::replace(&mut lead, vec![Span::raw(" ".repeat(indent))]);
            spans.push(Span::styled(part, theme.style(Role::Muted)));
            lines.push(Line::from(spans));
        }
    }
    lines.push(Line::default());
    lines
}

fn signs(theme: &Theme) -> Vec<(Vec<Span<'static>>, &'static str)> {
    let variants = [
        (Variant::Original, "the SAE on the original model: what the latent meant"),
        (Variant::Transfer, "the same SAE on the pruned model: does it carry over?"),
        (Variant::Pruned, "the SAE compressed alike, on the pruned model: is that enough?"),
        (Variant::Trained, "an SAE trained anew on the pruned model, its latents matched by cosine"),
    ];
    let named = |(variant, meaning): (Variant, _)| {
        (vec![Span::styled(format!("   {:<10}", variant.name()), theme.style(variant))], meaning)
    };
    let mut ramp = vec![Span::raw("   ")];
    for step in 1..=8 {
        let share = step as f32 / 8.0;
        ramp.push(match theme.heat.at(share) {
            Some(style) => Span::styled(" ", style),
            None => Span::raw(bars::strength(share, theme.ascii)),
        });
    }
    ramp.push(Span::raw("  "));
    let more = vec![
        Span::styled(format!("   {} ", theme.symbol("▲", "+")), theme.style(Role::Gain)),
        Span::styled(format!("{} ", theme.symbol("▼", "-")), theme.style(Role::Loss)),
        Span::styled(format!("{}     ", theme.symbol("✗", "x")), theme.style(Role::Loss)),
    ];
    let spark = bars::spark(&[1.0, 0.9, 0.7, 0.5, 0.3, 0.1], 1.0, 6, theme.ascii).concat();
    let others = [
        (ramp, "strength of an activation, weak to strong"),
        (more, "more than original, less, died; beside figures the colour says better or worse"),
        (
            vec![Span::styled("   m s       ", theme.style(Role::Loss))],
            "who took it: the model's pruning (lost in transfer already), or the SAE's",
        ),
        (
            vec![Span::styled("   0.861     ", theme.style(Role::Old))],
            "of an earlier setting or prompt: the new value is on its way",
        ),
        (
            vec![Span::styled(format!("   {spark}    "), theme.style(Role::Pruned))],
            "path: activation as the knob is turned, bright up to where it stands",
        ),
        (
            vec![Span::raw(format!("   #881 .93{} ", theme.symbol("↔", "=")))],
            "best match in trained and its cosine; the sign says that each is the other's best",
        ),
    ];
    variants.into_iter().map(named).chain(others).collect()
}

fn keys(state: &State, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for context in Context::ALL {
        lines.push(Line::styled(format!(" {}", context.title()), theme.style(Role::Title)));
        for (spec, keys) in state.keymap.rows().filter(|(s, keys)| s.context == context && !keys.is_empty()) {
            let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
            let keys = if theme.ascii { ascii_arrows(&keys.join(" ")) } else { keys.join("  ") };
            let pad = " ".repeat(18usize.saturating_sub(safe::width(&keys)));
            let mut lead = format!("   {keys}{pad} ");
            let indent = safe::width(&lead);
            for part in widgets::wrap(spec.description, width.saturating_sub(indent + 1)) {
                lines.push(Line::from(vec![
                    Span::styled(std::mem::replace(&mut lead, " ".repeat(indent)), theme.style(Role::Key)),
                    Span::styled(part, theme.style(Role::Muted)),
                ]));
            }
        }
        lines.push(Line::default());
    }
    lines
}
