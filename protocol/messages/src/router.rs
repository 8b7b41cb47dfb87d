//! What RouterActor answers, and the picture of the device it publishes.
//!
//! Commands say *ensure*: a reply that got lost is followed by a look at the device, so repeating one never makes a second
//! row. The picture is complete or it is not there: nobody concludes from a half-read list.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::watch;
use actix::Message;
use imbl::OrdMap;
use jiff::Timestamp;
use mkube_model::neighbours::router::{
    AddressRow, BridgePortRow, ContainerRow, LogRow, MountRow, NeighbourRow, NewContainer, NewMount, NewVeth,
    RouterFault, SystemResource, VethRow,
};
use mkube_model::secret::Secret;
use tokio::time::Instant;

use crate::request::{Floor, Request, RequestContext};

/// What the device looked like when it was last read. Cheap to clone, and two of them cheap to compare: they share what is
/// the same, and rows that did not change keep their `Arc`.
#[derive(Debug, Clone, Default)]
pub struct DeviceSnapshot {
    /// Counts the readings; grows by one with each publication.
    pub sequence: u64,
    /// True once containers and veths were both read, and the last reading worked.
    pub reachable: bool,
    /// True once containers, veths and bridge ports were read at least once.
    pub complete: bool,
    /// Why the last reading failed.
    pub fault: Option<String>,
    /// When the last reading that worked was begun: what is running in it ran at that time.
    pub read_at: Option<Instant>,
    /// Containers by name.
    pub containers: OrdMap<String, Arc<ContainerRow>>,
    /// veths by name.
    pub veths: OrdMap<String, Arc<VethRow>>,
    /// Bridge ports by interface name.
    pub ports: OrdMap<String, Arc<BridgePortRow>>,
    /// Figures of the device, once read.
    pub resource: Option<SystemResource>,
    /// Counts the boots of the device that were noticed. Figures are read together with the first list after the device was away,
    /// or after a process ended behind our back: what that list shows belongs to this boot.
    pub boots: u64,
    /// When the device started, once its uptime was read; never later than it really was. Another value means that it was
    /// rebooted: what ran before that moment does not run any more.
    pub booted_at: Option<Instant>,
    /// The same by the clock on the wall, as it stood when the start was noticed, or as it was set back since.
    pub booted_on: Option<Timestamp>,
    /// Mount and environment lists, once read: more slowly than the rest, so they may be a minute older.
    pub lists: Option<Arc<DeviceLists>>,
}

/// What mount and environment lists held when they were last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceLists {
    /// When that reading was begun.
    pub read_at: Instant,
    /// Mounts by list.
    pub mounts: BTreeMap<String, Vec<MountRow>>,
    /// Names of variables by list. Their values may be secrets and are not kept.
    pub envs: BTreeMap<String, Vec<String>>,
}

/// Reads the published picture.
pub type DeviceReader = watch::Receiver<Arc<DeviceSnapshot>>;

macro_rules! router_request {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident : $type:ty),* $(,)? } -> $reply:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Message)]
        #[rtype(result = "Result<<Self as Request>::Reply, RouterFault>")]
        pub struct $name {
            /// Id, deadline, span.
            pub context: RequestContext,
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Request for $name {
            type Reply = $reply;
            type Fault = RouterFault;
            const FLOOR: Floor = Floor::Gate;
            fn context(&self) -> &RequestContext {
                &self.context
            }
        }
    };
}

router_request! {
    /// The bridge, with this gateway address, exists. Sent by IpamActor for managed networks. Safe to repeat.
    EnsureBridge {
        /// RouterOS name.
        bridge: String,
        /// Gateway address with prefix length.
        address: mkube_model::IpNet,
    } -> ()
}

router_request! {
    /// What was made for a network is gone: its gateway address, and the bridge, unless it is used by others or somebody else made
    /// it. Refused while interfaces of pods are on it. Sent by IpamActor for managed networks. Safe to repeat.
    ReleaseBridge {
        /// RouterOS name.
        bridge: String,
        /// Gateway address with prefix length.
        address: mkube_model::IpNet,
        /// Another network is on the bridge too.
        shared: bool,
    } -> ()
}

router_request! {
    /// Who is heard on the device's networks: addresses somebody uses, whoever gave them out. A question.
    DescribeNeighbours {} -> Vec<NeighbourRow>
}

