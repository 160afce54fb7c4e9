//! Passes side by side. One alone leaves processors idle between its many small steps: on two cores an eighth of the time.

use std::{
    panic::resume_unwind,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use candle_core::Device;

use crate::{
    error::{Error, Result},
    model::Tick,
};

/// Time between two questions whether somebody else waits.
const ASK: Duration = Duration::from_millis(1);

/// Do `work` for each number below `count` at once, and give what came of each, in order. `tick` is asked all the while; it may
/// answer a prompt in between, and then the others stand still at their next question, so that whoever waits has the processors for
/// itself. An error of any, or of `tick`, ends all. A GPU works in one order, so that there it is one after another.
pub(super) fn side_by_side<T: Send>(
    device: &Device,
    count: usize,
    work: impl Fn(usize, Tick) -> Result<T> + Sync,
    tick: Tick,
) -> Result<Vec<T>> {
    if !device.is_cpu() || count < 2 {
        return (0..count).map(|at| work(at, tick)).collect();
    }
    let (answering, stopped) = (Mutex::new(()), AtomicBool::new(false));
    let hold = || answering.lock().unwrap_or_else(PoisonError::into_inner);
    let go_on = || {
        drop(hold());
        if stopped.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    };
    let mut done: Vec<Option<T>> = (0..count).map(|_| None).collect();
    let mut fault = None;
    // Threads of their own: one that stands still must not be one of those that products are shared out to.
    thread::scope(|scope| {
        let (sender, receiver) = channel();
        let (work, go_on) = (&work, &go_on);
        let one = |at| {
            let sender = sender.clone();
            // Who asked for it has gone only where that one has panicked.
            scope.spawn(move || drop(sender.send((at, work(at, &mut || go_on())))))
        };
        let threads: Vec<_> = (0..count).map(one).collect();
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
                    let _held = hold();
                    let Err(error) = tick() else { continue };
                    error
                }
            };
            stopped.store(true, Ordering::Relaxed);
            // Those that are stopped by it say so later.
            fault.get_or_insert(error);
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
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
        let work = |at, tick: Tick| if at == 2 { Err(Error::invalid("the third")) } else { forever(at, tick) };
        assert!(each(3, work, &mut || Ok(())).unwrap_err().to_string().contains("the third"));
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
