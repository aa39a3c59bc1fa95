//! Ctrl-C and SIGTERM: the first asks, the second ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::failure::Failure;

/// Whether a signal has come.
#[derive(Debug)]
pub(crate) struct Interrupt {
    signal: Arc<AtomicUsize>,
}

/// Signals with the exit codes that a shell expects: 128 and their number.
const SIGNALS: [(i32, i32); 2] = [(SIGINT, 130), (SIGTERM, 143)];

impl Interrupt {
    /// Watches for both. From the second signal on the process ends at once: every file is replaced as a whole, so there is
    /// nothing to damage.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let pressed = Arc::new(AtomicBool::new(false));
        let signal = Arc::new(AtomicUsize::new(0));
        for (number, code) in SIGNALS {
            // Actions run in this order: the first signal finds the flag still down.
            flag::register_conditional_shutdown(number, code, Arc::clone(&pressed))?;
            flag::register_usize(number, Arc::clone(&signal), code as usize)?;
            flag::register(number, Arc::clone(&pressed))?;
        }
        Ok(Self { signal })
    }

    /// The exit code that the signal asks for, if there was one.
    pub(crate) fn code(&self) -> Option<u8> {
        match self.signal.load(Ordering::SeqCst) {
            0 => None,
            code => u8::try_from(code).ok(),
        }
    }
}
