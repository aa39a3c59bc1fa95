//! How much memory this process has used.

use ifog::train::Trainer;

/// The most at any time so far, in bytes, as Linux counts resident pages; `None` elsewhere.
pub(crate) fn peak_bytes() -> Option<u64> {
    status("VmHWM:")
}

/// How much this process will have without the buffers of a run, in bytes, from what it has before them; 0 where the system
/// does not say.
pub(crate) fn process_bytes() -> u64 {
    status("VmRSS:").map_or(0, |now| now + TRAINING)
}

/// What a run will need, in bytes: its buffers, and the process itself.
pub(crate) fn predicted(trainer: &Trainer, process: u64) -> u64 {
    let buffers = u64::try_from(trainer.memory().total()).unwrap_or(u64::MAX);
    buffers.saturating_add(process)
}

/// What training adds to a process: the code of kernels, trainer and files, stacks, and what an allocator keeps between.
/// Measured on runs whose buffers are small.
const TRAINING: u64 = 5 << 19;

fn status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_peak_sees_what_was_touched() {
        let before = peak_bytes().unwrap_or_default();
        let touched = std::hint::black_box(vec![1u8; 64 << 20]);
        let after = peak_bytes().unwrap_or_default();
        assert!(before > 0 && after >= (64 << 20), "{before} {after}");
        drop(touched);
    }
}
