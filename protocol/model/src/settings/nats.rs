//! The block `nats`: where NATS is, as whom it is spoken to, and how many copies it keeps.

use std::path::PathBuf;

use serde::Serialize;

use super::section::Section;
use crate::secret::{MASK, Secret, SecretUrl};

/// JetStream.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NatsSettings {
    /// Server or servers; empty: none.
    pub url: SecretUrl,
    /// Copies of each bucket.
    pub replicas: u32,
    /// User; empty: none, or that of the address.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// Token.
    pub token: Secret,
    /// File with the seed of an NKey.
    pub nkey_file: Option<PathBuf>,
    /// File with a JWT and the seed it belongs to, as `nsc` writes it.
    pub credentials_file: Option<PathBuf>,
    /// TLS.
    pub tls: NatsTlsSettings,
}

/// TLS towards NATS. Any of these makes TLS a must; without them it is spoken where the server or the address wants it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NatsTlsSettings {
    /// Authority of the servers' certificates, PEM file; none: the public ones.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, PEM file.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM file.
    pub key_file: Option<PathBuf>,
}

pub(super) fn nats(section: Section<'_>) -> NatsSettings {
    let url = section.text("url").unwrap_or_default();
    if !url.is_empty() && !url.split(',').all(is_address) {
        // The text may hold a password, so it is not repeated.
        section.problem("url", "is not an address such as \"nats://192.168.200.10:4222\" or \"tls://nats.gt.lo:4222\"");
    }
    let settings = NatsSettings {
        replicas: section.number("replicas", 0..=5).unwrap_or(1).max(1),
        user: section.filled("user").unwrap_or_default(),
        password: Secret::new(section.text("password").unwrap_or_default()),
        token: Secret::new(section.text("token").unwrap_or_default()),
        nkey_file: section.path("nkeyFile"),
        credentials_file: section.path("credentialsFile"),
        tls: tls(section.section("tls")),
        url: SecretUrl::new(url),
    };
    for (key, secret) in [("password", &settings.password), ("token", &settings.token)] {
        if secret.expose() == MASK {
            section.warning(key, format!("is {MASK}, which check-config prints in place of a secret"));
        }
    }
    if settings.user.is_empty() != settings.password.is_empty() {
        section.problem("user", "and nats.password go together");
    }
    let ways = [
        ("url", settings.url.expose().contains('@')),
        ("user", !settings.user.is_empty()),
        ("token", !settings.token.is_empty()),
        ("nkeyFile", settings.nkey_file.is_some()),
        ("credentialsFile", settings.credentials_file.is_some()),
    ];
    let mut used = ways.iter().filter(|(_, used)| *used).map(|(key, _)| *key);
    if let (Some(first), Some(second)) = (used.next(), used.next()) {
        let first = if first == "url" { "the user in nats.url".to_owned() } else { format!("nats.{first}") };
        section.problem(second, format!("and {first} are two ways to say who this is; one of them must go"));
    }
    section.inert(&["embedded", "storeDir", "port"], super::read::NO_EFFECT);
    section.finish();
    settings
}

fn tls(section: Section<'_>) -> NatsTlsSettings {
    let settings = NatsTlsSettings {
        ca_file: section.path("caFile"),
        cert_file: section.path("certFile"),
        key_file: section.path("keyFile"),
    };
    if settings.cert_file.is_some() != settings.key_file.is_some() {
        section.problem("certFile", "and nats.tls.keyFile go together");
    }
    section.finish();
    settings
}

/// One server: the scheme may be left out, user and password may be there.
fn is_address(text: &str) -> bool {
    let (scheme, rest) = text.trim().split_once("://").unwrap_or(("nats", text.trim()));
    let host = rest.rsplit('@').next().unwrap_or_default();
    ["nats", "tls"].contains(&scheme)
        && !host.is_empty()
        && !host.starts_with(':')
        && !text.trim().contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Overrides, check};

    fn problems(nats: Value) -> Vec<String> {
        let file = json!({"nats": nats});
        match check(file, &|_| None, Overrides::none()) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn there_is_one_way_to_say_who_this_is() {
        for fine in [
            json!({"url": "nats://x", "user": "bob", "password": "hunter2"}),
            json!({"url": "nats://bob:hunter2@x"}),
            json!({"url": "nats://x", "token": "hunter2"}),
            json!({"url": "nats://x", "nkeyFile": "/seed", "tls": {"caFile": "/ca"}}),
            json!({"url": "nats://x", "credentialsFile": "/creds", "tls": {"certFile": "/c", "keyFile": "/k"}}),
        ] {
            assert_eq!(problems(fine.clone()), Vec::<String>::new(), "{fine}");
        }
        for (bad, key) in [
            (json!({"url": "nats://bob:hunter2@x", "user": "bob", "password": "hunter2"}), "nats.user"),
            (json!({"url": "nats://x", "user": "bob", "password": "hunter2", "token": "hunter2"}), "nats.token"),
            (json!({"url": "nats://x", "nkeyFile": "/a", "credentialsFile": "/b"}), "nats.credentialsFile"),
            (json!({"url": "nats://x", "user": "bob"}), "nats.user"),
            (json!({"url": "nats://x", "password": "hunter2"}), "nats.user"),
            (json!({"url": "nats://x", "tls": {"certFile": "/a"}}), "nats.tls.certFile"),
            (json!({"url": "ws://x"}), "nats.url"),
        ] {
            let found = problems(bad.clone());
            assert!(found.len() == 1 && found[0].starts_with(&format!("{key}: ")), "{bad}: {found:?}");
            assert!(!found[0].contains("hunter2"), "{found:?}");
        }
    }

    #[test]
    fn no_secret_is_printed() {
        let file = json!({"nats": {"url": "nats://x", "user": "bob", "password": "hunter2"}});
        let (settings, _) = check(file, &|_| None, Overrides::none()).expect("fine");
        let printed = format!("{settings:?} {}", serde_json::to_value(&settings).expect("serialises"));
        assert!(printed.contains("bob") && !printed.contains("hunter2"), "{printed}");
    }
}
