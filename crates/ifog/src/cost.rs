//! What a network costs: parameters, operations, memory.

use ifog_kernels::{Cell, Tape};

use crate::config::{ConfigError, InputConfig, NetworkConfig};
use crate::parameters::Layout;

/// Floating-point operations of a training pass for a symbol: three times those of the forward pass, Σ 2 G H (I + H) and 2 H O
/// for the decoder. Tokens enter as rows of a table, so the first layer has no input product.
pub fn training_flops(layout: &Layout) -> u64 {
    let config = layout.config();
    let cell = |(layer, shape): (usize, &ifog_kernels::Shape)| {
        let inputs = match config.input {
            InputConfig::Dense { width } if layer == 0 => width,
            _ if layer == 0 => 0,
            _ => shape.input(),
        };
        2 * shape.columns() * (inputs + shape.hidden())
    };
    let cells: usize = layout.shapes().iter().enumerate().map(cell).sum();
    3 * (cells + 2 * config.hidden * config.outputs) as u64
}

/// Bytes that the tapes of all layers keep for a symbol of a window of `steps` steps, in f32.
pub fn tape_bytes(layout: &Layout, steps: usize) -> f64 {
    let floats = layout
        .shapes()
        .iter()
        .map(|shape| Tape::<f32>::floats(*shape, steps, 1).unwrap_or(usize::MAX) as f64);
    floats.sum::<f64>() * 4.0 / steps.max(1) as f64
}

/// The width with which a one-hot network of this cell has about `parameters` parameters: the closest, from 1 to [`WIDEST`].
///
/// # Errors
/// `symbols` or `layers` is 0 or too large, or the widest network has fewer parameters.
pub fn width_for(
    cell: Cell,
    layers: usize,
    symbols: usize,
    parameters: usize,
) -> Result<usize, ConfigError> {
    let count = |hidden: usize| {
        let input = InputConfig::OneHot {
            vocabulary: symbols,
        };
        Ok(Layout::new(NetworkConfig {
            cell,
            input,
            hidden,
            layers,
            outputs: symbols,
        })?
        .len())
    };
    let (mut low, mut high) = (1, 2);
    while high < WIDEST && count(high)? < parameters {
        (low, high) = (high, 2 * high);
    }
    let most = count(high)?;
    if most < parameters {
        let what = "parameters";
        let value = parameters;
        return Err(ConfigError::TooLarge { what, value, most });
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if count(middle)? < parameters {
            low = middle
        } else {
            high = middle
        }
    }
    let distance = |hidden| count(hidden).map(|found: usize| found.abs_diff(parameters));
    Ok(if distance(low)? <= distance(high)? {
        low
    } else {
        high
    })
}

/// More memory than the system gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this needs about {mebibytes} MiB, which this machine does not have: give a smaller width, length or batch"
)]
pub struct MemoryError {
    /// What would be needed.
    pub mebibytes: u128,
}

/// Asks the system for so much memory, and gives it back: a refusal here is a sentence, later it would be an abort.
///
/// # Errors
/// The system refuses.
pub fn reserve(bytes: u128) -> Result<(), MemoryError> {
    let mut probe = Vec::<u8>::new();
    let fits = usize::try_from(bytes).is_ok_and(|bytes| probe.try_reserve_exact(bytes).is_ok());
    fits.then_some(()).ok_or(MemoryError {
        mebibytes: bytes >> 20,
    })
}

