//! Each section of the file, in the order of the file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::images::images;
use super::nats::{NatsSettings, nats};
use super::read_networks::networks;
use super::section::Section;
use super::types::*;
use crate::secret::{MASK, Secret};

pub(super) const NO_EFFECT: &str = "has no effect in mkube; the line can go";
const REGISTRY_ONLY: &str = "has no effect here; it belongs in the configuration of mkube registry";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn settings(file: Section<'_>) -> Settings {
    let node_name = file.filled("nodeName").unwrap_or_else(|| "mkube-node".to_owned());
    if !is_dns_name(&node_name) {
        file.problem("nodeName", format!("{node_name:?} is not a DNS name: lower case letters, digits, '-' and '.'"));
    }
    let standalone = file.flag("standalone").unwrap_or(false);
    let kubeconfig = file.text("kubeconfig").unwrap_or_default();
    let backend = match file.filled("backend").as_deref() {
        None | Some("routeros") => Backend::Routeros,
        Some("stormbase") => Backend::Stormbase,
        Some(other) => {
            file.problem("backend", format!("is {other:?}, where routeros or stormbase is wanted"));
            Backend::Routeros
        }
    };
    let routeros = routeros(file.section("routeros"));
    let stormbase = stormbase(file.section("stormbase"), backend);
    let networks = networks(&file);
    let storage = storage(&file);
    let registry = registry(file.section("registry"));
    let lifecycle = lifecycle(&file);
    let dzo = dzo(file.section("dzo"));
    let namespace = namespace(file.section("namespace"));
    let logging = logging(file.section("logging"));
    let nats = nats(file.section("nats"));
    let bmh = bmh(file.section("bmh"));
    let api = api(file.section("api"), &dzo);
    let store = store(file.section("store"), &nats, &storage);
    let images = images(file.section("images"));
    let rollouts = rollouts(file.section("rollouts"));
    let consistency = super::consistency::read(file.section("consistency"));
    file.inert(&["proxmox", "cluster", "console", "gitBackup"], NO_EFFECT);
    file.finish();
    Settings {
        node_name,
        standalone,
        kubeconfig,
        backend,
        routeros,
        stormbase,
        networks,
        storage,
        registry,
        lifecycle,
        dzo,
        namespace,
        logging,
        nats,
        bmh,
        api,
        store,
        images,
        rollouts,
        consistency,
    }
}

fn routeros(section: Section<'_>) -> RouterosSettings {
    let wants_tls = section.flag("useTLS");
    let mut rest_url = section.filled("restUrl").unwrap_or_else(|| "https://192.168.200.1/rest".to_owned());
    if !rest_url.contains("://") {
        let scheme = if wants_tls == Some(false) { "http" } else { "https" };
        rest_url = format!("{scheme}://{rest_url}");
    }
    while rest_url.ends_with('/') {
        rest_url.pop();
    }
    if let Some(why) = not_a_url(&rest_url) {
        // The text may hold a password, so it is not repeated.
        section.problem("restUrl", why);
    } else if rest_url.matches('/').count() == 2 {
        rest_url.push_str("/rest");
    }
    let use_tls = rest_url.starts_with("https://");
    if wants_tls == Some(true) && !use_tls {
        section.warning("useTLS", "is true, but restUrl begins with http://; the URL decides");
    }
    let user = section.filled("user").unwrap_or_else(|| "admin".to_owned());
    let password = Secret::new(section.text("password").unwrap_or_default());
    if password.expose() == MASK {
        section.warning("password", format!("is {MASK}, which check-config prints in place of a password"));
    }
    let insecure_verify = section.flag("insecureVerify").unwrap_or(true);
    let ca_cert = section.path("caCert");
    section.inert(&["address"], "has no effect: mkube speaks to the device through restUrl only");
    section.inert(&["localFileRoot", "localFileDevicePrefix"], "has no effect; storage.persistentMounts says it");
    section.finish();
    RouterosSettings { rest_url, user, password, insecure_verify, ca_cert, use_tls }
}

