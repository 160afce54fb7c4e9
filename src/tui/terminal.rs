//! The terminal: taken over at the start, given back whatever happens.

use std::{
    env,
    io::{self, IsTerminal, Write},
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossterm::{
    Command as _,
    clipboard::CopyToClipboard,
    cursor::{SetCursorStyle, Show},
    event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture},
    execute,
    terminal::{
        EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
    },
};
use prunelens_core::error::{Error, Result};

use ratatui::{buffer::Buffer, layout::Position};

use crate::{ansi::Painter, process};

/// The terminal is ours and has to be given back.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Around a frame, so that it is seen whole.
const SYNCHRONIZED: [&str; 2] = ["\x1b[?2026h", "\x1b[?2026l"];

pub struct Terminal {
    painter: Painter,
}

/// A frame on its way.
pub struct Sent {
    pub bytes: usize,
    /// How long the terminal would not take it.
    pub held_up: Duration,
}

fn io(source: io::Error) -> Error {
    Error::Io { path: "terminal".into(), source }
}

impl Terminal {
    pub fn take() -> Result<Self> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(Error::Usage(
                "the explorer needs a terminal; prunelens render draws it without one, prunelens inspect prints figures".into(),
            ));
        }
        restore_before_panics_are_told();
        enter().map_err(io)?;
        Ok(Self { painter: Painter::default() })
    }

    pub fn size(&self) -> (u16, u16) {
        size().unwrap_or((80, 24))
    }

    /// Show what has changed since the last frame, as one update of the screen.
    pub fn show(&mut self, buffer: &Buffer, cursor: Option<Position>) -> Result<Sent> {
        let frame = self.painter.frame(buffer, cursor);
        if frame.is_empty() {
            return Ok(Sent { bytes: 0, held_up: Duration::ZERO });
        }
        let [begin, end] = SYNCHRONIZED;
        let frame = [begin, &frame, end].concat();
        let (began, waits) = (Instant::now(), process::thread_waits());
        send(frame.as_bytes())?;
        // Where the processors are busy a write may take long, though the terminal takes all at once.
        let waited = waits.is_none() || process::thread_waits() != waits;
        Ok(Sent { bytes: frame.len(), held_up: if waited { began.elapsed() } else { Duration::ZERO } })
    }

    /// Forget what is on screen, so that the next frame draws everything.
    pub fn clear(&mut self) {
        self.painter.forget();
    }

    /// Hand text to the terminal's clipboard.
    pub fn copy(&mut self, text: &str) -> Result<()> {
        let mut sequence = String::new();
        // Writing into a string cannot fail.
        let _ = CopyToClipboard::to_clipboard_from(text).write_ansi(&mut sequence);
        let wrapped = wrap_for_multiplexer(&sequence, env::var_os("TMUX").is_some(), env::var_os("STY").is_some());
        send(wrapped.as_bytes())
    }

    /// Take the mouse, or give it back.
    pub fn mouse(&mut self, take: bool) -> Result<()> {
        let mut out = io::stdout();
        if take { execute!(out, EnableMouseCapture) } else { execute!(out, DisableMouseCapture) }.map_err(io)
    }

    /// Stop until the shell brings the program back.
    #[cfg(unix)]
    pub fn suspend(&mut self) -> Result<()> {
        restore();
        // SAFETY: raising a signal for this process has no memory effects.
        unsafe { libc::raise(libc::SIGTSTP) };
        enter().map_err(io)?;
        self.clear();
        Ok(())
    }

    #[cfg(not(unix))]
    pub fn suspend(&mut self) -> Result<()> {
        Ok(())
    }

    /// After a stop that somebody else brought about, who gave nothing back: the shell has put its own modes in place of ours, and
    /// written over the screen.
    pub fn go_on(&mut self) -> Result<()> {
        // Else the modes are thought to be ours still.
        disable_raw_mode().and_then(|()| enter()).map_err(io)?;
        self.clear();
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

fn send(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(io)
}

fn enter() -> io::Result<()> {
    TAKEN.store(true, Ordering::SeqCst);
    enable_raw_mode()?;
    let entered = execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, SetCursorStyle::SteadyBar);
    entered.inspect_err(|_| restore())
}

/// Give the terminal back; does nothing when it was not taken. Errors are of no use here: the terminal may be gone.
pub fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(
            io::stdout(),
            EndSynchronizedUpdate,
            DisableMouseCapture,
            DisableBracketedPaste,
            SetCursorStyle::DefaultUserShape,
            LeaveAlternateScreen,
            Show
        );
        let _ = disable_raw_mode();
    }
}

/// A panic of the interface restores the terminal first. One of another thread is reported through its channel, and its
/// text must not run across the screen: it goes to the log.
fn restore_before_panics_are_told() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let interface = thread::current().id();
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if thread::current().id() == interface || !TAKEN.load(Ordering::SeqCst) {
                restore();
                tell(info);
            } else {
                tracing::error!("{info}");
            }
        }));
    });
}

/// Terminal multiplexers pass sequences on only when they are wrapped.
fn wrap_for_multiplexer(sequence: &str, tmux: bool, screen: bool) -> String {
    if tmux {
        format!("\x1bPtmux;{}\x1b\\", sequence.replace('\x1b', "\x1b\x1b"))
    } else if screen {
        // screen takes at most 768 bytes at a time.
        let chunks = sequence.as_bytes().chunks(512).map(|c| format!("\x1bP{}\x1b\\", String::from_utf8_lossy(c)));
        chunks.collect()
    } else {
        sequence.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipboard_text_passes_multiplexers() {
        assert_eq!(wrap_for_multiplexer("\x1b]52;c;eA==\x1b\\", false, false), "\x1b]52;c;eA==\x1b\\");
        assert_eq!(wrap_for_multiplexer("\x1b]52\x1b\\", true, false), "\x1bPtmux;\x1b\x1b]52\x1b\x1b\\\x1b\\");
        let long = "x".repeat(1200);
        assert_eq!(wrap_for_multiplexer(&long, false, true).matches("\x1bP").count(), 3);
    }
}
