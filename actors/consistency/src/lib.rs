//! Consistency: compares what is wanted with what is there, reports what differs, and has it repaired.