fn stormbase(section: Section<'_>, backend: Backend) -> StormbaseSettings {
    let settings = StormbaseSettings {
        address: section.text("address").unwrap_or_default(),
        ca_cert: section.path("caCert"),
        client_cert: section.path("clientCert"),
        client_key: section.path("clientKey"),
        insecure: section.flag("insecure").unwrap_or(false),
    };
    if backend == Backend::Stormbase && settings.address.is_empty() {
        section.problem("address", "is needed with backend: stormbase");
    }
    section.finish();
    settings
}

fn storage(file: &Section<'_>) -> StorageSettings {
    let section = file.section("storage");
    let mut persistent_mounts: Vec<PersistentMount> = Vec::new();
    for mount in section.sections("persistentMounts") {
        let container_path = mount.filled("containerPath").unwrap_or_default();
        let host_path = mount.filled("hostPath").unwrap_or_default();
        if !container_path.starts_with('/') {
            mount.problem("containerPath", format!("is {container_path:?}, where an absolute path is wanted"));
        }
        if host_path.is_empty() {
            mount.problem("hostPath", "is needed: what the device calls the directory");
        }
        mount.finish();
        persistent_mounts.push(PersistentMount { container_path, host_path });
    }
    persistent_mounts.extend(mounts_as_map(file));
    for (nth, mount) in persistent_mounts.iter().enumerate() {
        if persistent_mounts[..nth].iter().any(|before| before.container_path == mount.container_path) {
            section.problem("persistentMounts", format!("{} is mapped twice", mount.container_path));
        }
    }
    let settings = StorageSettings {
        base_path: section.path("basePath").unwrap_or_else(|| PathBuf::from("/raid1/images")),
        tarball_cache: section.path("tarballCache").unwrap_or_else(|| PathBuf::from("/raid1/cache")),
        self_root_dir: section.text("selfRootDir").unwrap_or_default(),
        persistent_mounts,
        gc_interval: section.duration("gcIntervalMinutes", MINUTE).unwrap_or(30 * MINUTE),
        gc_keep_last_n: section.number("gcKeepLastN", 0..=10_000).unwrap_or(5),
        gc_dry_run: section.flag("gcDryRun").unwrap_or(false),
    };
    for (key, path) in [("basePath", &settings.base_path), ("tarballCache", &settings.tarball_cache)] {
        if !path.is_absolute() {
            section.problem(key, format!("is {:?}, where an absolute path is wanted", path.display().to_string()));
        }
    }
    section.inert(&["secretKeyPath", "iscsiPortalIP", "stormblock"], NO_EFFECT);
    section.finish();
    settings
}

/// The README's spelling: `persistentMounts: {/data: raid1/volumes/kube.gt.lo/data}` at the top.
fn mounts_as_map(file: &Section<'_>) -> Vec<PersistentMount> {
    let Some(value) = file.value("persistentMounts") else {
        return Vec::new();
    };
    let Value::Object(map) = value else {
        file.problem(
            "persistentMounts",
            "is not a map of controller path to device path; the list form goes under storage",
        );
        return Vec::new();
    };
    let mut mounts = Vec::new();
    for (container_path, host_path) in map {
        match host_path {
            Value::String(host_path) if container_path.starts_with('/') && !host_path.is_empty() => {
                mounts.push(PersistentMount { container_path, host_path });
            }
            _ => {
                file.problem("persistentMounts", format!("{container_path:?} does not map an absolute path to a path"))
            }
        }
    }
    // A map has no order, and the first match wins: the longer path is the more exact one.
    mounts.sort_by(|a, b| {
        b.container_path.len().cmp(&a.container_path.len()).then_with(|| a.container_path.cmp(&b.container_path))
    });
    mounts
}

