//! Who is asked for an image, and as whom: mirrors before the registry, the pod's credentials before the configuration's.

use mkube_model::neighbours::tarballs::RegistryCredential;
use mkube_model::secret::Secret;
use mkube_model::settings::ImageRegistry;

use crate::image_name::{ImageName, unaliased};

/// A user and a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    pub(crate) user: String,
    pub(crate) password: Secret,
}

/// A repository at a registry, asked as somebody or as nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// `host[:port]` as references and the configuration name it.
    pub(crate) host: String,
    /// The repository there.
    pub(crate) repository: String,
    /// Who asks; none: anybody.
    pub(crate) credential: Option<Credential>,
}

/// Everywhere the image may be had, in the order of asking. Credentials are for the registry they name and for no other.
pub(crate) fn places(
    name: &ImageName,
    given: &[RegistryCredential],
    registries: &[ImageRegistry],
    aliases: &[String],
) -> Vec<Place> {
    let entry = |host: &str| registries.iter().find(|entry| unaliased(&entry.host, aliases) == host);
    let mirrors = entry(&name.host).map(|entry| entry.mirrors.as_slice()).unwrap_or_default();
    let mut hosts: Vec<&str> = Vec::new();
    for host in mirrors.iter().map(|mirror| unaliased(mirror, aliases)).chain([name.host.as_str()]) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    let mut places = Vec::new();
    for host in hosts {
        let mut credentials = of_pod(host, &name.repository, given, aliases);
        if let Some(entry) = entry(host).filter(|entry| !entry.user.is_empty()) {
            credentials.push(Credential { user: entry.user.clone(), password: entry.password.clone() });
        }
        let place = |credential| Place { host: host.to_owned(), repository: name.repository.clone(), credential };
        places.extend(credentials.into_iter().map(|credential| place(Some(credential))));
        places.push(place(None));
    }
    places
}

/// The pod's credentials for a repository, the most exact first.
fn of_pod(host: &str, repository: &str, given: &[RegistryCredential], aliases: &[String]) -> Vec<Credential> {
    let mut fitting: Vec<(usize, &RegistryCredential)> = Vec::new();
    for credential in given {
        let (of, path) = parts(&credential.registry);
        let of = if is_docker_hub(of) { "docker.io" } else { unaliased(of, aliases) };
        let inside = repository
            .strip_prefix(path)
            .is_some_and(|rest| path.is_empty() || rest.is_empty() || rest.starts_with('/'));
        if of == host && inside {
            fitting.push((path.len(), credential));
        }
    }
    fitting.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    let own = |credential: &RegistryCredential| Credential {
        user: credential.user.clone(),
        password: credential.password.clone(),
    };
    fitting.into_iter().map(|(_, credential)| own(credential)).collect()
}

/// Host and repository of a key of a pull secret: a scheme and the API's version may be there, as in
/// `https://index.docker.io/v1/`.
fn parts(registry: &str) -> (&str, &str) {
    let rest = registry.split_once("://").map_or(registry, |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.trim_matches('/');
    (host, if path == "v1" || path == "v2" { "" } else { path })
}

fn is_docker_hub(host: &str) -> bool {
    ["docker.io", "index.docker.io", "registry-1.docker.io"].contains(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(registry: &str, user: &str) -> RegistryCredential {
        RegistryCredential { registry: registry.to_owned(), user: user.to_owned(), password: Secret::new("p") }
    }

    fn entry(host: &str, user: &str, mirrors: &[&str]) -> ImageRegistry {
        ImageRegistry {
            host: host.to_owned(),
            plain_http: false,
            ca_file: None,
            user: user.to_owned(),
            password: Secret::new("p"),
            mirrors: mirrors.iter().map(|mirror| (*mirror).to_owned()).collect(),
        }
    }

    fn asked(image: &str, given: &[RegistryCredential], registries: &[ImageRegistry]) -> Vec<String> {
        let aliases = ["10.0.0.3:5000", "r.gt.lo:5000"].map(str::to_owned);
        let name = ImageName::parse(image, &aliases).expect("a reference");
        let user =
            |place: &Place| place.credential.as_ref().map_or("-", |credential| credential.user.as_str()).to_owned();
        places(&name, given, registries, &aliases)
            .iter()
            .map(|place| format!("{} {}", place.host, user(place)))
            .collect()
    }

    #[test]
    fn the_most_exact_credential_is_tried_first_and_nobody_last() {
        let secrets = [
            given("quay.io", "host"),
            given("quay.io/team/app", "app"),
            given("https://quay.io/team", "team"),
            given("quay.io/team/ap", "other"),
            given("ghcr.io", "elsewhere"),
        ];
        let registries = [entry("quay.io", "config", &[])];
        assert_eq!(
            asked("quay.io/team/app:1", &secrets, &registries),
            ["quay.io app", "quay.io team", "quay.io host", "quay.io config", "quay.io -"]
        );
        assert_eq!(asked("gcr.io/x", &secrets, &registries), ["gcr.io -"]);
    }

    #[test]
    fn mirrors_are_asked_in_order_before_the_registry_and_get_no_credentials_of_others() {
        let registries = [entry("docker.io", "hub", &["r.gt.lo:5000", "m.lo"]), entry("m.lo", "mirror", &[])];
        let secrets = [given("https://index.docker.io/v1/", "pod")];
        assert_eq!(
            asked("busybox", &secrets, &registries),
            ["10.0.0.3:5000 -", "m.lo mirror", "m.lo -", "docker.io pod", "docker.io hub", "docker.io -"]
        );
    }

    #[test]
    fn a_credential_for_another_name_of_the_local_registry_is_for_it() {
        assert_eq!(
            asked("10.0.0.3:5000/a", &[given("r.gt.lo:5000", "pod")], &[]),
            ["10.0.0.3:5000 pod", "10.0.0.3:5000 -"]
        );
    }
}
