//! Where an image of ours comes from: which upstream, which repository there.

use mkube_model::settings::{RegistryServerSettings, WatchedImage};

/// A repository of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// `host[:port]`, as people write it.
    pub(crate) host: String,
    /// Repository there.
    pub(crate) repository: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.host, self.repository)
    }
}

impl Place {
    fn new(host: &str, repository: &str) -> Self {
        let host = bare(host);
        // Docker Hub's own images lie in a folder that nobody writes.
        let official = is_docker_hub(host) && !repository.contains('/');
        let repository = if official { format!("library/{repository}") } else { repository.to_owned() };
        Self { host: host.to_owned(), repository }
    }

    /// Name of the machine that serves it.
    pub(crate) fn server(&self) -> &str {
        if is_docker_hub(&self.host) { "registry-1.docker.io" } else { &self.host }
    }

    /// Whether it is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let name = self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, _)| name);
        let name = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

fn is_docker_hub(host: &str) -> bool {
    ["docker.io", "index.docker.io", "registry-1.docker.io"].contains(&host)
}

/// Without the scheme that some write.
pub(crate) fn bare(host: &str) -> &str {
    let host = host.strip_prefix("https://").or_else(|| host.strip_prefix("http://")).unwrap_or(host);
    host.trim_end_matches('/')
}

/// An image reference in its parts: upstream, repository, tag or digest (`latest` where none is named). `None` without a host.
pub(crate) fn read_image(image: &str) -> Option<(Place, String)> {
    let image = bare(image);
    let (host, rest) = image.split_once('/')?;
    if !host.contains(['.', ':']) && host != "localhost" {
        return None;
    }
    let (repository, reference) = match rest.split_once('@') {
        Some((named, digest)) => (named.split_once(':').map_or(named, |(repository, _)| repository), digest),
        None => rest.rsplit_once(':').unwrap_or((rest, "latest")),
    };
    (!repository.is_empty() && !reference.is_empty()).then(|| (Place::new(host, repository), reference.to_owned()))
}

/// Which upstreams are asked for which repository.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    registries: Vec<String>,
    watched: Vec<WatchedImage>,
}

impl Places {
    pub(crate) fn new(settings: &RegistryServerSettings) -> Self {
        // Asking itself, a registry would wait for its own answer.
        let listening = settings.listen_addr.to_string();
        let itself = |host: &String| {
            bare(host) == listening || settings.local_addresses.iter().any(|own| bare(own) == bare(host))
        };
        let mut registries = settings.upstream_registries.clone();
        registries.retain(|host| {
            let own = itself(host);
            if own {
                tracing::warn!(%host, "upstreamRegistries names this registry itself, which is passed over");
            }
            !own
        });
        Self { registries, watched: settings.watch_images.clone() }
    }

    /// Asked in this order for what is missing in a repository of ours.
    pub(crate) fn of(&self, repository: &str) -> Vec<Place> {
        let watched = self.watched.iter().filter(|image| image.local_repo == repository);
        let watched = watched.filter_map(|image| Some(read_image(&image.upstream)?.0));
        let mut places: Vec<Place> = Vec::new();
        for place in watched.chain(self.registries.iter().map(|host| Place::new(host, repository))) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    /// Whether the configuration names this upstream.
    pub(crate) fn knows(&self, place: &Place) -> bool {
        let hosts = self.registries.iter().map(|host| Place::new(host, "x/x").host);
        let watched = self.watched.iter().filter_map(|image| Some(read_image(&image.upstream)?.0.host));
        hosts.chain(watched).any(|host| host == place.host || is_docker_hub(&host) && is_docker_hub(&place.host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watched_images_come_first_then_the_registries_in_order() {
        let places = Places {
            registries: vec!["https://ghcr.io/".to_owned(), "docker.io".to_owned()],
            watched: vec![WatchedImage {
                upstream: "ghcr.io/owner/mkube:edge".to_owned(),
                local_repo: "mkube".to_owned(),
            }],
        };
        let names = |repository: &str| places.of(repository).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names("mkube"), ["ghcr.io/owner/mkube", "ghcr.io/mkube", "docker.io/library/mkube"]);
        assert_eq!(names("owner/app"), ["ghcr.io/owner/app", "docker.io/owner/app"]);
        assert_eq!(places.of("a/b")[1].server(), "registry-1.docker.io");
        let known = |image: &str| read_image(image).is_some_and(|(place, _)| places.knows(&place));
        assert!(known("ghcr.io/whoever/app") && known("index.docker.io/library/alpine:3"));
        assert!(!known("169.254.169.254/latest/meta-data") && !known("10.0.0.1:5000/app"));
    }

    #[test]
    fn a_registry_is_no_upstream_of_its_own() {
        let file = serde_json::json!({
            "listenAddr": "10.0.0.3:5000", "localAddresses": ["registry.gt.lo:5000"],
            "upstreamRegistries": ["10.0.0.3:5000", "http://registry.gt.lo:5000", "ghcr.io"],
        });
        let settings = mkube_model::settings::check_registry(file, &|_| None, mkube_model::settings::Overrides::none());
        let places = Places::new(&settings.expect("fine").0);
        assert_eq!(places.of("a").iter().map(ToString::to_string).collect::<Vec<_>>(), ["ghcr.io/a"]);
    }

    #[test]
    fn image_references_fall_into_their_parts() {
        let parts = |image: &str| read_image(image).map(|(place, reference)| (place.to_string(), reference));
        let pair = |place: &str, reference: &str| Some((place.to_owned(), reference.to_owned()));
        assert_eq!(parts("ghcr.io/a/b:edge"), pair("ghcr.io/a/b", "edge"));
        assert_eq!(parts("localhost:5000/a"), pair("localhost:5000/a", "latest"));
        assert_eq!(parts("http://10.0.0.1:5000/a:1@sha256:ab"), pair("10.0.0.1:5000/a", "sha256:ab"));
        for none in ["alpine", "library/alpine", "ghcr.io/", "ghcr.io/a:"] {
            assert_eq!(parts(none), None, "{none}");
        }
        assert!(read_image("[::1]:5000/a").is_some_and(|(place, _)| place.is_loopback()));
        assert!(!read_image("127.evil.example/a").is_some_and(|(place, _)| place.is_loopback()));
    }
}
