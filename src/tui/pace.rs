//! How much may be sent now: keys are answered at once, figures wait while a slow link has not carried the last ones.
//!
//! A program is not told how much of what it wrote has arrived: behind it are buffers of the system, of a connection, of a
//! multiplexer. So it sends no more than a slow link carries; where even that is held up, it sees a write that takes long.

use std::time::Duration;

/// Bytes a second that a slow link carries.
const SLOW: f64 = 20_000.0;
/// Slower than this nothing is assumed to be.
const SLOWEST: f64 = 500.0;
/// Bytes on their way with which a frame is still drawn: a fifth of a second.
const FRAME: f64 = 4_000.0;
/// Bytes on their way with which figures are still taken in: a frame with figures must not hold up the next key.
const FIGURES: f64 = 1_000.0;
/// After a screen that was drawn whole, nothing waits longer than for this many.
const MOST: f64 = 6_000.0;
/// A write that is held up this long means that as much as this is on its way.
const HELD_UP: Duration = Duration::from_millis(30);
const BUFFERED: f64 = 8_000.0;

/// What is thought to be on its way to the person.
#[derive(Debug)]
pub struct Pace {
    bytes: f64,
    at: Duration,
    rate: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { bytes: 0.0, at: Duration::ZERO, rate: SLOW }
    }
}

impl Pace {
    /// Something was sent, in a write that was held up for some time and ended now.
    pub fn sent(&mut self, bytes: usize, held_up: Duration, now: Duration) {
        let left = self.left(now);
        let bytes = bytes as f64;
        if held_up >= HELD_UP {
            // A few bytes behind many tell little of the link: one such write halves it at most.
            let least = (self.rate / 2.0).max(SLOWEST);
            self.rate = (bytes / held_up.as_secs_f64()).clamp(least, SLOW);
            self.bytes = BUFFERED;
        } else {
            // A link that was slow once may have recovered.
            self.rate = (self.rate * 1.05).min(SLOW);
            self.bytes = (left + bytes).min(MOST.max(left));
        }
        self.at = now;
    }

    fn left(&self, now: Duration) -> f64 {
        let gone = now.saturating_sub(self.at).as_secs_f64() * self.rate;
        (self.bytes - gone).max(0.0)
    }

    /// When the next frame may be drawn.
    pub fn frame(&self) -> Duration {
        self.when(FRAME)
    }

    /// When figures may be taken in.
    pub fn figures(&self) -> Duration {
        self.when(FIGURES)
    }

    fn when(&self, most: f64) -> Duration {
        self.at + Duration::from_secs_f64((self.bytes - most).max(0.0) / self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(1);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn small_answers_go_out_at_once() {
        let mut pace = Pace::default();
        for n in 0..100 {
            let now = ms(n * 33);
            assert!(pace.frame() <= now && pace.figures() <= now);
            pace.sent(300, QUICK, now);
        }
    }

    #[test]
    fn figures_wait_until_the_link_has_carried_the_last_ones() {
        let mut pace = Pace::default();
        pace.sent(3_000, QUICK, ms(1000));
        assert_eq!((pace.frame(), pace.figures()), (ms(1000), ms(1100)));
        // A screen drawn whole holds up nothing for long.
        pace.sent(40_000, QUICK, ms(2000));
        assert_eq!((pace.frame(), pace.figures()), (ms(2100), ms(2250)));
    }

    #[test]
    fn a_write_that_is_held_up_tells_how_slow_the_link_is() {
        let mut pace = Pace::default();
        pace.sent(1_000, ms(500), ms(1000));
        assert_eq!((pace.frame(), pace.figures()), (ms(1400), ms(1700)));
        for n in 0..5 {
            pace.sent(1_000, ms(500), ms(1000 + n));
        }
        assert_eq!(pace.rate, 2_000.0, "as often as it is seen");
        for n in 0..80 {
            pace.sent(1, QUICK, ms(10_000 + n));
        }
        assert_eq!(pace.rate, SLOW, "it recovers");
    }
}
