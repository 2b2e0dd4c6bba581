//! How much memory this process holds.

use nix::unistd::{SysconfVar, sysconf};

/// Memory of this process that is in RAM, in bytes; none where the kernel does not say.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    parse(&text, page_bytes()?)
}

/// The size of a page, as the C library knows it: it needs no auxiliary vector in the form that
/// the kernel gives, which tools that run a program inside of them do not keep.
fn page_bytes() -> Option<u64> {
    u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()
}

/// Reads the second number of `/proc/self/statm`, in pages (proc(5)).
fn parse(text: &str, page_bytes: u64) -> Option<u64> {
    text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(page_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_in_bytes() {
        assert_eq!(parse("100 25 7 1 0 9 0\n", 4096), Some(102_400));
        for bad in ["", "100", "100 x", "100 18446744073709551615"] {
            assert_eq!(parse(bad, 4096), None, "{bad}");
        }
    }

    #[test]
    fn this_process_holds_something() {
        assert!(resident_bytes().unwrap() > 1 << 20);
    }
}
