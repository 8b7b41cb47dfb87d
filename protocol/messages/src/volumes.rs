//! What is told of volumes: published by VolumesActor, read by the HTTP edge.

use std::sync::Arc;

use crate::watch;

/// What kind of volume it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum VolumeKind {
    /// Goes with its pod.
    EmptyDir,
    /// Files made from a ConfigMap.
    ConfigMap,
    /// Files made from a Secret.
    Secret,
    /// A directory of the device.
    HostPath,
    /// A plain directory, kept for its container; never deleted by mkube.
    Volume,
}

impl VolumeKind {
    /// As the field of a pod's volume says it; `volume` for plain ones.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EmptyDir => "emptyDir",
            Self::ConfigMap => "configMap",
            Self::Secret => "secret",
            Self::HostPath => "hostPath",
            Self::Volume => "volume",
        }
    }
}

/// One volume of one container, or a directory nobody mounts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VolumeRow {
    /// Namespace of the pod; empty when nobody mounts it.
    pub namespace: String,
    /// The pod; empty when nobody mounts it.
    pub pod: String,
    /// The container in the pod; the row's name when nobody mounts it.
    pub container: String,
    /// Name of the volume.
    pub volume: String,
    /// Its kind.
    pub kind: VolumeKind,
    /// Where it lies, as the device spells it.
    pub path: String,
    /// Whether an object mounts it.
    pub used: bool,
    /// Bytes, where mkube sees them and has counted them.
    pub bytes: Option<u64>,
}

/// What VolumesActor publishes.
#[derive(Debug, Clone, Default)]
pub struct VolumesView {
    /// False until the store was read: until then nothing is known to be unused.
    pub loaded: bool,
    /// Sorted by pod, container and name; what nobody mounts comes first.
    pub rows: Vec<VolumeRow>,
}

/// Publishes what is told of volumes; outlives the actor.
pub type VolumesPublisher = Arc<watch::Sender<Arc<VolumesView>>>;
/// Reads it.
pub type VolumesReader = watch::Receiver<Arc<VolumesView>>;

/// A publisher and a reader, with nothing known.
pub fn volumes_view() -> (VolumesPublisher, VolumesReader) {
    let (sender, reader) = watch::channel(Arc::default());
    (Arc::new(sender), reader)
}
