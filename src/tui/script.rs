//! The explorer without a terminal: the same state, update and view, driven by scripted keys.

use std::time::Duration;

use crossterm::event::KeyEvent;
use prunelens_core::{
    error::{Error, Result},
    files::write_with_folders,
};

use crate::{
    engine::{Command, EngineHandle},
    export::{self, cast::Recording},
    settings::{environment, open},
    tui::{
        keys::keymap::Key,
        options::{self, RenderOptions, first_state},
        state::{Level, Overlay, Phase, State},
        studies::{self, Looker},
        theme::Theme,
        update::{self, effect::Effect, message::Message},
        view,
        waits::Waits,
    },
};

/// One thing a script does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    Key(KeyEvent),
    /// Until the engine has answered everything that was asked.
    Wait,
    /// Until no job is unfinished.
    Job,
}

/// A script such as `hello<wait>]]<tab><ctrl-p>`: characters are keys, names stand in angle brackets.
pub fn parse(script: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = script;
    while let Some(c) = rest.chars().next() {
        let step = if c == '<' {
            let (name, after) = rest[1..].split_once('>').ok_or_else(|| {
                Error::Usage(format!("keys: {rest:?} has no closing '>'; write <lt> for the character '<'"))
            })?;
            rest = after;
            match name {
                "wait" => Step::Wait,
                "job" => Step::Job,
                "s-tab" => Step::Key("backtab".parse::<Key>()?.into()),
                "bs" => Step::Key("backspace".parse::<Key>()?.into()),
                _ => Step::Key(name.parse::<Key>()?.into()),
            }
        } else {
            rest = &rest[c.len_utf8()..];
            Step::Key(Key::new(crossterm::event::KeyCode::Char(c)).into())
        };
        steps.push(step);
    }
    Ok(steps)
}

/// What a picture is written as.
#[derive(Clone, Copy, PartialEq)]
enum Format {
    Svg,
    Text,
    Cast,
}

/// Load the session, press the keys, write the screen or the recording. What the explorer warned of comes back.
pub fn render(engine: EngineHandle, options: RenderOptions) -> Result<Vec<String>> {
    let format = match options.out.extension().and_then(|e| e.to_str()) {
        Some("svg") => Format::Svg,
        Some("txt") => Format::Text,
        Some("cast") => Format::Cast,
        _ => {
            return Err(Error::Usage(format!(
                "{}: expected a name that ends in .svg, .txt or .cast",
                options.out.display()
            )));
        }
    };
    let steps = parse(&options.keys)?;
    let themes = options.look.themes()?;
    let mut state = first_state(&options.session, options.prompt.as_deref(), &themes, options.size);
    state.settings = options.settings.clone().into();
    state.opening = options.view.clone().map(Into::into);
    let mut player = Player {
        engine,
        state,
        themes,
        recording: None,
        left: false,
        looker: Looker::default(),
        waits: Waits::default(),
    };
    player.play(&steps, format == Format::Cast)?;
    player.waits.over();
    player.engine.command(Command::Quit);
    if player.state.indexing {
        // What was read of the corpus is kept before the process ends.
        while player.engine.reports.blocking_recv().is_some() {}
    }
    let (width, height) = options.size;
    let theme = player.theme();
    let (buffer, cursor) = view::draw(width, height, &player.state, theme);
    let text = match (format, player.recording.take()) {
        (Format::Cast, Some(recording)) => recording.finish().0,
        (Format::Text, _) => export::text::text(&buffer).into_bytes(),
        _ => export::svg::svg(&buffer, cursor, player.theme().page, "prunelens").into_bytes(),
    };
    write_with_folders(&options.out, &text)?;
    let warned = player.state.log.entries.iter().filter(|entry| entry.level != Level::Info);
    Ok(warned.map(|entry| entry.text.clone()).collect())
}

/// Time that passes in a recording at a key, and after the script has waited.
const KEY_TIME: Duration = Duration::from_millis(90);
const WAIT_TIME: Duration = Duration::from_millis(700);

struct Player {
    engine: EngineHandle,
    state: State,
    themes: Vec<Theme>,
    recording: Option<Recording<Vec<u8>>>,
    /// A key of the script has left the program.
    left: bool,
    looker: Looker,
    waits: Waits,
}

impl Player {
    fn play(&mut self, steps: &[Step], record: bool) -> Result<()> {
        let effects = update::start(&self.state);
        self.perform(effects);
        while matches!(self.state.phase, Phase::Loading { .. }) {
            self.take_report()?;
        }
        if let Phase::Failed(message) = &self.state.phase {
            return Err(Error::invalid(message.clone()));
        }
        if record {
            // Memory takes all that is written; so below.
            self.recording = Recording::new(Vec::new(), self.state.size, "prunelens").ok();
            self.frame();
        }
        for (at, &step) in steps.iter().enumerate() {
            // Only what is drawn needs its texts whole: every frame of a recording, of a picture the last.
            let drawn = record || steps[at + 1..].iter().all(|later| matches!(later, Step::Key(_)));
            match step {
                Step::Key(key) => {
                    self.pass(KEY_TIME);
                    self.happen(Message::KeyPressed(key));
                }
                Step::Wait => {
                    self.settle(drawn)?;
                    self.frame();
                    self.pass(WAIT_TIME);
                }
                Step::Job => {
                    while self.state.busy_jobs() {
                        self.take_report()?;
                    }
                    self.settle(drawn)?;
                }
            }
            self.frame();
            if self.left {
                break;
            }
        }
        self.pass(2 * WAIT_TIME);
        self.frame();
        Ok(())
    }

