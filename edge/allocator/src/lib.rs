//! The allocator of the program, told to give memory back soon.
//!
//! A node allocates and frees many small buffers on two threads, for which mimalloc is cheaper than
//! the system's allocator. It keeps what was freed for a second before the system has it back. Where
//! objects of 15 MB are read, merged and written ten times a second, what was freed within that second is a
//! third of all the memory that a node has:
//!
//! ```text
//! gives back after      1 s           100 ms        10 ms         0
//! most memory           183 to 219    155 to 180    150 to 166    138 to 143 MB
//! ```
//!
//! (Torture `memory`: 256 MiB, of which 128 are planned with. What a put of 256 bytes costs did not
//! differ by more than it does from run to run, down to 100 ms.)
//!
//! The option is a number in the library's own table, read whenever memory is freed. Setting it is the
//! one call into C, and the reason why this crate is allowed what no other is.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set, mi_option_t};
pub use mimalloc::MiMalloc;

/// How long freed memory is kept for what is allocated next, in milliseconds.
const KEPT_MILLIS: c_long = 100;

/// `mi_option_purge_delay`, which the bindings do not name.
const PURGE_DELAY: mi_option_t = 15;

/// Lets memory go soon after it is freed. To be called first in `main`, when there is one thread.
#[expect(unsafe_code, reason = "an option of a C library has no other door")]
pub fn give_back_soon() {
    // SAFETY: it stores a number, in a table that no other thread reads yet.
    unsafe { mi_option_set(PURGE_DELAY, KEPT_MILLIS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "an option of a C library has no other door")]
    fn the_number_is_that_of_the_option_that_is_a_second_unless_it_is_set() {
        // SAFETY: it reads a number, which no other thread writes: this is the only test.
        let kept = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(kept(), 1_000);
        give_back_soon();
        assert_eq!(kept(), KEPT_MILLIS);
    }
}
