//! The table of latents: what each variant makes of them.

mod columns;

use columns::{Column, columns, digits, of_pair};
use prunelens_core::compare::Variant;
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    style::Style,
    text::{Line, Span},
};

use crate::{
    safe,
    tui::{
        keys::action::{Action, Context},
        state::{Cause, Change, Pair, Panel, Pointed, Row, Sort, State, Target},
        theme::{Role, Theme},
        view::loading,
        widgets::{self, bars, format, line_at, put, skip},
    },
};

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    if !state.has_session() {
        return loading::render(area, buffer, state, theme);
    }
    let dot = theme.symbol("·", "-");
    let sort = state.keymap.key_of(Action::Sort, &[Context::Explore]);
    let kept = if state.table.disordered { ", as it was" } else { "" };
    let foot = match state.table.rows.is_empty() {
        true => (String::new(), String::new()),
        false => {
            let order = format!("{sort} {} {}{kept}", state.table.sort.name(), theme.symbol("▾", "v"));
            // Both have a blank on either side, and a corner or a line beyond it.
            let room = usize::from(area.width).saturating_sub(safe::width(&order) + 7);
            (counts(state.table.active(), &state.setting().value(), room, dot), order)
        }
    };
    let panel = widgets::Panel::new(title(state, theme), state.focus == Panel::Latents).foot(foot.0, foot.1);
    let Some(shown) = &state.shown else {
        return empty(panel.render(area, buffer, theme), buffer, state, theme);
    };
    let rows = &state.table.rows;
    let digits = digits(state.info.as_ref().map_or(0, |i| i.d_sae));
    let variants: Vec<Variant> = shown.comparison.views.iter().map(|v| v.variant).collect();
    let named = rows.iter().any(|row| state.called(row.latent).is_some());
    let width = area.width.saturating_sub(2);
    let columns = match state.pair {
        Some(_) => of_pair(width, &variants, digits),
        None => columns(width, &variants, digits, named),
    };
    let told = columns.iter().filter(|column| matches!(column, Column::Value(_) | Column::Pair(_))).count();
    let left_out = told < variants.len();
    // An order by a column that there is no room for has to be said.
    let by = match state.table.sort {
        Sort::By(variant)
            if !columns.iter().any(|c| matches!(c, Column::Value(v) | Column::Pair(v) if *v == variant)) =>
        {
            format!(", by {variant}")
        }
        _ => String::new(),
    };
    let note = if left_out { format!("{told} of {} variants{by}", variants.len()) } else { String::new() };
    let inside = panel.note(note).render(area, buffer, theme);
    let target = state.target();
    let fresh = Variant::ALL.map(|variant| state.fresh(|target| shown.is_fresh(variant, target)));
    let paths_fresh = state.fresh(|target| shown.paths_fresh(target));
    put(buffer, inside, heads(&columns, digits, state, theme));
    let before = columns.iter().take_while(|column| !matches!(column, Column::Change)).chain([&Column::Change]);
    let own = before.map(|column| column.width(digits)).sum::<usize>() as u16;
    let body = Rect { y: inside.y + 1, height: inside.height.saturating_sub(1), ..inside };
    let visible = usize::from(body.height);
    let selected = state.latent.and_then(|l| state.table.position(l));
    let first = widgets::offset(selected.unwrap_or(0), rows.len(), visible);
    for (at, row) in rows.iter().enumerate().skip(first).take(visible) {
        let line = line_at(body, (at - first) as u16);
        let drawing = Drawing {
            pair: state.pair.as_ref(),
            target: &target,
            name: state.called(row.latent),
            fresh,
            paths_fresh,
            theme,
            digits,
            selected: selected == Some(at),
            place: state.knobs.position(),
        };
        put(buffer, line, drawing.line(row, &columns));
        if drawing.selected {
            // What stands behind is of another SAE, or of other ratios; and a move need not draw it again.
            widgets::select(buffer, Rect { width: own.min(line.width), ..line }, theme);
        }
    }
    if rows.is_empty() {
        let text = if shown.comparison.views.is_empty() {
            "no SAE is loaded: start with --sae to see latents"
        } else {
            "no latent fires here: try another token"
        };
        put(buffer, skip(line_at(body, 1), 2), Line::styled(text, theme.style(Role::Muted)));
    }
    widgets::scrollbar(buffer, area, rows.len(), visible, first, theme);
}

