//! Probing: one question to a container, over HTTP, TCP or gRPC, and whether the answer is a good one.
