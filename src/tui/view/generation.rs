//! The prompt continued: texts of both models side by side, with and without edits, as they grow.

use prunelens_core::{
    compare::{Variant, predict::Speaker},
    generate::{Choice, End},
};
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    style::Modifier,
    text::{Line, Span},
};

use crate::{
    engine::GenerateTask,
    safe,
    tui::{
        keys::action::{Action, Context},
        state::{Continued, FIELDS, GenerationForm, New, State},
        theme::{Role, Theme},
        view::{detail, edits, frame},
        widgets::{self, bars, format, line_at, popup, put, skip, wrap},
    },
};

/// Cells from which texts of the two models stand beside each other.
const WIDE: u16 = 100;
/// Least lines of a text's panel, frame included.
const LEAST: u16 = 4;

pub fn render(area: Rect, buffer: &mut Buffer, state: &State, theme: &Theme) {
    let middle = frame(area, buffer, state, theme);
    let generation = &state.generation;
    let task = generation.asked.as_ref().map(|(_, task)| task);
    let height = 3.min(middle.height);
    let rest = Rect { y: middle.y + height, height: middle.height - height, ..middle };
    let places = places(rest, &generation.texts, generation.selected);
    prompt(Rect { height, ..middle }, buffer, state, task, places.len(), theme);
    if generation.texts.is_empty() {
        let text = if generation.going {
            format!("{} reading the prompt", widgets::spinner(state.spin(), theme.ascii))
        } else {
            let key = state.keymap.key_of(Action::Generate, &[Context::OnLatent]);
            format!("{key} continues the prompt")
        };
        return put(buffer, line_at(rest, rest.height / 2), Line::styled(text, theme.style(Role::Muted)).centered());
    }
    for (at, place) in places {
        text(place, buffer, state, at, theme);
    }
}

/// Where each text is: the original model's left and the pruned one's right, or all below each other. Where they are too
/// many, those around the selected one are seen.
fn places(area: Rect, texts: &[Continued], selected: usize) -> Vec<(usize, Rect)> {
    let column = |list: Vec<usize>, area: Rect| -> Vec<(usize, Rect)> {
        let shown = (list.len() as u16).clamp(1, (area.height / LEAST).max(1));
        let each = area.height / shown;
        let selected = list.iter().position(|at| *at == selected).unwrap_or(0);
        let first = widgets::offset(selected, list.len(), usize::from(shown));
        let place = |(row, at): (u16, usize)| {
            // The last takes what is left over.
            let height = if row + 1 == shown { area.height - each * row } else { each };
            (at, Rect { y: area.y + row * each, height, ..area })
        };
        (0..shown).zip(list.into_iter().skip(first)).map(place).collect()
    };
    let on_pruned = |of: Speaker| {
        let (Speaker::Model(variant) | Speaker::Spliced(variant) | Speaker::Edited(variant)) = of;
        variant.on_pruned_model()
    };
    let [original, pruned] =
        [false, true].map(|side| (0..texts.len()).filter(|at| on_pruned(texts[*at].of) == side).collect::<Vec<_>>());
    if area.width < WIDE || pruned.is_empty() {
        return column((0..texts.len()).collect(), area);
    }
    let half = area.width / 2;
    let mut all = column(original, Rect { width: half, ..area });
    all.extend(column(pruned, skip(area, half)));
    all
}

/// What is continued, and how.
fn prompt(area: Rect, buffer: &mut Buffer, state: &State, task: Option<&GenerateTask>, places: usize, theme: &Theme) {
    let choice = task.map_or(state.generation.choice, |task| task.choice);
    let most = task.map_or(state.generation.most, |task| task.most);
    let how = match choice {
        Choice { temperature: 0.0, .. } => format!("{most} tokens, the likeliest each time"),
        Choice { temperature, top_p, seed } => {
            let top_p = top_p.map_or_else(String::new, |p| format!(", top-p {p}"));
            format!("{most} tokens, temperature {temperature}{top_p}, seed {seed}")
        }
    };
    let edits = match task {
        Some(task) if task.edits != state.edits => {
            let key = state.keymap.key_of(Action::Generate, &[Context::OnLatent]);
            format!("edits have changed: {key} continues with them")
        }
        Some(task) if !task.edits.list.is_empty() => {
            format!("edits: {}", edits::in_force(&task.edits, usize::from(area.width / 2)))
        }
        _ => "no edits in force".into(),
    };
    let turning = if state.generation.going { widgets::spinner(state.spin(), theme.ascii) } else { "" };
    let note = match state.generation.texts.len() {
        texts if texts > places => format!("{places} of {texts} texts {turning}"),
        _ => turning.to_owned(),
    };
    let panel = widgets::Panel::new("prompt", false).note(note).foot(how, edits);
    let inside = skip(panel.render(area, buffer, theme), 1);
    let room = usize::from(inside.width).saturating_sub(1);
    let text = task.map_or_else(String::new, |task| safe::line(&task.text));
    let shown = if safe::width(&text) > room {
        format!("{}{}", theme.symbol("…", "~"), safe::end(&text, room.saturating_sub(1)))
    } else {
        text
    };
    put(buffer, inside, Line::raw(shown));
}

