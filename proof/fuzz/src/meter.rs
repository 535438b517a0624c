//! What one input costs in memory, and what all of them come to.
//!
//! A decoder that believes a length makes room for it, and nothing crashes until somebody
//! sends a large one. So each byte that is allocated is counted, and a target says how
//! many its input may cost. The sanitizers that could do this need another compiler.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static INPUTS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn grow(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(live, Relaxed);
}

#[expect(unsafe_code, reason = "an allocator is an unsafe trait; this one only counts")]
// SAFETY: every call is handed on to the system's allocator, with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Runs `target` on `input`, and counts it.
///
/// # Panics
///
/// If it allocated more than `base` and `per_byte` for each byte, at any one time. Only
/// right if no other thread allocates.
pub(crate) fn measured(input: &[u8], base: usize, per_byte: usize, target: fn(&[u8])) {
    INPUTS.fetch_add(1, Relaxed);
    BYTES.fetch_add(input.len() as u64, Relaxed);
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    target(input);
    let cost = PEAK.load(Relaxed).saturating_sub(before);
    let most = base + per_byte * input.len();
    assert!(cost <= most, "{} bytes of input took {cost} bytes, the most is {most}", input.len());
}

/// How many inputs were run, and the bytes of all of them.
pub fn totals() -> (u64, u64) {
    (INPUTS.load(Relaxed), BYTES.load(Relaxed))
}