/// The row drawn at a point of the table.
pub fn hit(area: Rect, state: &State, _: &Theme, at: Position) -> Option<Pointed> {
    // Border and heads come before the rows.
    let line = usize::from(at.y.checked_sub(area.y + 2)?);
    let visible = usize::from(area.height.saturating_sub(3));
    let selected = state.latent.and_then(|l| state.table.position(l)).unwrap_or(0);
    let row = widgets::offset(selected, state.table.rows.len(), visible) + line;
    (line < visible && row < state.table.rows.len()).then_some(Pointed::Row(row))
}

/// How many latents fire where: of what the pruned model has, the SAE leaves so many at the setting.
/// In full where there is room.
fn counts([original, on_model, left]: [usize; 3], setting: &str, room: usize, dot: &str) -> String {
    let whole = format!(
        "{original} latents active on the original {dot} {on_model} on the pruned model {dot} {left} of these left at {setting}"
    );
    match safe::width(&whole) <= room {
        true => whole,
        false => format!("{original} original {dot} {on_model} pruned model {dot} {left} left"),
    }
}

fn title(state: &State, theme: &Theme) -> String {
    let token = state.shown.as_ref().and_then(|s| s.comparison.tokens.get(state.token));
    let earlier = if state.shows_earlier_text() { ", of the earlier text" } else { "" };
    match token {
        _ if state.shown.is_none() => "latents".into(),
        _ if state.table.whole && state.pair.is_some() => format!("latents, strongest of each prompt{earlier}"),
        _ if state.table.whole => format!("latents, strongest of the whole prompt{earlier}"),
        Some(token) => {
            let short = |piece: &[u8]| safe::cut(&safe::piece(piece, theme.ascii), 24, theme.ascii);
            format!("latents at {} {}{}{earlier}", state.token, short(&token.piece), beside(state, short))
        }
        None => "latents".into(),
    }
}

/// The token of the second prompt that stands beside the selected one.
fn beside(state: &State, short: impl Fn(&[u8]) -> String) -> String {
    let Some(pair) = &state.pair else { return String::new() };
    let Some(shown) = &pair.shown else { return ", the second prompt is being read".into() };
    match pair.beside(state.token).and_then(|at| Some((at, shown.comparison.tokens.get(at)?))) {
        Some((at, token)) => format!(" and at {at} {}", short(&token.piece)),
        None => ", which has nothing beside it".into(),
    }
}

/// What will be here, before there is a prompt.
fn empty(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let lines = [
        "Each row will be one latent of the SAE that fires on your prompt:",
        "what it was on the original model, what is left of it on the pruned one,",
        "and what remains when the SAE is pruned too.",
    ];
    let waiting = state.comparing();
    let top = area.height.saturating_sub(lines.len() as u16) / 2;
    if waiting {
        let text = format!("{} reading the prompt", widgets::spinner(state.spin(), theme.ascii));
        return put(buffer, line_at(area, top), Line::styled(text, theme.style(Role::Muted)).centered());
    }
    for (at, line) in lines.into_iter().enumerate() {
        put(buffer, line_at(area, top + at as u16), Line::styled(line, theme.style(Role::Muted)).centered());
    }
}

