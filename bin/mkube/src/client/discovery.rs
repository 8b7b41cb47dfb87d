//! Which kinds a server has, and which one a person means.

use serde_json::Value;
use strsim::damerau_levenshtein;

use super::api::{Api, encoded};
use crate::failure::{FAILED, Failure};

const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// Letters that may be wrong in a name for it to be proposed.
const SLIPS: usize = 3;

/// A resource as discovery tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Group; empty for the core.
    pub group: String,
    /// Version.
    pub version: String,
    /// In paths.
    pub plural: String,
    /// In what is printed.
    pub singular: String,
    /// In objects.
    pub kind: String,
    /// Short names.
    pub short: Vec<String>,
    /// Categories, such as `all`.
    pub categories: Vec<String>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl Resource {
    /// The path of a collection or of one object.
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if let (true, Some(namespace)) = (self.namespaced, namespace) {
            path += &format!("/namespaces/{}", encoded(namespace));
        }
        path += &format!("/{}", self.plural);
        if let Some(name) = name {
            path += &format!("/{}", encoded(name));
        }
        path
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    fn is_called(&self, word: &str) -> bool {
        let (name, group) = word.split_once('.').map_or((word, None), |(name, group)| (name, Some(group)));
        let called = self.plural == name
            || self.singular == name
            || self.kind.to_ascii_lowercase() == name
            || self.short.iter().any(|short| short == name);
        called && group.is_none_or(|group| group == self.group || group == format!("{}.{}", self.version, self.group))
    }
}

/// Every kind of a server.
#[derive(Debug, Default)]
pub struct Discovery(Vec<Resource>);

impl Discovery {
    /// Asks the server.
    pub async fn of(api: &Api) -> Result<Self, Failure> {
        let mut found = Self::default();
        for path in ["/api", "/apis"] {
            found.add(&api.get_json(path, DISCOVERY).await?);
        }
        if found.0.is_empty() {
            let failure = Failure::text(FAILED, "the server tells of no kinds");
            return Err(failure.hint(format!("what answers at {} may be no mkube, or an old one", api.server())));
        }
        Ok(found)
    }

    fn add(&mut self, list: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect();
        for group in list["items"].as_array().into_iter().flatten() {
            let name = text(&group["metadata"]["name"]);
            for version in group["versions"].as_array().into_iter().flatten() {
                for one in version["resources"].as_array().into_iter().flatten() {
                    self.0.push(Resource {
                        group: name.clone(),
                        version: text(&version["version"]),
                        plural: text(&one["resource"]),
                        singular: text(&one["singularResource"]),
                        kind: text(&one["responseKind"]["kind"]),
                        short: texts(&one["shortNames"]),
                        categories: texts(&one["categories"]),
                        namespaced: one["scope"] == "Namespaced",
                    });
                }
            }
        }
    }

    /// What a person means by this word, or what he may have meant.
    pub fn named(&self, word: &str) -> Result<&Resource, Failure> {
        let lower = word.to_ascii_lowercase();
        self.0.iter().find(|one| one.is_called(&lower)).ok_or_else(|| {
            let failure = Failure::text(FAILED, format!("the server has no resource type {word:?}"));
            match self.nearest(&lower) {
                Some(near) => failure.hint(format!("did you mean {near:?}?")),
                None => failure.hint("`kubectl api-resources` or GET /apis list what there is"),
            }
        })
    }

    /// The kinds of a category.
    pub fn of_category(&self, category: &str) -> Vec<&Resource> {
        self.0.iter().filter(|one| one.categories.iter().any(|name| name == category)).collect()
    }

    /// The kind an object says it is of.
    pub fn of_object(&self, object: &Value) -> Result<&Resource, Failure> {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let (version, kind) = (text("apiVersion"), text("kind"));
        let known = self.0.iter().find(|one| one.kind == kind && one.api_version() == version);
        // The Go controller had all of its kinds in the core group.
        let core = || self.0.iter().find(|one| one.kind == kind && version == "v1");
        known.or_else(core).ok_or_else(|| {
            let failure = Failure::text(FAILED, format!("the server has no kind {kind:?} in version {version:?}"));
            match self.0.iter().find(|one| one.kind == kind).map(Resource::api_version) {
                Some(known) => failure.hint(format!("it has one in {known:?}")),
                None => match self.nearest(&kind.to_ascii_lowercase()) {
                    Some(near) => failure.hint(format!("did you mean {near:?}?")),
                    None => failure,
                },
            }
        })
    }

    /// The name that is least unlike.
    fn nearest(&self, word: &str) -> Option<&str> {
        let names = self.0.iter().flat_map(|one| [one.plural.as_str(), one.singular.as_str()]);
        let far = |name: &str| damerau_levenshtein(word, name);
        let close = |name: &&str| far(name) <= SLIPS.min(word.chars().count() / 2);
        names.filter(close).min_by_key(|name| far(name))
    }
}

#[cfg(test)]
pub fn known() -> Discovery {
    let row = |group: &str, version: &str, plural: &str, singular: &str, kind: &str, short: &[&str]| Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        singular: singular.to_owned(),
        kind: kind.to_owned(),
        short: short.iter().map(|one| (*one).to_owned()).collect(),
        categories: if kind == "Node" { vec![] } else { vec!["all".to_owned()] },
        namespaced: kind != "Node",
    };
    Discovery(vec![
        row("", "v1", "pods", "pod", "Pod", &["po"]),
        row("", "v1", "nodes", "node", "Node", &["no"]),
        row("apps", "v1", "deployments", "deployment", "Deployment", &["deploy"]),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_kind_is_found_by_every_name_it_has() {
        let all = known();
        for word in ["pods", "pod", "Pod", "po", "PODS"] {
            assert_eq!(all.named(word).expect(word).kind, "Pod", "{word}");
        }
        for word in ["deployments.apps", "deploy.apps", "deployments.v1.apps"] {
            assert_eq!(all.named(word).expect(word).kind, "Deployment", "{word}");
        }
        assert!(all.named("pods.apps").is_err());
        assert_eq!(
            all.named("deploy").expect("known").path(Some("a b"), Some("x")),
            "/apis/apps/v1/namespaces/a%20b/deployments/x"
        );
        assert_eq!(all.named("no").expect("known").path(Some("default"), None), "/api/v1/nodes");
    }

    #[test]
    fn an_unknown_word_leads_to_the_nearest_known_one() {
        let all = known();
        for (word, near) in
            [("pds", Some("pods")), ("deployment5", Some("deployments")), ("gadgets", None), ("x", None)]
        {
            assert_eq!(all.nearest(word), near, "{word}");
        }
    }

    #[test]
    fn discovery_is_read_as_the_server_tells_it() {
        let mut all = Discovery::default();
        all.add(&json!({"items": [{"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [{
            "resource": "deployments", "singularResource": "deployment", "scope": "Namespaced", "shortNames": ["deploy"],
            "categories": ["all"], "responseKind": {"kind": "Deployment"}}]}]}]}));
        assert_eq!(all.0[0], known().0[2]);
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
        assert_eq!(all.of_object(&object).expect("known").plural, "deployments");
        assert!(all.of_object(&json!({"apiVersion": "apps/v2", "kind": "Deployment"})).is_err());
    }
}
