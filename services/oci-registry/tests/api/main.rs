//! The registry over HTTP, as clients use it: each case of the OCI distribution conformance suite, and what the suite does not ask.

mod adopted;
mod blobs;
mod content;
mod data;
mod faults;
mod listings;
mod many;
mod real_clients;
mod seams;
mod world;
