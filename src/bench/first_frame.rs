//! From the start of the program to its first frame, in a terminal of its own.

use std::time::Duration;

/// Median over some starts of the explorer on the demo. `None` where there are no pseudo-terminals, or the program cannot
/// start itself.
pub fn first_frame() -> Option<Duration> {
    #[cfg(unix)]
    {
        const REPEATS: usize = 5;
        let mut times: Vec<Duration> = (0..REPEATS).map(|_| unix::once().ok().flatten()).collect::<Option<_>>()?;
        times.sort();
        times.get(REPEATS / 2).copied()
    }
    #[cfg(not(unix))]
    None
}

#[cfg(unix)]
mod unix {
    use std::{
        fs::File,
        io::{self, Read},
        os::{
            fd::{FromRawFd, OwnedFd},
            unix::process::CommandExt,
        },
        process::{Child, Command},
        time::{Duration, Instant},
    };

    /// What the explorer sends when a frame is complete: the end of a synchronized update.
    const FRAME_END: &[u8] = b"\x1b[?2026l";
    /// No first frame is this long.
    const MOST: usize = 1 << 20;

    /// `None` if the program ends without having drawn.
    pub fn once() -> io::Result<Option<Duration>> {
        let (mut master, slave) = open()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        // SAFETY: both calls are async-signal-safe; they make the pseudo-terminal, which is standard input by now, the
        // child's own.
        unsafe {
            command.pre_exec(|| match libc::setsid() != -1 && libc::ioctl(0, libc::TIOCSCTTY, 0) != -1 {
                true => Ok(()),
                false => Err(io::Error::last_os_error()),
            });
        }
        let start = Instant::now();
        let child = Running(command.spawn()?);
        // Holds the last ends of the slave on this side: with them gone, reading ends when the child does.
        drop(command);
        let drawn = read_frame(&mut master).then(|| start.elapsed());
        drop(child);
        Ok(drawn)
    }

    /// Whether a whole frame arrives.
    fn read_frame(master: &mut File) -> bool {
        let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
        while seen.len() < MOST {
            match master.read(&mut buffer) {
                Ok(n @ 1..) => seen.extend_from_slice(&buffer[..n]),
                _ => return false,
            }
            if seen.windows(FRAME_END.len()).any(|w| w == FRAME_END) {
                return true;
            }
        }
        false
    }

    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            // It may have ended by itself.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Both ends of a new pseudo-terminal of 120 x 36 cells.
    fn open() -> io::Result<(File, OwnedFd)> {
        let (mut master, mut slave) = (-1, -1);
        let mut size = libc::winsize { ws_row: 36, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the pointers are to live values of the right types; null is allowed for the other two.
        let opened = unsafe {
            libc::openpty(&raw mut master, &raw mut slave, std::ptr::null_mut(), std::ptr::null_mut(), &raw mut size)
        };
        if opened == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both descriptors were just opened and belong to nobody else.
        Ok(unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) })
    }
}
