//! How long everything may take, and why nobody's clock has to be right.

use std::time::Duration;

use mkube_model::lease_record::LEASE_SECONDS;

/// A time on one's own clock, which never steps: since the process began. Nobody tells another what it says.
pub type Moment = Duration;

/// How long a holder may begin commands after it sent its last word, while somebody may take over.
pub const DURATION: Duration = Duration::from_secs(LEASE_SECONDS);
/// Pause between two words of a holder, while somebody stands by.
pub const RENEW: Duration = Duration::from_secs(2);
/// The longest a short command may take, while somebody may take over.
pub const SHORT: Duration = Duration::from_secs(5);
/// When the commands of a holder that announced no long one have ended, from its last word on.
pub const ENDED: Duration = Duration::from_secs(LEASE_SECONDS + 5);
/// The longest that any command may take.
pub const LONGEST: Duration = Duration::from_secs(75);
/// How long a command may wait until it is announced.
pub const ANNOUNCE: Duration = Duration::from_secs(5);
/// Pause between two words of whoever stands by and is acknowledged.
pub const BEAT: Duration = Duration::from_secs(10);
/// Whoever stands by and said nothing for so long has gone: three of its words are missing.
pub const SILENCE: Duration = Duration::from_secs(30);
/// Who asked so long ago and was never acknowledged may be replaced by another who asks.
pub const FORSAKEN: Duration = Duration::from_secs(600);
/// A holder that has not acknowledged anybody for so long does not read the book, or is no more.
pub const DEAF: Duration = Duration::from_secs(15);
/// The book was asked for so long in vain: it is taken to be away.
pub const AWAY: Duration = Duration::from_secs(5);

/// A span of another's clock, by mine: both may go wrong by a hundredth, in opposite directions, and a little more.
pub fn padded(span: Duration) -> Duration {
    span + span / 40 + Duration::from_millis(250)
}

/// Whole seconds, rather too many.
pub fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}