/// Asks the system for the memory of a training all at once, as [`reserve`] does. `windows` windows of `steps` × `batch` are kept on tapes, in elements of `size` bytes.
///
/// # Errors
/// The system refuses.
pub fn check_memory(
    layout: &Layout,
    windows: usize,
    steps: usize,
    batch: usize,
    size: usize,
) -> Result<(), MemoryError> {
    let config = layout.config();
    // Parameters, gradient, two moments, and two packings.
    let parameters = 6 * layout.len() as u128;
    let tapes = layout.shapes().iter();
    let tapes = tapes.map(|shape| {
        Tape::<f64>::floats(*shape, steps, batch).map_or(u128::MAX >> 64, |floats| floats as u128)
    });
    // Inputs and outputs of the network, outputs of the two widest layers and their gradients at most.
    let input = match config.input {
        // Tokens: their vectors are rows of a table.
        InputConfig::OneHot { .. } => 0,
        InputConfig::Embedding { width, .. } | InputConfig::Dense { width } => width,
    };
    let row = (input + config.outputs + 4 * layout.widest()) as u128;
    let rows = (steps as u128)
        .saturating_mul(batch as u128)
        .saturating_mul(row);
    let kept = (windows as u128).saturating_mul(rows.saturating_add(tapes.sum()));
    reserve((size as u128).saturating_mul(parameters.saturating_add(kept)))
}

/// The widest network that [`width_for`] looks at: some 10⁹ parameters a layer.
pub const WIDEST: usize = 1 << 14;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;

    fn layout(cell: Cell, hidden: usize) -> Layout {
        let input = InputConfig::OneHot { vocabulary: 65 };
        Layout::new(NetworkConfig {
            cell,
            input,
            hidden,
            layers: 2,
            outputs: 65,
        })
        .unwrap()
    }

    #[test]
    fn costs_by_hand() {
        let lstm = layout(Cell::Lstm, 128);
        // 2·4·128·128 + 2·4·128·256 + 2·128·65, three times.
        assert_eq!(training_flops(&lstm), 3 * (131_072 + 262_144 + 16_640));
        // Six floats a unit and step, and the initial h and c once.
        let bytes = tape_bytes(&lstm, 50);
        assert!(
            (bytes - 2.0 * 128.0 * 4.0 * (6.0 + 2.0 / 50.0)).abs() < 1e-9,
            "{bytes}"
        );
    }

    #[test]
    fn widths_give_equal_parameters() {
        let target = layout(Cell::Lstm, 128).len();
        assert_eq!(width_for(Cell::Lstm, 2, 65, target).unwrap(), 128);
        for cell in Cell::ALL {
            let hidden = width_for(cell, 2, 65, target).unwrap();
            let off = layout(cell, hidden).len() as f64 / target as f64 - 1.0;
            // A unit more adds at most two in 128 of them.
            assert!(off.abs() < 0.01, "{cell:?} {hidden} {off}");
        }
        assert_eq!(width_for(Cell::Gru, 1, 65, 1).unwrap(), 1);
        assert!(width_for(Cell::Gru, 0, 65, 1000).is_err());
        let most = layout(Cell::Rnn, WIDEST).len();
        assert_eq!(width_for(Cell::Rnn, 2, 65, most).unwrap(), WIDEST);
        let refused = width_for(Cell::Rnn, 2, 65, most + 1).unwrap_err();
        assert!(refused.to_string().contains("parameters"), "{refused}");
    }

    #[test]
    fn what_no_machine_has_is_refused() {
        let small = layout(Cell::Lstm, 16);
        assert_eq!(check_memory(&small, 1, 50, 50, 4), Ok(()));
        for (windows, steps, batch) in [
            (1, 1 << 30, 1 << 30),
            (usize::MAX, 1, 1),
            (1, usize::MAX, usize::MAX),
        ] {
            assert!(check_memory(&small, windows, steps, batch, 8).is_err());
        }
        // The widest layer counts, wherever it is.
        let config = *layout(Cell::Lstm, 1).config();
        let needed = |widths: &[usize]| {
            let layout = Layout::with_widths(config, widths).unwrap();
            check_memory(&layout, 1, 1 << 30, 1 << 30, 4)
                .unwrap_err()
                .mebibytes
        };
        assert!(needed(&[512, 2]) > needed(&[512]));
        let wide = layout(Cell::Lstm, 1 << 20);
        let refused = check_memory(&wide, 1, 1, 1, 4).unwrap_err().to_string();
        assert!(refused.contains("MiB"), "{refused}");
    }
}
