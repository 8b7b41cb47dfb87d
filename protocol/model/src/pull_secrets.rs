//! Credentials of registries out of pull secrets, `kubernetes.io/dockerconfigjson` and the older `kubernetes.io/dockercfg`.
//! Pure; nothing of a secret stands in an error.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use crate::neighbours::tarballs::RegistryCredential;
use crate::secret::Secret;

/// Key of a `kubernetes.io/dockerconfigjson`.
pub const CONFIG_JSON: &str = ".dockerconfigjson";
/// Key of a `kubernetes.io/dockercfg`.
pub const CONFIG: &str = ".dockercfg";

/// Credentials a pull secret may hold; more than anybody has registries.
const MOST: usize = 256;

/// Base 64 with or without its padding: both are found in the wild.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The credentials of a Secret object, by registry; or why it holds none, for people.
pub fn credentials(secret: &Value) -> Result<Vec<RegistryCredential>, String> {
    let data = |key: &str| secret.get("data")?.get(key)?.as_str();
    let (text, nested) = match (data(CONFIG_JSON), data(CONFIG)) {
        (Some(text), _) => (text, true),
        (None, Some(text)) => (text, false),
        (None, None) => return Err(format!("it has neither {CONFIG_JSON} nor {CONFIG}")),
    };
    let bytes = LENIENT.decode(text).map_err(|_| "its data is no base 64".to_owned())?;
    // What serde says of a fault may repeat what it read.
    let config: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|_| "it is no JSON object".to_owned())?;
    let registries = if nested { config.get("auths").and_then(Value::as_object) } else { Some(&config) };
    let registries = registries.ok_or_else(|| "it has no \"auths\"".to_owned())?;
    if registries.len() > MOST {
        return Err(format!("it names {} registries; at most {MOST} are read", registries.len()));
    }
    let found: Vec<RegistryCredential> =
        registries.iter().filter_map(|(registry, entry)| credential(registry, entry)).collect();
    if found.is_empty() && !registries.is_empty() {
        return Err("none of its entries has a user and a password".to_owned());
    }
    Ok(found)
}

/// One entry; an entry without a user says nothing.
fn credential(registry: &str, entry: &Value) -> Option<RegistryCredential> {
    let registry = plain(registry);
    let field = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let (user, password) = match field("auth") {
        "" => (field("username").to_owned(), field("password").to_owned()),
        auth => {
            let text = String::from_utf8(LENIENT.decode(auth.trim()).ok()?).ok()?;
            let (user, password) = text.split_once(':')?;
            // Docker pads with zero bytes.
            (user.to_owned(), password.trim_matches('\0').to_owned())
        }
    };
    let sane = |text: &str| !text.chars().any(char::is_control);
    let usable = !registry.is_empty() && !user.is_empty() && sane(&user) && sane(&password) && sane(&registry);
    usable.then(|| RegistryCredential { registry, user, password: Secret::new(password) })
}

/// `https://index.docker.io/v1/` is how Docker writes `docker.io`; a scheme and the version of the API say nothing.
fn plain(registry: &str) -> String {
    let bare = registry.trim();
    let bare = bare.strip_prefix("https://").or_else(|| bare.strip_prefix("http://")).unwrap_or(bare);
    let bare = bare.trim_end_matches('/');
    let bare = bare.strip_suffix("/v1").or_else(|| bare.strip_suffix("/v2")).unwrap_or(bare);
    match bare {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        _ => bare.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use serde_json::json;

    fn secret(key: &str, text: &str) -> Value {
        json!({"metadata": {"name": "pull"}, "data": {key: STANDARD.encode(text)}})
    }

    fn read(config: &Value) -> Result<Vec<(String, String, String)>, String> {
        let found = credentials(&secret(CONFIG_JSON, &config.to_string()))?;
        Ok(found.into_iter().map(|one| (one.registry, one.user, one.password.expose().to_owned())).collect())
    }

    fn one(registry: &str, user: &str, password: &str) -> (String, String, String) {
        (registry.to_owned(), user.to_owned(), password.to_owned())
    }

    #[test]
    fn what_kubectl_writes_is_read() {
        // kubectl create secret docker-registry --docker-server=… --docker-username=… --docker-password=…
        let auth = STANDARD.encode("bob:hunter2:with:colons");
        let config = json!({"auths": {
            "registry.example:5000": {"username": "bob", "password": "ignored", "auth": auth},
            "https://index.docker.io/v1/": {"username": "al", "password": "pw"},
            "ghcr.io/owner": {"auth": auth.trim_end_matches('=')},
        }});
        assert_eq!(
            read(&config),
            Ok(vec![
                one("ghcr.io/owner", "bob", "hunter2:with:colons"),
                one("docker.io", "al", "pw"),
                one("registry.example:5000", "bob", "hunter2:with:colons"),
            ])
        );
        let old = json!({"registry.example": {"username": "u", "password": "p"}});
        let old = credentials(&secret(CONFIG, &old.to_string())).expect("the older form");
        assert_eq!((old[0].registry.as_str(), old[0].user.as_str()), ("registry.example", "u"));
    }

    #[test]
    fn what_is_not_usable_is_said_without_repeating_it() {
        for (config, words) in [
            (json!({}), "no \"auths\""),
            (json!({"auths": "hunter2"}), "no \"auths\""),
            (json!({"auths": {"r": "hunter2"}}), "none of its entries"),
            (json!({"auths": {"r": {"auth": "hunter2"}}}), "none of its entries"),
            (json!({"auths": {"r": {"username": "a\r\nX: hunter2", "password": ""}}}), "none of its entries"),
            (json!({"auths": {"": {"username": "a", "password": "hunter2"}}}), "none of its entries"),
        ] {
            let why = read(&config).expect_err("not usable");
            assert!(why.contains(words) && !why.contains("hunter2"), "{why}");
        }
        for text in ["hunter2", "[\"hunter2\"]", "{\"auths\":{\"hunter2\"", &"[".repeat(100_000)] {
            let why = credentials(&secret(CONFIG_JSON, text)).expect_err("no JSON object");
            assert!(!why.contains("hunter2"), "{why}");
        }
        let many: Map<String, Value> =
            (0..=MOST).map(|n| (format!("r{n}"), json!({"username": "u", "password": "p"}))).collect();
        assert!(read(&json!({"auths": many})).expect_err("too many").contains("257"));
        assert!(credentials(&json!({"data": {CONFIG_JSON: "%%%"}})).is_err());
        assert!(credentials(&json!({"data": {"other": ""}})).is_err());
        assert_eq!(read(&json!({"auths": {}})), Ok(vec![]));
    }

    #[test]
    fn one_entry_that_is_not_usable_spoils_no_other() {
        let config = json!({"auths": {"a": {"auth": "%"}, "b": {"username": "u", "password": "p"}, "c": null}});
        assert_eq!(read(&config), Ok(vec![one("b", "u", "p")]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = credentials(&json!({"data": {CONFIG_JSON: STANDARD.encode(&noise)}}));
            let config = json!({"auths": {"r": {"auth": STANDARD.encode(&noise)}}});
            let _ = read(&config);
        }
    }
}
