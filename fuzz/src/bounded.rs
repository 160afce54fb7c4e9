//! What a reader allocates, counted. Shared by the fuzz targets and the tests, which run what the targets found.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// Beside twice its input.
const ALLOWED: usize = 64 << 20;

/// Counts what the thread that reads has allocated at once; tests run side by side, each on its own thread.
struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends has no cells any more, and reads nothing.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Run a reader on `len` bytes of input and look at what it allocated.
pub fn bounded<T>(len: usize, read: impl FnOnce() -> T) {
    let before = NOW.get();
    PEAK.set(before);
    drop(read());
    let used = (PEAK.get() - before).max(0) as usize;
    assert!(used <= 2 * len + ALLOWED, "{used} bytes allocated for {len} bytes of input");
}
