//! How much memory this process keeps.

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

/// Gives back what was only needed for a while: the heap's free pages, and the mapped code of this
/// program and its libraries, of which the kernel maps again what runs from then on.
///
/// Source: malloc_trim(3), madvise(2) (MADV_DONTNEED), proc_pid_maps(5).
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call has no requirements.
    unsafe {
        libc::malloc_trim(0);
    }
    // Nothing is lost if it cannot be read.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (from, to) in maps.lines().filter_map(code) {
        // SAFETY: the range is code mapped from a file, which nobody has written to (relocations change
        // data only): at the next access its pages are those of the file again.
        unsafe {
            libc::madvise(
                std::ptr::with_exposed_provenance_mut(from),
                to - from,
                libc::MADV_DONTNEED,
            );
        }
    }
}

/// The range of a line of the maps, if it is code from a file that cannot be written to.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, access) = (words.next()?, words.next()?);
    let is_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
    let (from, to) = range.split_once('-')?;
    let from = usize::from_str_radix(from, 16).ok()?;
    let to = usize::from_str_radix(to, 16).ok()?;
    (access == "r-xp" && is_file && from < to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_from_files_is_given_back() {
        let line = "7f00-8f00 r-xp 00028000 fd:01 1234    /usr/lib/libc.so.6";
        assert_eq!(code(line), Some((0x7f00, 0x8f00)));
        for other in [
            "7f00-8f00 r--p 00028000 fd:01 1234    /usr/lib/libc.so.6",
            "7f00-8f00 rwxp 00028000 fd:01 1234    /usr/lib/libc.so.6",
            "7f00-8f00 r-xp 00000000 00:00 0       [vdso]",
            "7f00-8f00 r-xp 00000000 00:00 0",
            "",
        ] {
            assert_eq!(code(other), None, "{other}");
        }
    }

    #[test]
    fn a_program_goes_on_after_its_code_was_given_back() {
        trim();
        assert_eq!("12".parse(), Ok(12));
    }
}
