//! The whole controller in simulated time: one seed, one run.
