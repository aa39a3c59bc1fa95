//! Ctrl-C, SIGTERM and SIGHUP: the first asks, the second ends.

use std::fs;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level;

use crate::failure::Failure;

/// Whether a signal has come.
#[derive(Debug)]
pub(crate) struct Interrupt {
    /// 0 for none.
    signal: Arc<AtomicI32>,
    /// Whether there was one.
    asked: Arc<AtomicBool>,
}

/// A signal so soon after the first is the same request: `timeout` sends one to its child and one to the group of processes.
const SAME_REQUEST: Duration = Duration::from_millis(300);
/// Who waits for longer than that is told why.
const PATIENCE: Duration = Duration::from_secs(1);

impl Interrupt {
    /// Watches for them. At the second signal the process ends at once: every file is replaced as a whole, so there is nothing
    /// to damage.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let signal = Arc::new(AtomicI32::new(0));
        // A file larger than `ulimit -f` allows is then a write that fails, and says so.
        flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        if !outlives_terminal() {
            signals.add_signal(SIGHUP)?;
        }
        let asked = Arc::new(AtomicBool::new(false));
        let (number_of, ask) = (Arc::clone(&signal), Arc::clone(&asked));
        let watch = move || {
            let mut first: Option<Instant> = None;
            for number in &mut signals {
                match first {
                    None => {
                        first = Some(Instant::now());
                        number_of.store(number, Ordering::SeqCst);
                        ask.store(true, Ordering::SeqCst);
                        // Without the thread it only says nothing.
                        let _ = thread::Builder::new().spawn(explain);
                    }
                    Some(first) if first.elapsed() < SAME_REQUEST => {}
                    Some(_) => low_level::exit(exit_code(number)),
                }
            }
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(watch)?;
        Ok(Self { signal, asked })
    }

    /// Becomes true with the first signal.
    pub(crate) fn asked(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.asked)
    }

    /// The exit code that the signal asks for, if there was one.
    pub(crate) fn code(&self) -> Option<u8> {
        match self.signal.load(Ordering::SeqCst) {
            0 => None,
            number => u8::try_from(exit_code(number)).ok(),
        }
    }
}

/// Whether SIGHUP is ignored, as `nohup` asks for. Where that cannot be read it is left as it is.
fn outlives_terminal() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask >> (SIGHUP - 1) & 1 == 1)
}

/// What a shell expects.
fn exit_code(signal: i32) -> i32 {
    128 + signal
}

fn explain() {
    thread::sleep(PATIENCE);
    let sentence = "ending when the step is done; once more ends at once, without it";
    let _ = writeln!(io::stderr(), "{sentence}");
}
