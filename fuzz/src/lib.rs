//! Every reader of files that come from strangers, fed with bytes. A reader may refuse; it must not panic, hang, or
//! allocate more than twice its input and 64 MB.
//!
//! `cargo +nightly fuzz run TARGET` in the folder above; what is found goes, reduced, into `tests/cli/hostile/corpus`.

mod readers;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

pub use readers::*;

/// Counts what is allocated at once.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Run a reader on `len` bytes of input and look at what it allocated.
fn bounded<T>(len: usize, read: impl FnOnce() -> T) {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    drop(read());
    let used = PEAK.load(Relaxed).saturating_sub(before);
    assert!(used <= 2 * len + (64 << 20), "{used} bytes allocated for {len} bytes of input");
}
