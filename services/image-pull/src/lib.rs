//! From an image reference to the archive RouterOS unpacks: pull, verify, flatten, cache.
//!
//! | question | file |
//! |---|---|
//! | what is answered to whom | `source` |
//! | what a reference names, who is asked for it and as whom | `image_name`, `credentials` |
//! | how a registry is asked | `asking`, `token`, `transport` |
//! | what it means at the registry, and for which platform | `resolve`, `manifest` |
//! | how bytes come and are checked | `download`, `blobs`, `digest` |
//! | one pull for many | `flights`, `pull` |
//! | how layers become an archive | `convert` |
//! | what is kept, for how long, and whether it is sound | `cache`, `records`, `outline`, `collect` |

mod asking;
mod blobs;
mod cache;
mod collect;
pub mod convert;
mod credentials;
mod digest;
mod download;
mod flights;
mod image_name;
mod manifest;
mod options;
mod outline;
mod pull;
mod records;
mod resolve;
mod source;
mod token;
mod transport;
mod trouble;

pub use options::{KnowArchitecture, Pace, PullOptions, PullParts};
pub use source::ImageSource;
