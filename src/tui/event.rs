//! What may arrive from outside, as messages.

use crossterm::event::{Event, MouseButton, MouseEventKind};
use ratatui::layout::Position;

use crate::tui::{state::State, theme::Theme, update::message::Message, view::hit};

/// The message of a terminal event; some mean nothing here.
pub fn message(event: Event, state: &State, theme: &Theme) -> Option<Message> {
    match event {
        Event::Key(key) => Some(Message::KeyPressed(key)),
        Event::Paste(text) => Some(Message::Pasted(text)),
        Event::Resize(width, height) => Some(Message::Resized(width, height)),
        Event::Mouse(mouse) => {
            let at = Position::new(mouse.column, mouse.row);
            let turned = |down| hit::hit(state, theme, at).map(|over| Message::Turned { over, down });
            match mouse.kind {
                MouseEventKind::Down(MouseButton::Left) => hit::hit(state, theme, at).map(Message::Clicked),
                MouseEventKind::Drag(MouseButton::Left) => hit::dragged(state, theme, at).map(Message::Dragged),
                MouseEventKind::ScrollDown => turned(true),
                MouseEventKind::ScrollUp => turned(false),
                _ => None,
            }
        }
        Event::FocusGained | Event::FocusLost => None,
    }
}

/// What a signal asks for.
pub enum Asked {
    /// To end, by the signal of this number: a closed connection, a polite kill, an interrupt from elsewhere.
    End(i32),
    /// To go on after a stop, which another may have brought about.
    GoOn,
}

/// The signals that the explorer hears.
#[cfg(unix)]
pub struct Signals([tokio::signal::unix::Signal; 4]);

#[cfg(unix)]
impl Signals {
    pub fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let heard = [
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::interrupt(),
            SignalKind::from_raw(libc::SIGCONT),
        ];
        let [terminate, hangup, interrupt, go_on] = heard.map(signal);
        // Without it a terminal that takes nothing has to be killed.
        let _ = end_in_any_case();
        Ok(Self([terminate?, hangup?, interrupt?, go_on?]))
    }

    /// The next that comes.
    pub async fn recv(&mut self) -> Asked {
        use tokio::signal::unix::SignalKind;
        let [terminate, hangup, interrupt, go_on] = &mut self.0;
        let kind = tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hangup.recv() => SignalKind::hangup(),
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = go_on.recv() => return Asked::GoOn,
        };
        Asked::End(kind.as_raw_value())
    }
}

/// How long whoever asks for the end is kept waiting: longer than jobs may take to be saved.
#[cfg(unix)]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// The end that was asked for comes, even while a terminal that takes no output holds up the loop.
#[cfg(unix)]
fn end_in_any_case() -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGHUP])?;
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            std::thread::sleep(PATIENCE);
            std::process::exit(128 + signal);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}

#[cfg(not(unix))]
pub struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    pub async fn recv(&mut self) -> Asked {
        // Without a handler there is nothing to wait for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        // Of an interrupt, as everywhere.
        Asked::End(2)
    }
}