    /// Until nothing that was asked for is missing; where it is drawn, until its texts are of the whole corpus. What is
    /// looked for is chosen from, drawn or not.
    fn settle(&mut self, drawn: bool) -> Result<()> {
        if let Some(deadline) = self.state.follow.deadline {
            self.happen(Message::TimePassed(deadline.max(self.state.now)));
        }
        if let Some(due) = self.state.count_due() {
            self.happen(Message::TimePassed(due.max(self.state.now)));
        }
        while self.state.coming.is_some()
            || self.state.opening.is_some()
            || matches!(self.state.phase, Phase::Loading { .. })
            || self.state.comparing()
            || self.state.strip.waiting
            || self.state.estimating()
            || self.state.finding()
            || self.state.atlas.waiting
            || self.state.latent_incomplete()
            || ((drawn || matches!(self.state.overlay, Some(Overlay::Find(_)))) && self.state.awaits_corpus())
            || self.state.generation.going
            || self.state.pair.as_ref().is_some_and(|pair| pair.waiting)
        {
            self.take_report()?;
        }
        Ok(())
    }

    fn take_report(&mut self) -> Result<()> {
        let report = self.engine.reports.blocking_recv();
        let report = report.ok_or_else(|| Error::invalid("the engine ended before the script did"))?;
        self.waits.heard(&report);
        self.happen(Message::Reported(Box::new(report)));
        match &self.state.phase {
            Phase::Crashed(message) => Err(Error::invalid(format!("the engine stopped: {message}"))),
            _ => Ok(()),
        }
    }

    fn pass(&mut self, time: Duration) {
        // Time in a script is its own: pictures do not depend on how fast the machine is. The pause that ends typing is
        // left to `<wait>`, so that every key of a word belongs to one edit.
        self.state.now += time;
        if let Some(deadline) = &mut self.state.follow.deadline {
            *deadline = (*deadline).max(self.state.now + time);
        }
    }

    fn happen(&mut self, message: Message) {
        let effects = update::update(&mut self.state, message);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Command(command) => self.engine.command(command),
                Effect::Request(request) => self.engine.request(request),
                Effect::Complete(line) => {
                    let found = open::complete(&line, &environment);
                    self.happen(Message::Completed { line, found });
                }
                Effect::CompleteStudy(line) => {
                    let found = studies::complete(&line);
                    self.happen(Message::Completed { line, found });
                }
                Effect::Study(ask) => {
                    let told = self.looker.answer(ask);
                    self.happen(Message::Study(Box::new(told)));
                }
                Effect::Open(line) => {
                    let meant = options::meant(&self.state, line);
                    self.happen(meant);
                }
                Effect::Quit => self.left = true,
                // A script leaves no other traces than its picture, and what is asked for by name is refused.
                Effect::Export(_) | Effect::SaveView(_) | Effect::Record(Some(_)) | Effect::Explain(_) => {
                    let text = "render writes its picture and no other file; inspect --json and metrics write figures";
                    self.happen(Message::Exported(Err(text.into())));
                }
                Effect::Copy(_)
                | Effect::RememberUse
                | Effect::RecallNames(_)
                | Effect::KeepName(_)
                | Effect::KeepPrompt
                | Effect::Record(None)
                | Effect::Clear
                | Effect::Mouse(_)
                | Effect::Suspend => {}
            }
        }
    }

    fn theme(&self) -> &Theme {
        // There is always at least one theme.
        &self.themes[self.state.theme % self.themes.len()]
    }

    fn frame(&mut self) {
        let (width, height) = self.state.size;
        if self.recording.is_some() {
            let (buffer, cursor) = view::draw(width, height, &self.state, self.theme());
            if let Some(recording) = &mut self.recording {
                let _ = recording.frame(self.state.now.as_secs_f64(), &buffer, cursor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::{KeyCode, KeyModifiers};

    use super::*;

    fn key(code: KeyCode) -> Step {
        Step::Key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn scripts_are_characters_and_names() {
        let steps = parse("hé<wait>]<tab><lt><job><ctrl-p>").unwrap();
        let expected = [
            key(KeyCode::Char('h')),
            key(KeyCode::Char('é')),
            Step::Wait,
            key(KeyCode::Char(']')),
            key(KeyCode::Tab),
            key(KeyCode::Char('<')),
            Step::Job,
            Step::Key(KeyEvent::new(KeyCode::Char('p'), KeyModifiers::CONTROL)),
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn mistakes_are_named() {
        assert!(parse("a<wait").unwrap_err().to_string().contains("closing"));
        assert!(parse("<nope>").unwrap_err().to_string().contains("nope"));
    }
}
