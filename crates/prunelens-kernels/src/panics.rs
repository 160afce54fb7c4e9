//! Libraries that panic where they should refuse.

use std::{cell::Cell, panic, sync::Once};

thread_local! {
    /// This thread expects a panic, and turns it into an error.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Run something of a library; a panic in it is an error with its message, and nothing is printed. Other threads that panic
/// in the meantime are reported as ever.
pub fn catch_panic<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    // One hook for all threads and all times: it is put before the one that is there, and asks the thread.
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !EXPECTED.get() {
                tell(info);
            }
        }));
    });
    let before = EXPECTED.replace(true);
    let result = panic::catch_unwind(panic::AssertUnwindSafe(run));
    EXPECTED.set(before);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("it failed");
        crate::text::shorten(text, 200)
    })
}

#[cfg(test)]
mod tests {
    use super::catch_panic;

    #[test]
    fn a_panic_is_an_error() {
        assert_eq!(catch_panic(|| 3), Ok(3));
        assert_eq!(catch_panic(|| panic!("no {}", 7)), Err::<(), _>("no 7".into()));
        // One inside the other: the outer one still expects its own.
        let outer = catch_panic(|| {
            assert!(catch_panic(|| panic!("inner")).is_err());
            panic!("outer")
        });
        assert_eq!(outer, Err::<(), _>("outer".into()));
    }
}
