//! Shared pieces of the workspace benches.
