//! How long it takes two threads to meet, measured where it matters and when.
//!
//! On one machine it is 0.1 µs or 0.5 µs, by the cores that the threads have got: of one complex or of two; a virtual machine moves between
//! them within minutes. So threads rehearse: they meet some times with nothing to do. That decides about speed alone, never about
//! bits.

#[cfg(feature = "rayon")]
pub(crate) use pool::meeting_time;

/// An address that only the calling thread has.
pub(crate) fn this_thread() -> usize {
    std::thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| core::ptr::from_ref(here).addr())
}

#[cfg(feature = "rayon")]
mod pool {
    use super::this_thread;
    use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    use std::sync::OnceLock;
    use std::time::Instant;

    use crate::parallel;

    /// Nanoseconds of a meeting of the pool of the calling thread, measured within the last [`VALID_MS`].
    pub(crate) fn meeting_time() -> f64 {
        static START: OnceLock<Instant> = OnceLock::new();
        /// Milliseconds at which it is too old.
        static EXPIRES: AtomicU64 = AtomicU64::new(0);
        static LAST: AtomicU64 = AtomicU64::new(UNKNOWN);
        let now = START.get_or_init(Instant::now).elapsed().as_millis() as u64;
        // Of several threads that find it too old, one measures.
        let expires = EXPIRES.load(Ordering::Relaxed);
        if now >= expires
            && EXPIRES
                .compare_exchange(
                    expires,
                    now + VALID_MS,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
        {
            // Who did not come then may come now.
            LAST.store(measure().unwrap_or(UNKNOWN), Ordering::Relaxed);
        }
        LAST.load(Ordering::Relaxed) as f64
    }

    /// The median over some meetings; nothing if nobody comes to them.
    fn measure() -> Option<u64> {
        let start = Instant::now();
        let now = || start.elapsed().as_nanos() as u64;
        // The thread of part 0: not the caller's where that is none of the pool.
        let host = AtomicUsize::new(0);
        let begun = [const { AtomicU64::new(0) }; ROUNDS];
        let met = [const { AtomicBool::new(false) }; ROUNDS];
        parallel::run_rounds(2, ROUNDS, 0.0, 0.0, &|round, part| {
            if part == 1 {
                let other = this_thread() != host.load(Ordering::Relaxed);
                met[round].store(other, Ordering::Relaxed);
                return;
            }
            host.store(this_thread(), Ordering::Relaxed);
            begun[round].store(now(), Ordering::Relaxed);
            // Until the other thread is awake.
            while round == 0 && !met[0].load(Ordering::Relaxed) && now() < WAKE_UP_NS {
                core::hint::spin_loop();
            }
        });
        let time = |round: usize| {
            let [from, to] = [round, round + 1].map(|round| begun[round].load(Ordering::Relaxed));
            let both = [round, round + 1].map(|round| met[round].load(Ordering::Relaxed));
            (both == [true; 2]).then(|| to.saturating_sub(from))
        };
        // The first are slower than those that follow.
        let mut times = [0; ROUNDS];
        let mut count = 0;
        for time in (WARM_UP..ROUNDS - 1).filter_map(time) {
            times[count] = time;
            count += 1;
        }
        let times = &mut times[..count];
        times.sort_unstable();
        (count >= ROUNDS / 2).then(|| times[count / 2])
    }

    /// Meetings of a rehearsal, some 10 to 50 µs, and how many of them do not count.
    const ROUNDS: usize = 48;
    const WARM_UP: usize = 8;
    /// Milliseconds that a measured time stands: a rehearsal takes less than a thousandth of it.
    const VALID_MS: u64 = 100;
    /// Nanoseconds that a sleeping thread of the pool is waited for.
    const WAKE_UP_NS: u64 = 100_000;
    /// Where nobody comes: more than threads that do.
    const UNKNOWN: u64 = 1_500;

    #[cfg(test)]
    mod tests {
        #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
        use super::*;

        fn measured_by(threads: usize) -> Option<u64> {
            parallel::in_pool(threads, measure)
        }

        #[test]
        fn who_is_alone_meets_nobody() {
            assert_eq!(measured_by(1), None);
        }

        /// Under other load some rehearsals fail, but hardly all; on one core nobody comes in time.
        #[test]
        fn two_threads_meet_within_microseconds() {
            if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
                std::println!("skipped: one core");
                return;
            }
            let times = (0..200).filter_map(|_| measured_by(2)).take(1);
            let time = times.last().unwrap();
            assert!((10..1_000_000).contains(&time), "{time} ns");
        }
    }
}
