//! Passes side by side. One alone leaves processors idle between its many small steps: on two cores an eighth of the time.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use candle_core::Device;
use rayon::Yield;

use crate::{
    error::{Error, Result},
    progress::Tick,
};

/// Time between two questions whether somebody else waits.
const ASK: Duration = Duration::from_millis(1);
/// Between two looks whether that one is served, where there is nothing to help with.
const LOOK: Duration = Duration::from_micros(50);

/// Do `work` for each number below `count` at once, and give what came of each, in order. `tick` is asked all the while; it may
/// answer a prompt in between, and then the others stand still at their next question and lend their threads to it. An error of
/// any, or of `tick`, ends all. A GPU works in one order, so that there it is one after another.
pub(super) fn side_by_side<T: Send>(
    device: &Device,
    count: usize,
    work: impl Fn(usize, Tick) -> Result<T> + Sync,
    tick: Tick,
) -> Result<Vec<T>> {
    if !device.is_cpu() || count < 2 {
        return (0..count).map(|at| work(at, tick)).collect();
    }
    let (answering, stopped) = (AtomicBool::new(false), AtomicBool::new(false));
    let go_on = || {
        while answering.load(Ordering::Acquire) {
            if rayon::yield_now() != Some(Yield::Executed) {
                thread::sleep(LOOK);
            }
        }
        if stopped.load(Ordering::Acquire) { Err(Error::Interrupted) } else { Ok(()) }
    };
    let mut done: Vec<Option<T>> = (0..count).map(|_| None).collect();
    let mut fault = None;
    rayon::in_place_scope(|scope| {
        let (sender, receiver) = channel();
        let (work, go_on) = (&work, &go_on);
        for at in 0..count {
            let sender = sender.clone();
            // Nobody listens any more only where another has panicked.
            scope.spawn(move |_| drop(sender.send((at, work(at, &mut || go_on())))));
        }
        drop(sender);
        loop {
            let error = match receiver.recv_timeout(ASK) {
                Ok((at, Ok(value))) => {
                    done[at] = Some(value);
                    continue;
                }
                Ok((_, Err(error))) => error,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if fault.is_some() => continue,
                Err(RecvTimeoutError::Timeout) => {
                    answering.store(true, Ordering::Release);
                    let asked = tick();
                    answering.store(false, Ordering::Release);
                    let Err(error) = asked else { continue };
                    error
                }
            };
            stopped.store(true, Ordering::Release);
            // Those that are stopped by it say so later.
            fault.get_or_insert(error);
        }
    });
    match fault {
        Some(error) => Err(error),
        None => Ok(done.into_iter().flatten().collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn each(count: usize, work: impl Fn(usize, Tick) -> Result<usize> + Sync, tick: Tick) -> Result<Vec<usize>> {
        side_by_side(&Device::Cpu, count, work, tick)
    }

    /// Only an end from outside ends it.
    fn forever(_: usize, tick: Tick) -> Result<usize> {
        loop {
            tick()?;
            thread::yield_now();
        }
    }

    #[test]
    fn what_comes_of_each_stands_in_its_place() {
        for count in 0..5 {
            let done = each(count, |at, tick| tick().map(|()| 10 * at), &mut || Ok(()));
            assert_eq!(done.unwrap(), (0..count).map(|at| 10 * at).collect::<Vec<_>>());
        }
    }

    #[test]
    fn who_stops_one_stops_all() {
        let mut left = 5;
        let mut tick = || {
            left -= 1;
            if left == 0 { Err(Error::Interrupted) } else { Ok(()) }
        };
        assert!(matches!(each(3, forever, &mut tick), Err(Error::Interrupted)));
        assert_eq!(left, 0, "and asks no more");
    }

    #[test]
    fn an_error_of_any_is_one_of_all() {
        let work = |at, tick: Tick| if at == 0 { Err(Error::invalid("the first")) } else { forever(at, tick) };
        assert!(each(3, work, &mut || Ok(())).unwrap_err().to_string().contains("the first"));
    }

    #[test]
    fn all_stand_still_while_somebody_is_answered() {
        let steps = AtomicUsize::new(0);
        let work = |_, tick: Tick| {
            loop {
                tick()?;
                steps.fetch_add(1, Ordering::SeqCst);
                thread::yield_now();
            }
        };
        let (mut left, mut most) = (20, 0);
        let mut tick = || {
            let before = steps.load(Ordering::SeqCst);
            (0..100).for_each(|_| thread::yield_now());
            most = most.max(steps.load(Ordering::SeqCst) - before);
            left -= 1;
            if left == 0 { Err(Error::Interrupted) } else { Ok(()) }
        };
        assert!(each(2, work, &mut tick).is_err());
        assert!(most <= 2, "each may have asked just before: {most}");
    }

    #[test]
    fn a_panic_of_any_is_one_of_all() {
        let work = |at, tick: Tick| if at == 1 { panic!("the second") } else { tick().map(|()| at) };
        let panicked = std::panic::catch_unwind(|| each(2, work, &mut || Ok(()))).unwrap_err();
        assert_eq!(panicked.downcast_ref::<&str>(), Some(&"the second"));
    }
}