/// A writer by name, with what the name leaves open.
fn name(of: Speaker, task: Option<&GenerateTask>) -> String {
    match of {
        Speaker::Model(Variant::Original) => "original model".into(),
        Speaker::Model(_) => "pruned model".into(),
        Speaker::Edited(Variant::Pruned) | Speaker::Spliced(Variant::Pruned) => {
            task.map_or_else(|| "pruned, edited".into(), |task| format!("pruned {}, edited", task.setting.value()))
        }
        Speaker::Edited(variant) | Speaker::Spliced(variant) => format!("{variant}, edited"),
    }
}

/// One text in its panel: its end where it is too long, and the latents of its newest token.
fn text(area: Rect, buffer: &mut Buffer, state: &State, at: usize, theme: &Theme) {
    let generation = &state.generation;
    let Some(text) = generation.texts.get(at) else { return };
    let task = generation.asked.as_ref().map(|(_, task)| task);
    let (Speaker::Model(variant) | Speaker::Spliced(variant) | Speaker::Edited(variant)) = text.of;
    let title = Line::styled(name(text.of, task), theme.style(variant));
    let speed = text.speed().map_or_else(String::new, |speed| format!(", {speed:.1} a second"));
    let n = text.tokens.len();
    let plural = if n == 1 { "" } else { "s" };
    let panel = widgets::Panel::new(title, at == generation.selected)
        .note(format!("{n} token{plural}{speed}"))
        .foot(verdict(state, text, theme), ended(state, text));
    let inside = skip(panel.render(area, buffer, theme), 1);
    let width = usize::from(inside.width).saturating_sub(1);
    let lines = flow(state, text, width, theme);
    // Its latents take the last line where there is room for more than that.
    let below = u16::from(inside.height > 2);
    let room = usize::from(inside.height - below.min(inside.height));
    let first = lines.len().saturating_sub(room);
    for (row, line) in lines.into_iter().skip(first).enumerate() {
        put(buffer, line_at(inside, row as u16), line);
    }
    if let Some(new) = text.tokens.last().filter(|_| below > 0) {
        put(buffer, line_at(inside, inside.height - 1), newest(state, new, width, theme));
    }
}

/// Where a text leaves the one it is compared with.
fn verdict(state: &State, text: &Continued, theme: &Theme) -> Line<'static> {
    let Some(base) = state.generation.base(text.of) else { return Line::default() };
    let than = match text.of {
        Speaker::Model(_) => "the original model's",
        _ => "the same model's, not edited",
    };
    match state.generation.differs(text) {
        Some(at) => Line::styled(format!("{} differs at {at} from {than}", sign(theme)), theme.style(Role::Loss)),
        None if text.tokens.is_empty() || base.tokens.is_empty() => Line::default(),
        None => {
            let n = text.tokens.len().min(base.tokens.len());
            Line::raw(format!("as {than} for {n} token{}", if n == 1 { "" } else { "s" }))
        }
    }
}

fn sign(theme: &Theme) -> &'static str {
    theme.symbol("≠", "!=")
}

fn ended(state: &State, text: &Continued) -> &'static str {
    match text.end {
        Some(End::Special) => "ended by the model",
        Some(End::Context) => "the model can read no more",
        Some(End::Length) => "",
        None if !state.generation.going => "stopped",
        None => "",
    }
}