fn registry(section: Section<'_>) -> RegistrySettings {
    let mut local_addresses = section.texts("localAddresses");
    if let Some(address) = section.filled("address") {
        local_addresses.retain(|other| *other != address);
        local_addresses.insert(0, address);
    }
    for (nth, address) in local_addresses.iter().enumerate() {
        if address.is_empty() || address.contains(['/', ' ', '@']) {
            section.problem(
                &format!("localAddresses[{nth}]"),
                format!("is {address:?}, where host:port is wanted, without a scheme"),
            );
        }
        if local_addresses[..nth].contains(address) {
            section.problem(&format!("localAddresses[{nth}]"), format!("{address} is listed twice"));
        }
    }
    let tls_ca_cert_file = section.path("tlsCACertFile").unwrap_or_else(|| PathBuf::from("/etc/mkube/registry-ca.crt"));
    section.inert(
        &[
            "enabled",
            "listenAddr",
            "storePath",
            "tlsCertFile",
            "tlsKeyFile",
            "pullThrough",
            "upstreamRegistries",
            "notifyURL",
            "watchImages",
            "watchPollSeconds",
            "upstreamSyncEnabled",
            "upstreamToken",
            "upstreamTokenFile",
        ],
        REGISTRY_ONLY,
    );
    section.finish();
    RegistrySettings { local_addresses, tls_ca_cert_file }
}

fn lifecycle(file: &Section<'_>) -> LifecycleSettings {
    let older = file.section("systemd");
    let section = file.section("lifecycle");
    if older.is_present() && section.is_present() {
        older.warning_here("is the older name of lifecycle; where both set a key, lifecycle wins");
    }
    let path = (section.path("bootManifestPath"), older.path("bootManifestPath"));
    let interval =
        (section.duration("watchdogIntervalSeconds", SECOND), older.duration("watchdogIntervalSeconds", SECOND));
    let restarts = (section.number("maxRestarts", 0..=100_000), older.number("maxRestarts", 0..=100_000));
    let cooldown = (section.duration("restartCooldown", SECOND), older.duration("restartCooldown", SECOND));
    let parallel_starts = section.number("parallelStarts", 1..=1000).unwrap_or(4);
    let start_deadline = section.duration("startDeadline", SECOND).unwrap_or(60 * SECOND);
    if start_deadline < SECOND {
        section.problem("startDeadline", "must be at least 1s");
    }
    section.finish();
    older.finish();
    LifecycleSettings {
        boot_manifest_path: path.0.or(path.1).unwrap_or_else(|| PathBuf::from("/etc/mkube/boot-order.yaml")),
        watchdog_interval: interval.0.or(interval.1).unwrap_or(5 * SECOND),
        max_restarts: restarts.0.or(restarts.1).unwrap_or(5),
        restart_cooldown: cooldown.0.or(cooldown.1).unwrap_or(10 * SECOND),
        parallel_starts,
        start_deadline,
    }
}

fn mode(section: &Section<'_>) -> String {
    let mode = section.text("defaultMode").unwrap_or_default();
    if !["", "open", "nested"].contains(&mode.as_str()) {
        section.problem("defaultMode", format!("is {mode:?}, where open or nested is wanted"));
    }
    mode
}

fn dzo(section: Section<'_>) -> DzoSettings {
    let settings = DzoSettings {
        enabled: section.flag("enabled").unwrap_or(false),
        listen_addr: section.text("listenAddr").unwrap_or_default(),
        state_path: section.path("statePath").unwrap_or_else(|| PathBuf::from("/etc/mkube/dzo-state.yaml")),
        microdns_image: section
            .filled("microdnsImage")
            .unwrap_or_else(|| "192.168.200.3:5000/microdns:latest".to_owned()),
        default_mode: mode(&section),
    };
    if !settings.enabled && !settings.listen_addr.is_empty() {
        section.warning("listenAddr", "has no effect while dzo.enabled is false; api.listen moves the API");
    }
    section.finish();
    settings
}

fn namespace(section: Section<'_>) -> NamespaceSettings {
    let settings = NamespaceSettings {
        state_path: section.path("statePath").unwrap_or_else(|| PathBuf::from("/etc/mkube/namespace-state.yaml")),
        default_mode: mode(&section),
    };
    section.finish();
    settings
}

fn logging(section: Section<'_>) -> LoggingSettings {
    let settings = LoggingSettings {
        enabled: section.flag("enabled").unwrap_or(false),
        url: section.text("url").unwrap_or_default(),
    };
    if settings.enabled && settings.url.is_empty() {
        section.problem("url", "is needed when logging is enabled");
    } else if !settings.url.is_empty()
        && let Some(why) = not_a_url(&settings.url)
    {
        section.problem("url", why);
    }
    section.finish();
    settings
}

