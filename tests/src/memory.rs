//! How much memory a process holds, as the kernel counts it.

use std::fs;

/// Resident memory of process `id` now, in bytes; 0 once it has ended.
pub fn resident_bytes(id: u32) -> u64 {
    status_bytes(id, "VmRSS:")
}

/// The most resident memory that process `id` ever held, in bytes; 0 once it has ended.
pub fn peak_resident_bytes(id: u32) -> u64 {
    status_bytes(id, "VmHWM:")
}

/// The line `name` of the status of process `id`, which the kernel writes in kB.
fn status_bytes(id: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_counts_and_what_was_given_back_stays_in_the_peak() {
        const SIZE_BYTES: u64 = 64 << 20;
        let own = std::process::id();
        let before_bytes = resident_bytes(own);
        let held = vec![1_u8; SIZE_BYTES as usize];
        assert!(resident_bytes(own) >= before_bytes + SIZE_BYTES / 2);
        drop(std::hint::black_box(held));
        assert!(peak_resident_bytes(own) >= before_bytes + SIZE_BYTES / 2);
    }

    #[test]
    fn a_process_that_is_none_holds_nothing() {
        assert_eq!(resident_bytes(u32::MAX), 0);
    }
}
