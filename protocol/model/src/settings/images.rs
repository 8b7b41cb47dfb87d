//! The block `images`: where images are pulled from, how much may be spent on them, and how they come to the device.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::duration::as_text;
use super::section::Section;
use super::size::as_size;
use crate::secret::{MASK, Secret};

/// Images: registries, limits and delivery.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImagesSettings {
    /// Architecture images are chosen for; none: that of the device.
    pub architecture: Option<Architecture>,
    /// What is to know of registries. One that is not listed is asked over TLS and without credentials.
    pub registries: Vec<ImageRegistry>,
    /// Layers downloaded at the same time, over all images.
    pub parallel_downloads: u32,
    /// Bytes all files of an image may have together.
    #[serde(serialize_with = "as_size")]
    pub max_unpacked_bytes: u64,
    /// Bytes of the cache's file system that pulls leave free; below it unused archives are collected.
    #[serde(serialize_with = "as_size")]
    pub keep_free_bytes: u64,
    /// Age since its last use from which an unused archive is collected, even if fewer than `storage.gcKeepLastN` are kept.
    #[serde(serialize_with = "as_text")]
    pub max_age: Duration,
    /// How archives come to the device.
    pub delivery: Delivery,
    /// Address under which the device reaches this API, for `/tool/fetch`; empty: the default network's gateway decides.
    #[serde(rename = "fetchBaseURL")]
    pub fetch_base_url: String,
}

/// What is to know of one registry.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRegistry {
    /// `host[:port]` as references name it; `docker.io` for images without one.
    pub host: String,
    /// Whether it is asked without TLS.
    #[serde(rename = "plainHTTP")]
    pub plain_http: bool,
    /// Authority of its certificate, PEM file.
    pub ca_file: Option<PathBuf>,
    /// User; empty: anonymous.
    pub user: String,
    /// Password or token.
    pub password: Secret,
    /// Registries asked before it, in this order, `host[:port]`. What is to know of them stands in entries of their own.
    pub mirrors: Vec<String>,
}

/// Instruction set of a device, in the words of the OCI image specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 64 bit x86.
    Amd64,
    /// 64 bit ARM.
    Arm64,
    /// 32 bit ARM.
    Arm,
}

impl Architecture {
    /// Its name in image indexes.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Amd64 => "amd64",
            Architecture::Arm64 => "arm64",
            Architecture::Arm => "arm",
        }
    }

    /// Reads the OCI name, that of RouterOS's `architecture-name` or that of Linux.
    pub fn named(text: &str) -> Option<Self> {
        match text {
            "amd64" | "x86_64" | "x86" => Some(Architecture::Amd64),
            "arm64" | "aarch64" => Some(Architecture::Arm64),
            "arm" => Some(Architecture::Arm),
            _ => None,
        }
    }
}

/// How archives come to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// Over the shared disk where `storage` maps the cache to a path of the device, else by fetch.
    Auto,
    /// Over the shared disk.
    Shared,
    /// The device fetches them from this API.
    Fetch,
}

pub(super) fn images(section: Section<'_>) -> ImagesSettings {
    let architecture = section.filled("architecture").and_then(|text| {
        let known = ["amd64", "arm64", "arm"].contains(&text.as_str()).then(|| Architecture::named(&text)).flatten();
        if known.is_none() {
            section.problem("architecture", format!("is {text:?}, where amd64, arm64 or arm is wanted"));
        }
        known
    });
    let delivery = match section.filled("delivery").as_deref() {
        None | Some("auto") => Delivery::Auto,
        Some("shared") => Delivery::Shared,
        Some("fetch") => Delivery::Fetch,
        Some(other) => {
            section.problem("delivery", format!("is {other:?}, where auto, shared or fetch is wanted"));
            Delivery::Auto
        }
    };
    let second = Duration::from_secs(1);
    let settings = ImagesSettings {
        architecture,
        registries: registries(&section),
        parallel_downloads: section.number("parallelDownloads", 1..=64).unwrap_or(3),
        max_unpacked_bytes: section.size("maxUnpackedBytes").unwrap_or(16 << 30),
        keep_free_bytes: section.size("keepFreeBytes").unwrap_or(256 << 20),
        max_age: section.duration("maxAge", 86_400 * second).unwrap_or(30 * 86_400 * second),
        delivery,
        fetch_base_url: section.text("fetchBaseURL").unwrap_or_default().trim_end_matches('/').to_owned(),
    };
    if settings.max_unpacked_bytes == 0 {
        section.problem("maxUnpackedBytes", "is 0, which no image fits in");
    }
    if !settings.fetch_base_url.is_empty()
        && let Some(why) = super::read::not_a_url(&settings.fetch_base_url)
    {
        section.problem("fetchBaseURL", why);
    }
    section.finish();
    settings
}

fn registries(section: &Section<'_>) -> Vec<ImageRegistry> {
    let mut registries: Vec<ImageRegistry> = Vec::new();
    for entry in section.sections("registries") {
        let registry = ImageRegistry {
            host: entry.filled("host").unwrap_or_default(),
            plain_http: entry.flag("plainHTTP").unwrap_or(false),
            ca_file: entry.path("caFile"),
            user: entry.filled("user").unwrap_or_default(),
            password: Secret::new(entry.text("password").unwrap_or_default()),
            mirrors: entry.texts("mirrors"),
        };
        if !is_host(&registry.host) {
            entry.problem(
                "host",
                format!("is {:?}, where host or host:port is wanted, without a scheme", registry.host),
            );
        }
        if registries.iter().any(|before| before.host == registry.host) {
            entry.problem("host", format!("{} is listed twice", registry.host));
        }
        if registry.plain_http && registry.ca_file.is_some() {
            entry.problem("caFile", "has no effect with plainHTTP: true; one of the two must go");
        }
        if registry.user.is_empty() && !registry.password.is_empty() {
            entry.problem("user", "is needed with password");
        }
        if registry.password.expose() == MASK {
            entry.warning("password", format!("is {MASK}, which check-config prints in place of a password"));
        }
        for (nth, mirror) in registry.mirrors.iter().enumerate() {
            let key = format!("mirrors[{nth}]");
            if !is_host(mirror) {
                entry.problem(&key, format!("is {mirror:?}, where host or host:port is wanted, without a scheme"));
            } else if *mirror == registry.host || registry.mirrors[..nth].contains(mirror) {
                entry.problem(&key, format!("{mirror} is asked already"));
            }
        }
        entry.finish();
        registries.push(registry);
    }
    registries
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && !text.contains(['/', '@']) && !text.contains(char::is_whitespace) && !text.starts_with(':')
}
