//! How much memory the allocator keeps.

/// Lets all threads share one heap, and gives what they free back to the system early; for a process
/// with many short-lived threads that must stay small.
///
/// To be called before the first thread is made. Where the C library has no such setting, nothing
/// happens. Source: mallopt(3) (M_ARENA_MAX, M_TRIM_THRESHOLD).
pub fn limit_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only stores numbers, and no other thread runs yet or minds.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 * 1024);
    }
}

/// Gives the heap's free pages back to the system, after much was read and thrown away.
///
/// Source: malloc_trim(3).
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call has no requirements.
    unsafe {
        libc::malloc_trim(0);
    }
}
