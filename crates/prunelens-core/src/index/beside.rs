//! Passes side by side. One alone leaves processors idle between its many small steps: on two cores an eighth of the time.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;

use crate::{
    error::{Error, Result},
    model::Tick,
};

/// Do `work` for each number below `count` at once, and give what came of each, in order. The first asks `tick` as ever; when
/// it ends with an error the others stop at their next question. A GPU works in one order, so that there it is one after another.
pub(super) fn side_by_side<T: Send>(
    device: &Device,
    count: usize,
    work: impl Fn(usize, Tick) -> Result<T> + Sync,
    tick: Tick,
) -> Result<Vec<T>> {
    if !device.is_cpu() || count < 2 {
        return (0..count).map(|at| work(at, tick)).collect();
    }
    let stopped = AtomicBool::new(false);
    let mut others: Vec<Result<T>> = (1..count).map(|_| Err(Error::Interrupted)).collect();
    let first = rayon::in_place_scope(|scope| {
        for (at, place) in (1..).zip(&mut others) {
            let (work, stopped) = (&work, &stopped);
            scope.spawn(move |_| {
                let mut go_on = || if stopped.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) };
                *place = work(at, &mut go_on);
            });
        }
        let first = work(0, tick);
        stopped.store(first.is_err(), Ordering::Relaxed);
        first
    });
    std::iter::once(first).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(count: usize, work: impl Fn(usize, Tick) -> Result<usize> + Sync, tick: Tick) -> Result<Vec<usize>> {
        side_by_side(&Device::Cpu, count, work, tick)
    }

    #[test]
    fn what_comes_of_each_stands_in_its_place() {
        for count in 0..5 {
            let done = each(count, |at, tick| tick().map(|()| 10 * at), &mut || Ok(()));
            assert_eq!(done.unwrap(), (0..count).map(|at| 10 * at).collect::<Vec<_>>());
        }
    }

    #[test]
    fn who_stops_the_first_stops_all() {
        // The others would go on for ever.
        let forever = |at, tick: Tick| loop {
            tick().inspect_err(|_| assert!(at < 3))?;
            std::thread::yield_now();
        };
        let mut left = 5;
        let mut tick = || {
            left -= 1;
            if left == 0 { Err(Error::Interrupted) } else { Ok(()) }
        };
        assert!(matches!(each(2, forever, &mut tick), Err(Error::Interrupted)));
    }

    #[test]
    fn an_error_of_any_is_one_of_all() {
        let work = |at, _: Tick| if at == 2 { Err(Error::invalid("the third")) } else { Ok(at) };
        assert!(each(3, work, &mut || Ok(())).unwrap_err().to_string().contains("the third"));
    }
}
