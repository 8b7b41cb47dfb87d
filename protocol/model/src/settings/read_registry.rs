//! Each section of `registry-config.yaml`, in the order of the file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::nats::nats;
use super::read::{not_a_url, socket_address};
use super::registry_server::*;
use super::section::Section;
use crate::secret::{MASK, Secret};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;
/// Where the Go registry's certificate lay.
const GO_CERTIFICATE: &str = "/etc/registry/tls.crt";
/// And its key.
const GO_KEY: &str = "/etc/registry/tls.key";
const NO_SYNC: &str = "has no effect: pushes are not copied to the upstreams; upstream.credentials is for pulling";
/// Shorter pauses between looks at upstreams became the default in the Go registry.
const SHORTEST_POLL: Duration = Duration::from_secs(30);

pub(super) fn settings(file: Section<'_>, from_file: bool) -> RegistryServerSettings {
    if file.flag("enabled") == Some(false) {
        file.warning("enabled", "is false and has no effect: whoever starts the registry wants it");
    }
    // Without a file nobody said that the network may reach it.
    let by_default = if from_file { ":5000" } else { "127.0.0.1:5000" };
    let listen_addr = listen(&file, "listenAddr").unwrap_or_else(|| address_of(by_default));
    let store_path = file.path("storePath").unwrap_or_else(|| PathBuf::from("/raid1/registry"));
    let local_addresses = hosts(&file, "localAddresses");
    let mut tls_cert_file = file.path("tlsCertFile");
    let mut tls_key_file = file.path("tlsKeyFile");
    let pull_through = file.flag("pullThrough").unwrap_or(false);
    let upstream_registries = hosts(&file, "upstreamRegistries");
    if pull_through && upstream_registries.is_empty() && !file.has("watchImages") {
        file.warning("pullThrough", "is true, but there are neither upstreamRegistries nor watchImages to pull from");
    }
    let notify_url = file.text("notifyURL").unwrap_or_default();
    if let Some(why) = not_a_url(&notify_url).filter(|_| !notify_url.is_empty()) {
        // The text may hold a password, so it is not repeated.
        file.problem("notifyURL", why);
    }
    let watch_images = file.sections("watchImages").into_iter().map(watched).collect();
    let mut watch_poll = file.duration("watchPollSeconds", SECOND).unwrap_or(2 * MINUTE);
    if watch_poll < SHORTEST_POLL {
        file.warning("watchPollSeconds", "is below 30 s, which counts as 120 s");
        watch_poll = 2 * MINUTE;
    }
    let tls = tls(file.section("tls"));
    if from_file && (tls.directory.is_none() || tls_cert_file.is_some() || tls_key_file.is_some()) {
        tls_cert_file.get_or_insert_with(|| PathBuf::from(GO_CERTIFICATE));
        tls_key_file.get_or_insert_with(|| PathBuf::from(GO_KEY));
    }
    let settings = RegistryServerSettings {
        listen_addr,
        store_path,
        local_addresses,
        tls_cert_file,
        tls_key_file,
        pull_through,
        upstream_registries,
        notify_url,
        watch_images,
        watch_poll,
        storage: storage(file.section("storage")),
        access: access(file.section("access")),
        tls,
        notices: notices(file.section("notices")),
        nats: nats(file.section("nats")),
        upstream: upstream(file.section("upstream")),
        management: management(file.section("management"), from_file),
    };
    file.inert(&["tlsCACertFile"], "has no effect here; it belongs in the configuration of the controller");
    if file.flag("upstreamSyncEnabled") == Some(true) {
        file.warning("upstreamSyncEnabled", NO_SYNC);
    }
    for key in ["upstreamToken", "upstreamTokenFile"] {
        if file.filled(key).is_some() {
            file.warning(key, NO_SYNC);
        }
    }
    file.finish();
    settings
}

fn address_of(text: &str) -> SocketAddr {
    socket_address(text).expect("a default is an address")
}

fn listen(section: &Section<'_>, key: &'static str) -> Option<SocketAddr> {
    let text = section.filled(key)?;
    let address = socket_address(&text);
    if address.is_none() {
        section.problem(key, format!("is {text:?}, where an address and port such as \"0.0.0.0:5000\" is wanted"));
    }
    address
}

/// Names of registries. A scheme is allowed: some wrote one.
fn hosts(section: &Section<'_>, key: &'static str) -> Vec<String> {
    let names = section.texts(key);
    for (nth, name) in names.iter().enumerate() {
        let host = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
        if host.is_empty() || host.trim_end_matches('/').contains(['/', ' ', '@']) {
            section
                .problem(&format!("{key}[{nth}]"), "is not a registry such as \"ghcr.io\" or \"192.168.200.3:5000\"");
        }
    }
    names
}

fn watched(image: Section<'_>) -> WatchedImage {
    let upstream = image.filled("upstream").unwrap_or_default();
    let local_repo = image.filled("localRepo").unwrap_or_default();
    let host = upstream.split('/').next().unwrap_or_default();
    if !upstream.contains('/') || upstream.contains(char::is_whitespace) || !host.contains(['.', ':']) {
        image.problem(
            "upstream",
            format!("is {upstream:?}, where an image such as \"ghcr.io/owner/app:edge\" is wanted"),
        );
    }
    if !is_repository(&local_repo) {
        image.problem("localRepo", format!("is {local_repo:?}, where a repository such as \"app\" is wanted"));
    }
    image.finish();
    WatchedImage { upstream, local_repo }
}