router_request! {
    /// Names of the bridges and the device's own addresses: what an unmanaged network must find. A question.
    DescribeNetworks {} -> (Vec<String>, Vec<AddressRow>)
}

router_request! {
    /// The veth exists with this address and is a port of the bridge. Sent by PodActor. Safe to repeat. An interface of that
    /// name with another comment, or another interface with that address, is left alone and answered with `AlreadyExists`.
    EnsureVeth {
        /// The row.
        veth: NewVeth,
        /// The bridge it is a port of.
        bridge: String,
    } -> ()
}

router_request! {
    /// Neither the veth nor its bridge port exists. Safe to repeat. An interface with another comment is left alone and
    /// answered with `AlreadyExists`.
    RemoveVeth {
        /// Name of the veth.
        name: String,
        /// The comment it was made with; one without a comment was adopted by its name.
        owner: String,
    } -> ()
}

router_request! {
    /// The mount list holds exactly these rows. Safe to repeat.
    EnsureMounts {
        /// The list.
        list: String,
        /// Its rows.
        mounts: Vec<NewMount>,
    } -> ()
}

router_request! {
    /// The environment list holds exactly these rows, in this order. Safe to repeat.
    EnsureEnvs {
        /// The list.
        list: String,
        /// Names and values.
        envs: Vec<(String, String)>,
    } -> ()
}

router_request! {
    /// A container row of that name exists. An existing one is left as it is. Safe to repeat.
    EnsureContainer {
        /// The row.
        container: NewContainer,
    } -> ()
}

router_request! {
    /// Starts the container of that name; answered when accepted. Already running is success.
    StartContainer {
        /// Name of the container.
        name: String,
    } -> ()
}

router_request! {
    /// Stops the container of that name; answered when accepted. Already stopped is success.
    StopContainer {
        /// Name of the container.
        name: String,
    } -> ()
}

router_request! {
    /// Removes the container of that name; answered when accepted. Already gone is success.
    RemoveContainer {
        /// Name of the container.
        name: String,
    } -> ()
}

router_request! {
    /// Writes the owner's mark (comment) onto an adopted container. Safe to repeat.
    MarkContainer {
        /// Name of the container.
        name: String,
        /// The mark.
        comment: String,
    } -> ()
}

router_request! {
    /// Whether the device starts the container by itself when it boots. Disturbs no process. Safe to repeat.
    SetStartOnBoot {
        /// Name of the container.
        name: String,
        /// Whether it does.
        on: bool,
    } -> ()
}

router_request! {
    /// The last messages of one container as the device has them, oldest first. A question.
    DescribeContainerLog {
        /// Name of the container.
        name: String,
    } -> Vec<LogRow>
}

router_request! {
    /// Bytes of a file of the device; nothing when it is not there. A question.
    DescribeFile {
        /// Path on the device.
        path: String,
    } -> Option<u64>
}

router_request! {
    /// Bytes free where a path of the device lies, if the device knows. A question.
    DescribeRoom {
        /// Path on the device.
        path: String,
    } -> Option<u64>
}

router_request! {
    /// The device fetches a file over HTTP; one after the other. Sent by ImageActor, which offers the file and looks afterwards: an
    /// answer that got lost leaves open whether the file still comes. Safe to repeat: the file is replaced.
    FetchFile {
        /// Where it is offered.
        url: Secret,
        /// Path on the device; its directories are made.
        path: String,
        /// Answered when the device has begun, not when the file is there: for what takes longer than a session may.
        in_background: bool,
    } -> ()
}

router_request! {
    /// A file of the device has this name; another one of that name is gone. Safe to repeat.
    RenameFile {
        /// Path on the device.
        from: String,
        /// The new path.
        to: String,
    } -> ()
}

router_request! {
    /// The file does not exist. Safe to repeat.
    RemoveFile {
        /// Path on the device.
        path: String,
    } -> ()
}

router_request! {
    /// A file of the device holds this text, at most [`SMALL_FILE`] bytes. Safe to repeat.
    ///
    /// [`SMALL_FILE`]: mkube_model::neighbours::router::SMALL_FILE
    PlaceFile {
        /// Path on the device; its directories are made.
        path: String,
        /// The text.
        contents: String,
    } -> ()
}