/// The tokens in lines, shaded by the selected latent; the first that differs is marked.
fn flow(state: &State, text: &Continued, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let differs = state.generation.differs(text);
    let here = state.latent.map_or(0.0, |latent| state.generation.strongest(latent));
    let most = state.latent.zip(state.shown.as_ref()).map_or(here, |(latent, shown)| shown.strongest(latent).max(here));
    let mut lines = vec![Line::default()];
    let mut used = 0;
    for (at, new) in text.tokens.iter().enumerate() {
        let first = differs == Some(at);
        let piece = safe::cut(&safe::excerpt(&new.token.piece, theme.ascii), width.max(4) - 3, theme.ascii);
        let mark = if first { sign(theme) } else { "" };
        let share = state.latent.filter(|_| most > 0.0).map_or(0.0, |latent| new.activation(latent) / most);
        let glyph = if theme.heat.is_empty() && share > 0.0 { bars::strength(share, theme.ascii) } else { "" };
        let cells = safe::width(&piece) + mark.len().min(2) + usize::from(!glyph.is_empty());
        let mut piece = piece;
        if used + cells > width && used > 0 {
            lines.push(Line::default());
            used = 0;
            // A line does not begin with the space between two words.
            piece = piece.strip_prefix(' ').map(str::to_owned).unwrap_or(piece);
        }
        let plain = if new.token.special { theme.style(Role::Muted) } else { theme.style(Role::Text) };
        let mut style = (share > 0.0).then(|| theme.heat.at(share)).flatten().unwrap_or(plain);
        if first {
            style = style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED);
        }
        // The sign stands before the word, behind the space.
        let space = if first && piece.starts_with(' ') { " " } else { "" };
        let spans = [
            Span::raw(space),
            Span::styled(mark, theme.style(Role::Loss).add_modifier(Modifier::BOLD)),
            Span::styled(piece.split_off(space.len()), style),
            Span::styled(glyph, theme.style(Role::Accent)),
        ];
        for span in spans.into_iter().filter(|span| !span.content.is_empty()) {
            used += span.width();
            if let Some(line) = lines.last_mut() {
                line.push_span(span);
            }
        }
    }
    lines
}

/// The strongest latents on the token that came last, as its writer's SAE reads it before any edit.
fn newest(state: &State, new: &New, width: usize, theme: &Theme) -> Line<'static> {
    let piece = safe::cut(&safe::piece(&new.token.piece, theme.ascii), 14, theme.ascii);
    let head = format!("at {piece}  ");
    let mut used = safe::width(&head);
    let mut spans = vec![Span::styled(head, theme.style(Role::Muted))];
    for (latent, activation) in new.strongest() {
        let name = safe::cut(&detail::name(state, latent), 24, theme.ascii);
        let value = format!(" {}   ", format::activation(activation));
        let cells = safe::width(&name) + value.len();
        if used + cells > width + 3 {
            break;
        }
        used += cells;
        let role = if state.latent == Some(latent) { Role::Accent } else { Role::Text };
        spans.push(Span::styled(name, theme.style(role)));
        spans.push(Span::styled(value, theme.style(Role::Muted)));
    }
    if spans.len() == 1 {
        spans.push(Span::styled("no latent fires", theme.style(Role::Muted)));
    }
    Line::from(spans)
}

/// How to continue, to be typed.
pub fn form(area: Rect, buffer: &mut Buffer, form: &GenerationForm, theme: &Theme) -> Position {
    const NAME: u16 = 15;
    let at = popup(area, 64, FIELDS.len() as u16 + 5, buffer);
    let panel = widgets::Panel::new("continue the prompt", true).foot(Line::default(), "Enter continues, Esc closes");
    let inside = skip(panel.render(at, buffer, theme), 1);
    let mut cursor = inside.as_position();
    for (row, ((name, _), text)) in FIELDS.iter().zip(&form.fields).enumerate() {
        let line = line_at(inside, row as u16);
        let selected = row == form.selected;
        let mark = if selected { theme.symbol("▸", ">") } else { " " };
        put(buffer, line, Line::styled(mark, theme.style(Role::Accent)));
        put(buffer, skip(line, 2), Line::styled(*name, theme.style(Role::Muted)));
        let value = skip(line, NAME);
        let shown = safe::end(&safe::line(text), usize::from(value.width).saturating_sub(2));
        if selected {
            let x = value.x + safe::width(&shown) as u16;
            cursor = Position::new(x.min(inside.right().saturating_sub(1)), value.y);
        }
        put(buffer, value, Line::raw(shown));
    }
    let (_, meaning) = FIELDS[form.selected.min(FIELDS.len() - 1)];
    for (row, line) in wrap(meaning, usize::from(inside.width).saturating_sub(2)).into_iter().enumerate() {
        let at = line_at(inside, FIELDS.len() as u16 + 1 + row as u16);
        put(buffer, at, Line::styled(line, theme.style(Role::Muted)));
    }
    cursor
}
