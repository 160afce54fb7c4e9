//! Libraries that panic where they should refuse.

use std::panic;

/// Run something of a library; a panic in it is an error with its message, and nothing is printed. Other threads that panic
/// in the meantime are not reported either, so keep it short.
pub fn catch_panic<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(panic::AssertUnwindSafe(run));
    panic::set_hook(hook);
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
    }
}
