//! How long anybody waits for anybody, and why.

use std::time::Duration;

/// A write of an object: one fsync, a few of them when others are ahead.
pub const WRITE: Duration = Duration::from_secs(10);
/// An address: at most three short device calls.
pub const LEASE: Duration = Duration::from_secs(20);
/// A device command other than the creation of a container.
pub const DEVICE: Duration = Duration::from_secs(30);
/// Creation of a container: the device may answer only after unpacking, its own limit is about 60 s.
pub const CREATE_CONTAINER: Duration = Duration::from_secs(90);
/// An image archive.
pub const IMAGE: Duration = Duration::from_secs(600);
/// Names of a pod that is to be stopped: one request to each name server. A server that does not answer holds up no stop.
pub const WITHDRAW: Duration = Duration::from_secs(3);
/// What a registry has under a tag: a few requests, and redirects of slow ones.
pub const RESOLVE: Duration = Duration::from_secs(30);
/// A redeployment: a question to the registry, and a write for each pod that has something to forget.
pub const REDEPLOY: Duration = Duration::from_secs(60);
/// A download of the device: it is cut after about 60 s, and one may have to wait for another.
pub const FETCH: Duration = Duration::from_secs(150);
/// A repair of what nobody owns: a few removals, one after the other, with a pause between them.
pub const REPAIR: Duration = Duration::from_secs(120);
/// Taking an older store as it is: everything is read once more, copied, and revisions that were given out are used up.
pub const ACCEPT: Duration = Duration::from_secs(300);
/// Reading the whole store at start.
pub const LOAD: Duration = Duration::from_secs(60);