/// A repository's name as the distribution API has it.
fn is_repository(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name.split('/').all(|part| {
            let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            ends(part.chars().next())
                && ends(part.chars().next_back())
                && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
        })
}

fn storage(section: Section<'_>) -> RegistryStorageSettings {
    let settings = RegistryStorageSettings {
        quota: section.size("quota").unwrap_or(0),
        free_reserve: section.size("freeReserve").unwrap_or(64 * MIB),
        upload_expiry: section.duration("uploadExpiry", SECOND).unwrap_or(60 * MINUTE),
        gc_interval: section.duration("gcInterval", SECOND).unwrap_or(6 * 60 * MINUTE),
        gc_grace: section.duration("gcGrace", SECOND).unwrap_or(24 * 60 * MINUTE),
    };
    section.finish();
    settings
}

fn roles(section: &Section<'_>) -> Vec<RegistryRole> {
    let mut roles = Vec::new();
    for (nth, word) in section.texts("roles").iter().enumerate() {
        match word.as_str() {
            "read" => roles.push(RegistryRole::Read),
            "write" => roles.push(RegistryRole::Write),
            _ => section.problem(&format!("roles[{nth}]"), format!("is {word:?}, where read or write is wanted")),
        }
    }
    if roles.is_empty() {
        roles.push(RegistryRole::Read);
    }
    roles
}

fn needed_secret(section: &Section<'_>, key: &'static str) -> Secret {
    let secret = Secret::new(section.text(key).unwrap_or_default());
    if secret.is_empty() {
        section.problem(key, "is needed");
    } else if secret.expose() == MASK {
        section.problem(key, format!("is {MASK}, which check-config prints in place of a secret"));
    }
    secret
}

fn access(section: Section<'_>) -> RegistryAccessSettings {
    let mut users: Vec<RegistryUser> = Vec::new();
    for user in section.sections("users") {
        let name = user.filled("name").unwrap_or_default();
        if name.is_empty() || name.contains(':') {
            user.problem("name", "is needed, and holds no colon");
        } else if users.iter().any(|other| other.name == name) {
            user.problem("name", format!("{name:?} is there twice"));
        }
        users.push(RegistryUser { name, password: needed_secret(&user, "password"), roles: roles(&user) });
        user.finish();
    }
    let mut tokens: Vec<RegistryToken> = Vec::new();
    for token in section.sections("tokens") {
        let name = token.filled("name").unwrap_or_default();
        let taken = users.iter().any(|user| user.name == name) || tokens.iter().any(|other| other.name == name);
        if name.is_empty() || name.contains(':') {
            token.problem("name", "is needed, and holds no colon");
        } else if taken {
            token.problem("name", format!("{name:?} is there twice"));
        }
        tokens.push(RegistryToken { name, token: needed_secret(&token, "token"), roles: roles(&token) });
        token.finish();
    }
    let anonymous_pull = section.flag("anonymousPull");
    if anonymous_pull == Some(false) && users.is_empty() && tokens.is_empty() {
        section.problem("anonymousPull", "is false, but there are no users and no tokens: nobody could pull");
    }
    section.finish();
    let open = users.is_empty() && tokens.is_empty();
    RegistryAccessSettings { anonymous_pull: anonymous_pull.unwrap_or(open), users, tokens }
}

fn tls(section: Section<'_>) -> RegistryTlsSettings {
    let names = section.texts("names");
    for (nth, name) in names.iter().enumerate() {
        if name.parse::<std::net::IpAddr>().is_err() && !super::read::is_dns_name(name.trim_start_matches("*.")) {
            section.problem(&format!("names[{nth}]"), format!("is {name:?}, where a DNS name or an address is wanted"));
        }
    }
    let settings = RegistryTlsSettings {
        directory: section.path("directory"),
        names,
        required: section.flag("required").unwrap_or(false),
    };
    section.finish();
    settings
}

fn notices(section: Section<'_>) -> RegistryNoticeSettings {
    let secret = Secret::new(section.text("secret").unwrap_or_default());
    if secret.expose() == MASK {
        section.problem("secret", format!("is {MASK}, which check-config prints in place of a secret"));
    }
    let settings = RegistryNoticeSettings { secret, child_manifests: section.flag("childManifests").unwrap_or(false) };
    section.finish();
    settings
}

fn upstream(section: Section<'_>) -> RegistryUpstreamSettings {
    let mut credentials = Vec::new();
    for one in section.sections("credentials") {
        let registry = one.filled("registry").unwrap_or_default();
        if registry.is_empty() || registry.contains(['/', ' ', '@']) {
            one.problem("registry", "is needed: host or host:port, without a scheme");
        }
        let user = one.text("user").unwrap_or_default();
        credentials.push(UpstreamCredential { registry, user, password: needed_secret(&one, "password") });
        one.finish();
    }
    let settings = RegistryUpstreamSettings {
        plain_http: hosts(&section, "plainHttp"),
        ca_cert: section.path("caCert"),
        credentials,
    };
    section.finish();
    settings
}

fn management(section: Section<'_>, from_file: bool) -> RegistryManagementSettings {
    let written = section.text("listen");
    let listen = match written.as_deref() {
        Some("") => None,
        Some(text) => {
            let address = socket_address(text);
            if address.is_none() {
                section
                    .problem("listen", format!("is {text:?}, where an address and port such as \":5001\" is wanted"));
            }
            address
        }
        None if from_file => Some(address_of(":5001")),
        None => None,
    };
    section.finish();
    RegistryManagementSettings { listen }
}
