//! The program in a pseudo-terminal of its own, with a screen that can be read.

use std::{
    io::{Read, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};

use super::{Place, isolate, program};

/// Long enough for a debug build on a busy machine; only a failing test waits this long.
pub const DEADLINE: Duration = Duration::from_secs(120);

pub struct Screen {
    parser: vt100::Parser,
    bytes: Receiver<Vec<u8>>,
    /// Everything the program sent.
    pub sent: Vec<u8>,
    writer: Box<dyn Write + Send>,
    master: Box<dyn MasterPty + Send>,
    child: Box<dyn Child + Send + Sync>,
    /// The terminal's modes before the program was started.
    modes: Modes,
    /// Bytes a second that are read of what the program sends; 0: all.
    rate: Arc<AtomicU64>,
    place: Option<Place>,
}

/// What of the terminal's line discipline a program can spoil.
#[derive(Debug, PartialEq)]
struct Modes(libc::tcflag_t, libc::tcflag_t, libc::tcflag_t);

fn modes(master: &dyn MasterPty) -> Modes {
    let fd = master.as_raw_fd().expect("a pseudo-terminal has a descriptor");
    // SAFETY: all zeros is a valid value.
    let mut found: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and the place is one of the call's type.
    assert_eq!(unsafe { libc::tcgetattr(fd, &raw mut found) }, 0);
    Modes(found.c_iflag, found.c_oflag, found.c_lflag)
}

impl Screen {
    pub fn start(args: &[&str]) -> Self {
        Self::with(Place::new(), args, &[], (120, 36))
    }

    /// In a place that holds files, with variables, at a size.
    pub fn with(place: Place, args: &[&str], env: &[(&str, &str)], (columns, rows): (u16, u16)) -> Self {
        let pair = native_pty_system().openpty(size(columns, rows)).unwrap();
        let mut command = CommandBuilder::new(program());
        command.args(args);
        command.cwd(place.path(""));
        isolate(&place.path("home"), |name, value| match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        });
        command.env("COLORTERM", "truecolor");
        env.iter().for_each(|(name, value)| command.env(name, value));
        let modes = modes(&*pair.master);
        let child = pair.slave.spawn_command(command).unwrap();
        let (sender, bytes) = mpsc::channel();
        let mut reader = pair.master.try_clone_reader().unwrap();
        let rate = Arc::new(AtomicU64::new(0));
        let link = rate.clone();
        thread::spawn(move || {
            let mut buffer = [0; 1 << 14];
            loop {
                let rate = link.load(Ordering::Relaxed);
                // A slow link carries little at a time.
                let most = if rate > 0 { 200 } else { buffer.len() };
                let Ok(n @ 1..) = reader.read(&mut buffer[..most]) else { return };
                if rate > 0 {
                    thread::sleep(Duration::from_secs_f64(n as f64 / rate as f64));
                }
                if sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            parser: vt100::Parser::new(rows, columns, 0),
            bytes,
            sent: Vec::new(),
            writer: pair.master.take_writer().unwrap(),
            master: pair.master,
            child,
            modes,
            rate,
            place: Some(place),
        }
    }

    /// On the demo, loaded, with a prompt compared in all variants.
    pub fn compared() -> Self {
        let mut screen = Self::start(&["--prompt", "The army and the navy of the United States are"]);
        screen.wait("a comparison with all figures", compared);
        screen
    }

    /// Stopped by somebody else, as a batch system does; a shell takes the terminal meanwhile, and brings the program back.
    pub fn stopped_from_outside(&mut self) {
        self.signal(libc::SIGSTOP);
        let id = libc::pid_t::try_from(self.id()).unwrap();
        let mut status = 0;
        // SAFETY: the place is one of the call's type; the child is ours.
        assert_eq!(unsafe { libc::waitpid(id, &raw mut status, libc::WUNTRACED) }, id);
        let fd = self.master.as_raw_fd().expect("a pseudo-terminal has a descriptor");
        // SAFETY: all zeros is a valid value.
        let mut found: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open, and the place is one of the call's type.
        assert_eq!(unsafe { libc::tcgetattr(fd, &raw mut found) }, 0);
        (found.c_iflag, found.c_oflag, found.c_lflag) = (self.modes.0, self.modes.1, self.modes.2);
        // SAFETY: as above.
        assert_eq!(unsafe { libc::tcsetattr(fd, libc::TCSANOW, &raw const found) }, 0);
        let (rows, columns) = self.screen().size();
        self.parser = vt100::Parser::new(rows, columns, 0);
        self.signal(libc::SIGCONT);
    }

    /// The next bytes, if any come in this time.
    fn take(&mut self, time: Duration) -> Result<(), RecvTimeoutError> {
        let bytes = self.bytes.recv_timeout(time)?;
        self.parser.process(&bytes);
        self.sent.extend(bytes);
        Ok(())
    }

    pub fn screen(&self) -> &vt100::Screen {
        self.parser.screen()
    }

    pub fn text(&self) -> String {
        self.screen().contents()
    }

    /// Until the screen is as wanted.
    #[track_caller]
    pub fn wait(&mut self, what: &str, wanted: impl Fn(&str) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !wanted(&self.text()) {
            let left = end.saturating_duration_since(Instant::now());
            if self.take(left).is_err() {
                panic!("waited in vain for {what}; the screen is\n{}", self.text());
            }
        }
    }

    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        self.wait(text, |screen| screen.contains(text));
    }

    #[track_caller]
    pub fn wait_without(&mut self, text: &str) {
        self.wait(&format!("{text:?} to go"), |screen| !screen.contains(text));
    }

    /// Until the work for quiet moments has come to an end, however slow the machine is: it may bring a latent's examples.
    pub fn settle(&mut self) {
        let (time, deadline) = (Duration::from_secs(2), Instant::now() + DEADLINE);
        loop {
            let before = self.cpu_ticks();
            self.bytes_while_idle(Duration::from_millis(1), time);
            let used = self.cpu_ticks() - before;
            if used <= 2 {
                return;
            }
            assert!(Instant::now() < deadline, "{used} ticks of processor time in two idle seconds");
        }
    }

    /// Until nothing has come for this long; then how many bytes come in the time after.
    pub fn bytes_while_idle(&mut self, quiet: Duration, time: Duration) -> usize {
        let end = Instant::now() + DEADLINE;
        while self.take(quiet).is_ok() {
            assert!(Instant::now() < end, "the screen never comes to rest");
        }
        let (before, end) = (self.sent.len(), Instant::now() + time);
        while self.take(end.saturating_duration_since(Instant::now())).is_ok() {}
        self.sent.len() - before
    }

    /// From now on the link carries so many bytes a second.
    pub fn slow_down(&mut self, rate: u64) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// Take what comes in this time; after each piece `seen` may look.
    pub fn watch(&mut self, time: Duration, mut seen: impl FnMut(&Self)) {
        let end = Instant::now() + time;
        while self.take(end.saturating_duration_since(Instant::now())).is_ok() {
            seen(self);
        }
    }

    /// The place with everything that was left there, once the program has ended.
    pub fn place(mut self) -> Place {
        assert!(self.ended().success());
        self.left()
    }

    /// The place of a program that was killed; the terminal is as it was at that moment.
    pub fn killed(mut self) -> Place {
        self.child.wait().unwrap();
        self.left()
    }

    /// The place of a program that has ended, however it did.
    pub fn left(mut self) -> Place {
        self.place.take().expect("it is taken once")
    }

    /// The home folder of the program that runs.
    pub fn home(&self) -> PathBuf {
        self.place.as_ref().expect("it is taken at the end").path("home")
    }

    pub fn keys(&mut self, keys: &str) {
        self.writer.write_all(keys.as_bytes()).unwrap();
        self.writer.flush().unwrap();
    }

    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.parser.screen_mut().set_size(rows, columns);
        self.master.resize(size(columns, rows)).unwrap();
    }

    /// The number of its process, which runs.
    pub fn id(&self) -> u32 {
        self.child.process_id().expect("the child runs")
    }

    /// How it ended, if it did by itself.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub fn signal(&self, signal: libc::c_int) {
        let id = self.id() as libc::pid_t;
        // SAFETY: a signal to a child of this process that has not been waited for.
        assert_eq!(unsafe { libc::kill(id, signal) }, 0);
    }

    /// Processor time the program has used, in clock ticks.
    #[cfg(target_os = "linux")]
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        // utime and stime are fields 14 and 15, counted from the process id.
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Where the system does not tell, silence has to do.
    #[cfg(not(target_os = "linux"))]
    pub fn cpu_ticks(&self) -> u64 {
        0
    }

    /// Wait for the end; the terminal must be as it was.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "the program does not end; the screen is\n{}", self.text());
            let _ = self.take(Duration::from_millis(20));
        };
        // What is still on its way.
        while self.take(Duration::from_millis(100)).is_ok() {}
        let screen = self.screen();
        assert!(!screen.alternate_screen(), "the alternate screen is left");
        assert!(!screen.hide_cursor(), "the cursor is shown");
        assert!(!screen.bracketed_paste(), "bracketed paste is off");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None, "the mouse is free");
        assert_eq!(modes(&*self.master), self.modes, "the line discipline is as before");
        status
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(cols: u16, rows: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

/// Whether the figures of the prompt, which come last, are on screen.
pub fn compared(screen: &str) -> bool {
    let row = screen.lines().find(|line| line.contains(" KL "));
    row.is_some_and(|row| row.split("KL").nth(1).is_some_and(|rest| rest.chars().filter(|c| *c == '.').count() >= 3))
}
