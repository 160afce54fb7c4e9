//! The program itself in a terminal of its own: what a person sees and what is left behind.
#![cfg(unix)]

use std::{
    io::{Read, Write},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// Nothing here takes longer on any machine that is not stuck.
const PATIENCE: Duration = Duration::from_secs(120);

struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    /// Every byte the program has written.
    bytes: Vec<u8>,
    /// Folders of its own, kept until the end.
    _home: tempfile::TempDir,
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}

impl Terminal {
    fn start(columns: u16, rows: u16, variables: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let pair = native_pty_system().openpty(size(columns, rows)).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_prunelens"));
        command.env_clear();
        for name in ["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"] {
            command.env(name, home.path());
        }
        command.env("TERM", "xterm-256color");
        for (name, value) in variables {
            command.env(name, value);
        }
        command.cwd(home.path());
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let (sender, output) = channel();
        let mut reader = pair.master.try_clone_reader().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let keys = pair.master.take_writer().unwrap();
        Self {
            child,
            keys,
            output,
            screen: vt100::Parser::new(rows, columns, 0),
            bytes: Vec::new(),
            master: pair.master,
            _home: home,
        }
    }

    fn take(&mut self, bytes: Vec<u8>) {
        self.screen.process(&bytes);
        self.bytes.extend(bytes);
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Read until the screen shows something.
    fn see(&mut self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.screen.screen().contents().contains(what) {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.take(bytes),
                Err(_) => panic!("never saw {what:?}, but\n{}", self.screen.screen().contents()),
            }
        }
    }

    /// Read until nothing has come for a while; says how many bytes came before that.
    fn rest(&mut self, quiet: Duration) -> usize {
        let before = self.bytes.len();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.output.recv_timeout(quiet) {
                Ok(bytes) => self.take(bytes),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return self.bytes.len() - before,
            }
            assert!(Instant::now() < deadline, "it never rests");
        }
    }

    /// Wait for the end; the exit code.
    fn end(&mut self) -> u32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.rest(Duration::from_millis(100));
                return status.exit_code();
            }
            assert!(Instant::now() < deadline, "it does not end");
            if let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(20)) {
                self.take(bytes);
            }
        }
    }

    /// The terminal is as it was: main screen, cursor seen, no pasting mode.
    fn assert_restored(&self) {
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen(), "still on the alternate screen");
        assert!(!screen.hide_cursor(), "the cursor is hidden");
        assert!(!screen.bracketed_paste(), "pastes are still bracketed");
        assert!(self.bytes.windows(8).any(|w| w == b"\x1b[?1049l"));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[test]
fn a_latent_can_be_watched_while_the_ratio_moves() {
    let mut terminal = Terminal::start(120, 36, &[("COLORTERM", "truecolor")]);
    terminal.see("wanda 50%");
    terminal.press("1");
    terminal.see("latents at");
    terminal.press("]]]");
    terminal.see("ratio 0.40");
    terminal.see("alive");
    terminal.rest(Duration::from_millis(1500));
    assert_eq!(terminal.rest(Duration::from_millis(700)), 0, "something is written while nothing happens");
    terminal.press("?");
    terminal.see("How to read the screen");
    terminal.press("?q");
    assert_eq!(terminal.end(), 0);
    terminal.assert_restored();
}

#[test]
fn it_follows_the_size_of_the_terminal() {
    let mut terminal = Terminal::start(120, 36, &[]);
    terminal.see("wanda 50%");
    for (columns, rows, what) in [(80, 24, "ratio 0.25"), (30, 8, "60x16"), (1, 1, ""), (200, 60, "wanda 50%")] {
        terminal.screen.screen_mut().set_size(rows, columns);
        terminal.master.resize(size(columns, rows)).unwrap();
        terminal.see(what);
    }
    // The prompt has the focus: a letter is typed, and Ctrl-C leaves all the same.
    terminal.press("q\u{3}");
    assert_eq!(terminal.end(), 0);
    terminal.assert_restored();
}

#[test]
fn signals_give_the_terminal_back() {
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        let mut terminal = Terminal::start(80, 24, &[]);
        terminal.see("prompt");
        let pid = terminal.child.process_id().unwrap();
        // SAFETY: the process is our own child and has not been waited for.
        assert_eq!(unsafe { libc::kill(pid as libc::pid_t, signal) }, 0);
        terminal.end();
        terminal.assert_restored();
    }
}

#[test]
fn pastes_wide_characters_and_no_colours() {
    let mut terminal = Terminal::start(100, 30, &[("NO_COLOR", "1")]);
    terminal.see("wanda 50%");
    terminal.press("\u{1b}[200~日本 café\u{7}\u{1b}[201~");
    terminal.see("日本 café");
    terminal.see("latents at");
    terminal.press("\u{3}");
    terminal.end();
    terminal.assert_restored();
    let text = String::from_utf8_lossy(&terminal.bytes);
    for code in ["\u{1b}[38;", "\u{1b}[48;", "\u{1b}[31m", "\u{1b}[34m"] {
        assert!(!text.contains(code), "{code:?} although NO_COLOR is set");
    }
}