fn heads(columns: &[Column], digits: usize, state: &State, theme: &Theme) -> Line<'static> {
    let muted = theme.style(Role::Muted);
    let down = theme.symbol("▾", "v");
    let head = |text: &str, sort: Option<Sort>, width: usize, style: Style| {
        let sorted = sort == Some(state.table.sort);
        let text = if sorted { format!("{text}{down}") } else { text.to_owned() };
        Span::styled(format!("{text:>width$}"), style)
    };
    let mut spans = Vec::new();
    for &column in columns {
        match column {
            Column::Latent => {
                spans.push(Span::styled(format!("  {:<w$}", "latent", w = column.width(digits) - 2), muted))
            }
            Column::Name(cells) => spans.push(Span::styled(format!("{:<cells$}", "name"), muted)),
            Column::Value(v) => spans.push(head(v.name(), Some(Sort::By(v)), Column::VALUE, theme.style(v))),
            Column::Pair(v) => {
                let [first, second, between] = Column::PAIR;
                let by = (v == Variant::Original).then_some(Sort::Difference);
                spans.push(head(v.name(), Some(Sort::By(v)), first, theme.style(v)));
                spans.push(Span::styled(format!("{:>second$}", "2nd"), theme.style(v)));
                // A cell is left before the next variant's name.
                spans.push(head(theme.symbol("Δ", "diff"), by, between - 1, muted));
                spans.push(Span::raw(" "));
            }
            Column::Change => {
                spans.push(head(theme.symbol("Δ", "diff"), Some(Sort::Difference), Column::CHANGE, muted))
            }
            Column::Match => {
                spans.push(Span::styled(format!("  {:<w$}", "match", w = column.width(digits) - 2), muted))
            }
            Column::Path(cells) => spans.push(Span::styled(format!("  {:<cells$}", "path"), muted)),
        }
    }
    Line::from(spans)
}

/// What the cells of one row need to know.
struct Drawing<'a> {
    pair: Option<&'a Pair>,
    target: &'a Target,
    /// In the order of [`Variant::ALL`].
    fresh: [bool; 4],
    paths_fresh: bool,
    theme: &'a Theme,
    digits: usize,
    /// What the row's latent is called, and by whom if by others.
    name: Option<(&'a str, Option<&'a str>)>,
    selected: bool,
    /// Where the slider stands.
    place: f64,
}