fn bmh(section: Section<'_>) -> BmhSettings {
    let settings = BmhSettings {
        pxe_manager_url: section.text("pxeManagerURL").unwrap_or_else(|| "http://pxe.g10.lo:8080".to_owned()),
        dhcp_lease_url: section.text("dhcpLeaseURL").unwrap_or_else(|| "http://dns.g11.lo:8080".to_owned()),
        watch_interval: section.duration("watchInterval", SECOND).unwrap_or(30 * SECOND),
    };
    for (key, url) in [("pxeManagerURL", &settings.pxe_manager_url), ("dhcpLeaseURL", &settings.dhcp_lease_url)] {
        if !url.is_empty()
            && let Some(why) = not_a_url(url)
        {
            section.problem(key, why);
        }
    }
    section.finish();
    settings
}

fn api(section: Section<'_>, dzo: &DzoSettings) -> ApiSettings {
    let (text, key) = match section.filled("listen") {
        Some(text) => (text, section.key("listen")),
        None if dzo.enabled && !dzo.listen_addr.is_empty() => (dzo.listen_addr.clone(), "dzo.listenAddr".to_owned()),
        None => (":8082".to_owned(), section.key("listen")),
    };
    let listen = socket_address(&text).unwrap_or_else(|| {
        section
            .notes
            .problem(key, format!("is {text:?}, where an address and port such as \"0.0.0.0:8082\" is wanted"));
        SocketAddr::from(([0, 0, 0, 0], 8082))
    });
    section.finish();
    ApiSettings { listen }
}

fn store(section: Section<'_>, nats: &NatsSettings, storage: &StorageSettings) -> StoreSettings {
    let by_default = if nats.url.is_empty() { StoreKind::Embedded } else { StoreKind::Nats };
    let kind = match section.filled("kind").as_deref() {
        None => by_default,
        Some("embedded") => StoreKind::Embedded,
        Some("nats") => {
            if nats.url.is_empty() {
                section.problem("kind", "is nats, but nats.url is not set");
            }
            StoreKind::Nats
        }
        Some(other) => {
            section.problem("kind", format!("is {other:?}, where embedded or nats is wanted"));
            by_default
        }
    };
    let beside = storage.base_path.parent().unwrap_or(Path::new("/"));
    let path = section.path("path").unwrap_or_else(|| beside.join("mkube/state.redb"));
    let write_behind = section.flag("writeBehind").unwrap_or(false);
    section.finish();
    StoreSettings { kind, path, write_behind }
}

fn rollouts(section: Section<'_>) -> RolloutSettings {
    let span = |key: &'static str, usual: Duration, least: Duration| {
        let found = section.duration(key, SECOND).unwrap_or(usual);
        if found < least {
            section.problem(key, format!("must be at least {}", super::print_duration(least)));
        }
        found
    };
    let check_interval = span("checkInterval", MINUTE, MINUTE);
    let settle = span("settle", 3 * SECOND, SECOND);
    let timeout = span("timeout", 10 * MINUTE, 10 * SECOND);
    if timeout <= settle {
        section.problem("timeout", "must be longer than rollouts.settle");
    }
    let notify_secret = Secret::new(section.text("notifySecret").unwrap_or_default());
    section.finish();
    RolloutSettings { check_interval, settle, timeout, notify_secret }
}

/// `:8082` means every address, as in Go.
pub(super) fn socket_address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix(':') {
        Some(port) => port.parse().ok().map(|port: u16| SocketAddr::from(([0, 0, 0, 0], port))),
        None => text.parse().ok(),
    }
}

/// Why a text is not an HTTP address, without repeating it: addresses may hold passwords.
pub(super) fn not_a_url(text: &str) -> Option<&'static str> {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return Some("must begin with http:// or https://");
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        Some("must not hold a user or password; there are keys for them")
    } else if host.is_empty() || host.starts_with(':') || text.contains(char::is_whitespace) {
        Some("is not an address such as \"https://192.168.200.1/rest\"")
    } else {
        None
    }
}

pub(super) fn is_dns_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}
