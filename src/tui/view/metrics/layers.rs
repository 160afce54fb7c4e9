//! One figure as bars, by layer: runs that differ in their layer only.

use ratatui::text::{Line, Span};

use crate::{
    safe,
    tui::{
        state::State,
        theme::{Role, Theme},
        widgets::{bars, format},
    },
};

/// Cells of a bar, at most.
const BAR: usize = 48;

pub fn lines(state: &State, width: usize, theme: &Theme) -> (Vec<Line<'static>>, Vec<Line<'static>>) {
    let layers = state.layers();
    let figure =
        layers.first().and_then(|layer| layer.table.rows.get(state.metrics.figure % layer.table.rows.len().max(1)));
    let Some(figure) = figure else { return Default::default() };
    let muted = theme.style(Role::Muted);
    let key = state
        .keymap
        .key_of(crate::tui::keys::action::Action::NextFigure, &[crate::tui::keys::action::Context::Metrics]);
    let head = Line::from(vec![
        Span::styled(format!(" {}", safe::line(&figure.name)), theme.style(Role::Title)),
        Span::styled(format!("   {key} next figure"), muted),
    ]);
    let value = |layer: &crate::tui::state::Layer, at: usize| {
        let row = layer.table.rows.iter().find(|row| row.name == figure.name && row.category == figure.category)?;
        row.values.get(at).copied().flatten().filter(|v| v.is_finite())
    };
    let all = |at| layers.iter().filter_map(move |layer| value(layer, at));
    let variants = &layers[0].table.variants;
    let most = (0..variants.len()).flat_map(all).map(f64::abs).fold(0.0, f64::max);
    let cells = width.saturating_sub(26).min(BAR);
    let mut body = Vec::new();
    for layer in &layers {
        body.push(Line::styled(
            format!(" {}", safe::cut(&safe::line(layer.hook), width.saturating_sub(2), theme.ascii)),
            muted,
        ));
        for (at, &variant) in variants.iter().enumerate() {
            let value = value(layer, at);
            let share = value.map_or(0.0, |v| if most > 0.0 { v.abs() / most } else { 0.0 });
            body.push(Line::from(vec![
                Span::styled(format!("   {:<10}", variant.name()), theme.style(variant)),
                Span::styled(bars::meter(share, cells, theme.ascii), theme.style(variant)),
                Span::raw(format!(" {:>9}", value.map_or("-".to_owned(), format::figure))),
            ]));
        }
    }
    (vec![head], body)
}
