//! What the edge needs from outside, and what a request asks for.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use mkube_messages::bus::BusReader;
use mkube_messages::deployments::EvictPod;
use mkube_messages::door::Door;
use mkube_messages::gates::BootPlanReader;
use mkube_messages::lease::LeaseReader;
use mkube_messages::objects::{ObjectsReader, StoredObject, WriteObject};
use mkube_messages::offers::Offers;
use mkube_messages::volumes::VolumesReader;
use mkube_messages::watch;
use mkube_model::kinds::{Kind, View};
use mkube_model::neighbours::pod_logs::PodLogs;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_openapi::OpenApi;
use mkube_supervision::Tree;

use crate::consistency::HttpConsistency;
use crate::health::HealthChecks;
use crate::images::HttpImages;
use crate::limits::HttpLimits;
use crate::names::HttpNames;
use crate::networks::HttpNetworks;
use crate::passing_on::HttpPassingOn;
use crate::store::HttpStore;
use crate::streams::HttpStreams;
use crate::usage::HttpUsage;
use crate::written_lists::WrittenLists;

/// What the edge needs from outside. Cloned for each incarnation and each request.
#[derive(Clone)]
pub struct HttpParts {
    /// The socket; outlives the actor.
    pub listener: Arc<TcpListener>,
    /// Objects.
    pub objects: ObjectsReader,
    /// The one way in.
    pub write: Door<WriteObject>,
    /// Takes pods away, if they are not needed.
    pub evict: Door<EvictPod>,
    /// The supervisor tree.
    pub tree: watch::Receiver<Option<Tree>>,
    /// Who drives the device; none: this controller does, and nobody else may.
    pub lease: Option<LeaseReader>,
    /// Containers' output.
    pub logs: Arc<dyn PodLogs>,
    /// Commands in containers, and ports of pods.
    pub streams: HttpStreams,
    /// The same of pods that other nodes have.
    pub passing_on: HttpPassingOn,
    /// What containers and the node use.
    pub usage: HttpUsage,
    /// Images.
    pub images: HttpImages,
    /// What is told of networks and addresses.
    pub networks: HttpNetworks,
    /// What is told of volumes.
    pub volumes: VolumesReader,
    /// The order pods start in.
    pub boot_plan: BootPlanReader,
    /// What differs, and repairs of it.
    pub consistency: HttpConsistency,
    /// The store as a whole.
    pub store: HttpStore,
    /// Zones and records.
    pub names: HttpNames,
    /// The message bus.
    pub bus: BusReader,
    /// What the kinds look like, for clients that check and explain.
    pub openapi: Arc<OpenApi>,
    /// Files offered to the device.
    pub offers: Offers,
    /// What `/readyz` asks.
    pub health: HealthChecks,
    /// Time of day.
    pub clock: Arc<dyn WallClock>,
    /// Whether actors may be crashed on request.
    pub allow_chaos: bool,
    /// Host names requests may be addressed to, with and without port; `None` allows all. With a list, requests of web pages
    /// (with an `Origin`) are refused too.
    pub allowed_hosts: Option<Vec<String>>,
    /// Version of mkube.
    pub version: &'static str,
    /// How many clients there is room for.
    pub limits: HttpLimits,
    /// Lists as they were last written.
    pub lists: WrittenLists,
    /// Figures of this edge.
    pub figures: Arc<Figures>,
}

/// Figures of the edge.
#[derive(Debug, Default)]
pub struct Figures {
    pub(crate) requests: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) watches: AtomicUsize,
    /// Connections that were upgraded and are still there.
    pub(crate) streams: AtomicUsize,
    pub(crate) in_flight: AtomicUsize,
    /// Bytes of bodies that are being read or worked on.
    pub(crate) body_bytes: AtomicUsize,
}

/// Decoded query parameters; of several values the first counts, as in Kubernetes.
pub type Query = HashMap<String, String>;

/// Where in the tree of resources a request points.
#[derive(Debug, Clone)]
pub struct Target {
    /// The kind's row.
    pub kind: Kind,
    /// Namespace of the path; `None` asks for all of them, or the kind has none.
    pub namespace: Option<String>,
    /// Name, if one object is meant.
    pub name: Option<String>,
    /// Subresource.
    pub sub: Option<String>,
    /// It was reached by a path of the Go controller, whose clients say another `apiVersion`.
    pub in_core: bool,
    /// Name of the program that asks.
    pub agent: String,
    /// The client sees its objects in other words.
    pub view: Option<&'static View>,
}

impl Target {
    /// An object as the client sees it.
    pub fn text<'o>(&self, object: &'o StoredObject) -> Cow<'o, str> {
        text_in(self.view, object)
    }

    /// The kind as the client calls it.
    pub fn called(&self) -> &Kind {
        self.view.map_or(&self.kind, |view| &view.kind)
    }
}

/// An object as it is seen in a view.
pub fn text_in<'o>(view: Option<&View>, object: &'o StoredObject) -> Cow<'o, str> {
    match view {
        Some(view) => view.shown(&object.value()).to_string().into(),
        None => object.text().into(),
    }
}