impl Drawing<'_> {
    fn line(&self, row: &Row, columns: &[Column]) -> Line<'static> {
        let mut spans = Vec::new();
        for &column in columns {
            match column {
                Column::Latent => {
                    let mark = if self.selected { self.theme.symbol("▸", ">") } else { " " };
                    spans.push(Span::styled(format!("{mark} "), self.theme.style(Role::Accent)));
                    spans.push(Span::styled(
                        format!("{:<w$}", format!("#{}", row.latent), w = column.width(self.digits) - 2),
                        self.style(Variant::Original, Role::Text),
                    ));
                }
                Column::Name(cells) => spans.push(self.name(cells)),
                Column::Value(variant) => {
                    let style = |role| self.style(variant, role);
                    spans.push(self.value(row.value(variant), Column::VALUE, style));
                }
                Column::Pair(variant) => self.pair(row, variant, &mut spans),
                Column::Change => spans.push(self.change(row)),
                Column::Match => spans.push(self.matched(row)),
                Column::Path(cells) => self.path(row, cells, &mut spans),
            }
        }
        Line::from(spans)
    }

    /// A role's style, or that of old figures where the variant's have not come yet.
    fn style(&self, variant: Variant, role: Role) -> Style {
        self.theme.style(if self.fresh[variant as usize] { role } else { Role::Old })
    }

    /// Own names in the text's colour, those of others muted.
    fn name(&self, cells: usize) -> Span<'static> {
        let (text, role) = match self.name {
            None => ("", Role::Muted),
            Some((text, None)) => (text, Role::Text),
            Some((text, Some(_))) => (text, Role::Muted),
        };
        let text = safe::cut(&safe::line(text), cells.saturating_sub(1), self.theme.ascii);
        let pad = " ".repeat(cells.saturating_sub(safe::width(&text)));
        Span::styled(format!("{text}{pad}"), self.theme.style(role))
    }

    fn value(&self, value: Option<f32>, width: usize, style: impl Fn(Role) -> Style) -> Span<'static> {
        let (text, role) = match value {
            None => ("-".to_owned(), Role::Muted),
            Some(v) if v > 0.0 => (format::activation(v), Role::Text),
            Some(_) => (self.theme.symbol("·", ".").to_owned(), Role::Muted),
        };
        Span::styled(format!("{text:>width$}"), style(role))
    }

    /// In the first prompt, in the second, and from the one to the other.
    fn pair(&self, row: &Row, variant: Variant, spans: &mut Vec<Span<'static>>) {
        let [first, second, between] = Column::PAIR;
        let fresh = self.pair.is_some_and(|pair| {
            pair.shown.as_ref().is_some_and(|shown| shown.is_fresh(variant, &pair.target(self.target)))
        });
        let of_second = |role| self.theme.style(if fresh { role } else { Role::Old });
        spans.push(self.value(row.value(variant), first, |role| self.style(variant, role)));
        spans.push(self.value(row.second.and_then(|values| values[variant as usize]), second, of_second));
        let (text, role) = match row.between(variant) {
            Some(d) if d > 0.0 => (format!("{}{}", self.theme.symbol("▲", "+"), format::activation(d)), Role::Gain),
            Some(d) if d < 0.0 => (format!("{}{}", self.theme.symbol("▼", "-"), format::activation(-d)), Role::Loss),
            _ => (String::new(), Role::Muted),
        };
        let style = if fresh { self.style(variant, role) } else { of_second(role) };
        spans.push(Span::styled(format!("{text:>between$}"), style));
    }

    fn change(&self, row: &Row) -> Span<'static> {
        let theme = self.theme;
        let (up, down) = (theme.symbol("▲", "+"), theme.symbol("▼", "-"));
        // The model's pruning or the SAE's; see the help.
        let mark = |cause| if cause == Cause::Model { "m" } else { "s" };
        let share = |s: f32| if s < 9.95 { format!("{:>2.0}%", s * 100.0) } else { format!("{s:>2.0}x") };
        let (text, role) = match row.change() {
            None | Some(Change::Absent) => (String::new(), Role::Muted),
            Some(Change::Same) => ("0%".into(), Role::Muted),
            Some(Change::Up(s)) => (format!("{up}{}", share(s)), Role::Gain),
            Some(Change::Down(s, cause)) => (format!("{down}{}{}", share(s), mark(cause)), Role::Loss),
            Some(Change::Dead(cause)) => (format!("{} {}", theme.symbol("✗", "x"), mark(cause)), Role::Loss),
            Some(Change::New) => (format!("{up} new"), Role::Gain),
        };
        Span::styled(format!("{text:>w$}", w = Column::CHANGE), self.style(Variant::Pruned, role))
    }

    fn matched(&self, row: &Row) -> Span<'static> {
        let text = row.matched.map(|m| {
            let mutual = if m.mutual { self.theme.symbol("↔", "=") } else { " " };
            format!("#{:<w$} {}{mutual}", m.latent, format::cosine(m.cosine), w = self.digits)
        });
        let text = text.unwrap_or_else(|| "-".into());
        Span::styled(
            format!("  {text:<w$}", w = Column::Match.width(self.digits) - 2),
            self.style(Variant::Trained, Role::Muted),
        )
    }

    /// Bright up to the live setting: that much of the path has been walked.
    fn path(&self, row: &Row, cells: usize, spans: &mut Vec<Span<'static>>) {
        spans.push(Span::raw("  "));
        let Some(path) = &row.path else { return spans.push(Span::raw(" ".repeat(cells))) };
        // Of what it was in the untouched SAE; of its own largest, where it was silent there.
        let whole = if path[0] > 0.0 { path[0] } else { path.iter().copied().fold(f32::MIN_POSITIVE, f32::max) };
        let bars = bars::spark(path, whole, cells, self.theme.ascii);
        let live = (self.place * cells as f64) as usize;
        let walked = self.theme.style(if self.paths_fresh { Role::Pruned } else { Role::Old });
        let ahead = self.theme.style(if self.paths_fresh { Role::Muted } else { Role::Old });
        let cut = (live + 1).min(cells);
        spans.push(Span::styled(bars[..cut].concat(), walked));
        spans.push(Span::styled(bars[cut..].concat(), ahead));
    }
}
