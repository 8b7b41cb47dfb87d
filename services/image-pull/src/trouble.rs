//! Why a pull does not go on, before it is known for whom it was.

use std::time::Duration;

use mkube_model::neighbours::tarballs::TarballFault;

/// Why there is no archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The registry cannot be reached, is overloaded or broke off.
    Away { registry: String, why: String },
    /// The registry refuses.
    Denied { registry: String, why: String },
    /// The registry has no such thing.
    NotFound { registry: String },
    /// Not made for the device.
    WrongPlatform { wanted: String, available: String },
    /// What came is not what was promised.
    Unusable(String),
    /// No room.
    NoRoom(String),
    /// The cache.
    Unreadable(String),
}

impl Trouble {
    /// As those who asked for `image` are told.
    pub(crate) fn about(self, image: &str) -> TarballFault {
        let image = image.to_owned();
        match self {
            Trouble::Away { registry, why } => TarballFault::Unreachable { image, registry, why },
            Trouble::Denied { registry, why } => TarballFault::Denied { image, registry, why },
            Trouble::NotFound { registry } => TarballFault::NotFound { image, registry },
            Trouble::WrongPlatform { wanted, available } => TarballFault::WrongPlatform { image, wanted, available },
            Trouble::Unusable(why) => TarballFault::Unusable { image, why },
            Trouble::NoRoom(why) => TarballFault::NoRoom { image, why },
            Trouble::Unreadable(why) => TarballFault::Unreadable(why),
        }
    }

    /// Whether another registry, or the same asked as somebody else, may know better.
    pub(crate) fn is_of_one_registry(&self) -> bool {
        !matches!(self, Trouble::NoRoom(_) | Trouble::Unreadable(_))
    }

    /// A fault of the disk the cache lies on.
    pub(crate) fn disk(what: &std::path::Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Trouble::NoRoom(format!("{} cannot be written: the disk is full", what.display()))
            }
            _ => Trouble::Unreadable(format!("{}: {error}", what.display())),
        }
    }
}

/// What came of asking once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hitch {
    /// Asking again may help, after this pause where the registry named one.
    Later { after: Option<Duration>, why: String },
    /// It will not help.
    Final(Trouble),
}

impl From<Trouble> for Hitch {
    fn from(trouble: Trouble) -> Self {
        Hitch::Final(trouble)
    }
}

impl Hitch {
    pub(crate) fn later(why: impl Into<String>) -> Self {
        Hitch::Later { after: None, why: why.into() }
    }
}
