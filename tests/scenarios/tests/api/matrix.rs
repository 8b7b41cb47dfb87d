//! Everything that can be written × everything that can be wrong with it, made from what discovery tells: a kind that is new is here
//! without another line. Each is refused with a `Status` that has the right code, and nothing is changed.

mod wrong;

use std::net::TcpStream;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use mkube_scenarios::{Api, World};
use serde_json::{Value, json};

use crate::{JSON, quiet};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
/// Requests under way at the same time.
const TOGETHER: usize = 8;

/// What objects of a kind need beside a name. Whoever is missing here is made of a name alone.
fn spec_of(kind: &str) -> Value {
    let containers = json!([{"name": "c", "image": "hello:latest"}]);
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": containers}});
    let once = json!({"suspend": true, "template": {"spec": {"containers": containers, "restartPolicy": "Never"}}});
    let spec = match kind {
        "Pod" => json!({"containers": containers}),
        "Deployment" => json!({"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template": template}),
        "Job" => once,
        "CronJob" => json!({"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": once}}),
        "PersistentVolumeClaim" => {
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}})
        }
        "Network" => json!({"cidr": "10.99.0.0/24", "gateway": "10.99.0.1", "bridge": "bridge-x"}),
        "Service" => json!({"ports": [{"port": 80}]}),
        _ => return Value::Null,
    };
    json!({"spec": spec})
}

/// One resource of discovery, or one of its subresources.
struct Resource {
    group_version: String,
    /// What bodies say as `apiVersion`.
    body_version: String,
    /// `pods`, or `pods/status`.
    name: String,
    kind: String,
    namespaced: bool,
    verbs: Vec<String>,
}

impl Resource {
    fn has(&self, verb: &str) -> bool {
        self.verbs.iter().any(|one| one == verb)
    }

    fn base(&self) -> String {
        if self.group_version.contains('/') {
            format!("/apis/{}", self.group_version)
        } else {
            format!("/api/{}", self.group_version)
        }
    }

    fn collection(&self) -> String {
        let plural = self.name.split('/').next().unwrap_or_default();
        let namespace = if self.namespaced { "/namespaces/default" } else { "" };
        format!("{}{namespace}/{plural}", self.base())
    }

    /// The object `there`, or a subresource of it.
    fn one(&self) -> String {
        let sub = self.name.split_once('/').map(|(_, sub)| format!("/{sub}")).unwrap_or_default();
        format!("{}/{}{sub}", self.collection(), self.there())
    }

    fn there(&self) -> &'static str {
        // A bucket of leases or names may have rules for names; all take this one.
        "there"
    }

    fn fresh(&self, name: &str) -> Value {
        let mut object = json!({"apiVersion": self.group_version, "kind": self.kind, "metadata": {"name": name}});
        if let Value::Object(more) = spec_of(&self.kind) {
            more.into_iter().for_each(|(field, value)| object[field] = value);
        }
        if self.namespaced && self.kind == "Event" {
            object["involvedObject"] = json!({"kind": "Pod", "namespace": "default", "name": "there"});
            object["regarding"] = object["involvedObject"].clone();
            object.as_object_mut().expect("an object").remove(match self.group_version.as_str() {
                "v1" => "regarding",
                _ => "involvedObject",
            });
        }
        object
    }
}

async fn discovered(api: &Api) -> anyhow::Result<Vec<Resource>> {
    let mut versions = vec!["/api/v1".to_owned()];
    for group in api.get("/apis").await?.expect(200).body["groups"].as_array().into_iter().flatten() {
        for version in group["versions"].as_array().into_iter().flatten() {
            versions.push(format!("/apis/{}", version["groupVersion"].as_str().unwrap_or_default()));
        }
    }
    let mut found = Vec::new();
    for path in versions {
        let list = api.get(&path).await?.expect(200).body;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for one in list["resources"].as_array().into_iter().flatten() {
            found.push(Resource {
                group_version: text(&list["groupVersion"]),
                body_version: match one["version"].as_str() {
                    Some(version) => format!("{}/{version}", text(&one["group"])),
                    None => text(&list["groupVersion"]),
                },
                name: text(&one["name"]),
                kind: text(&one["kind"]),
                namespaced: one["namespaced"] == true,
                verbs: one["verbs"].as_array().into_iter().flatten().map(text).collect(),
            });
        }
    }
    Ok(found)
}

/// What a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// An object that is new.
    New,
    /// An object that is there.
    Object,
    /// One of the types of patches.
    Patch(&'static str),
    /// `DeleteOptions`, or nothing.
    Options,
    /// Something that is answered or done on the spot.
    Other,
}

/// Something that can be written to.
#[derive(Debug)]
struct Route {
    method: &'static str,
    path: String,
    takes: Takes,
    /// A body that would be taken.
    good: Value,
    /// Whether fields that are not known are refused when this is asked for.
    strict: bool,
    /// Answers of its own shape beside `Status`.
    own_shape: bool,
    /// Bodies are what they look like, whatever they are called.
    any_media: bool,
}

/// A request that must be refused.
#[derive(Clone)]
struct Bad {
    what: String,
    query: &'static str,
    media: String,
    body: Vec<u8>,
    codes: &'static [u16],
}

impl Route {
    fn of(method: &'static str, path: String, takes: Takes, good: Value) -> Self {
        Self { method, path, takes, good, strict: takes != Takes::Options, own_shape: false, any_media: false }
    }

    fn media(&self) -> &'static str {
        match self.takes {
            Takes::Patch(media) => media,
            _ => JSON,
        }
    }
}

/// What users have stored, without what changes by itself: versions, events, nodes, the status of pods and networks.
fn kept(world: &World) -> Vec<(String, String)> {
    let view = world.view();
    let kinds = view.kinds.iter().filter(|(id, _)| !["nodes", "events"].contains(&id.plural));
    let all = kinds.flat_map(|(id, kind)| {
        kind.objects.iter().map(|(key, object)| {
            let mut value = object.value();
            for field in ["resourceVersion", "managedFields"] {
                value["metadata"].as_object_mut().map(|meta| meta.remove(field));
            }
            if ["pods", "networks"].contains(&id.plural) {
                value.as_object_mut().map(|fields| fields.remove("status"));
            }
            (format!("{}/{key}", id.plural), value.to_string())
        })
    });
    all.filter(|(key, _)| key != "configmaps/infra/mkube-console-config").collect()
}

/// Sends what is bad to a route; what was wrong with the answers.
async fn attack(world: &World, route: &Route, faults: &mut Vec<String>) -> anyhow::Result<usize> {
    let before = kept(world);
    let bad = route.bad();
    let count = bad.len();
    let (api, method) = (world.api(), route.method);
    let asked = stream::iter(bad).map(|bad| async move {
        let path = if bad.query.is_empty() { route.path.clone() } else { joined(&route.path, bad.query) };
        let headers = [("content-type", bad.media.as_str())];
        let headers = if bad.media.is_empty() { &headers[..0] } else { &headers[..] };
        let answer = api.send(method, &path, headers, bad.body.clone()).await;
        (bad, answer)
    });
    let mut answers = asked.buffer_unordered(TOGETHER);
    while let Some((bad, answer)) = answers.next().await {
        let about = format!("{method} {} with {}", route.path, bad.what);
        let answer = answer.map_err(|error| error.context(about.clone()))?;
        let status = answer.body["kind"] == "Status" && answer.body["status"] == "Failure";
        let says =
            answer.body["code"] == json!(answer.code) && !answer.body["message"].as_str().unwrap_or("").is_empty();
        let own = route.own_shape && answer.body["results"].is_array();
        if !(bad.codes.contains(&answer.code) && (status && says || own)) {
            let text: String = answer.text.chars().take(200).collect();
            faults.push(format!("{about}: {} where {:?} is right: {text}", answer.code, bad.codes));
        }
    }
    let after = kept(world);
    if after != before {
        let new: Vec<_> = after.iter().filter(|one| !before.contains(one)).collect();
        faults.push(format!("{method} {} changed something: {new:?}", route.path));
    }
    Ok(count)
}

fn joined(path: &str, query: &str) -> String {
    // Of a parameter that is there twice the first counts.
    match path.split_once('?') {
        Some((path, more)) => format!("{path}?{query}&{more}"),
        None => format!("{path}?{query}"),
    }
}

/// Half a request, and the connection is gone.
fn cut(world: &World, route: &Route) -> anyhow::Result<()> {
    let mut connection = TcpStream::connect(world.api().address())?;
    let body = route.good.to_string();
    let request = format!(
        "{} {} HTTP/1.1\r\nHost: x\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n{body}",
        route.method,
        route.path,
        route.media(),
        body.len() + 1
    );
    std::io::Write::write_all(&mut connection, request.as_bytes())?;
    Ok(())
}

/// Makes an object of every kind, called `there`, and answers every route to them that changes something.
async fn routes(world: &World) -> anyhow::Result<Vec<Route>> {
    let api = world.api();
    let resources = discovered(api).await?;
    for resource in resources.iter().filter(|one| one.has("create") && one.has("delete")) {
        let made = api.post(&resource.collection(), &resource.fresh("there")).await?;
        // Events are in two groups, and are the same.
        let known = made.code == 201 || (resource.kind == "Event" && made.code == 409);
        anyhow::ensure!(known, "what does {} need? Write it into `spec_of`: {}", resource.kind, made.text);
    }
    world.until_pod("there", "Running").await?;
    let mut all = Vec::new();
    for resource in &resources {
        let is_sub = resource.name.contains('/');
        let one = resource.one();
        if resource.has("create") && !is_sub {
            let takes = if resource.has("delete") { Takes::New } else { Takes::Other };
            let route = Route::of("POST", resource.collection(), takes, resource.fresh("fresh"));
            all.push(route);
        }
        if resource.has("create") && is_sub {
            // A stream is no message, and is begun by a request without a body.
            if !resource.has("get") {
                let good = json!({"apiVersion": "policy/v1", "kind": resource.kind, "metadata": {"name": "there"}});
                all.push(Route { strict: false, ..Route::of("POST", one.clone(), Takes::Other, good) });
            }
        }
        if resource.has("update") {
            let good = api.get(&one).await?.expect(200).body;
            all.push(Route::of("PUT", one.clone(), Takes::Object, good));
        }
        if resource.has("patch") {
            for media in PATCHES {
                // A kind without a strategy takes no strategic patches, whatever stands in them.
                if media == PATCHES[2] && api.patch(&one, media, &json!({})).await?.code == 415 {
                    continue;
                }
                let good = match media {
                    media if media == PATCHES[0] => json!([]),
                    _ => {
                        json!({"apiVersion": resource.body_version, "kind": resource.kind, "metadata": {"name": "there"}})
                    }
                };
                let path = if media == PATCHES[3] { format!("{one}?fieldManager=me") } else { one.clone() };
                all.push(Route::of("PATCH", path, Takes::Patch(media), good));
            }
        }
        if resource.has("delete") {
            all.push(Route::of("DELETE", one.clone(), Takes::Options, json!({})));
        }
        if resource.has("deletecollection") {
            all.push(Route::of("DELETE", resource.collection(), Takes::Options, json!({})));
        }
    }
    Ok(all)
}

#[actix_rt::test]
async fn every_route_of_every_kind_refuses_everything_that_is_wrong_and_changes_nothing() -> anyhow::Result<()> {
    let world = quiet().await?;
    let routes = routes(&world).await?;
    assert!(routes.len() > 100, "the routes are found: {}", routes.len());
    let (mut faults, mut count) = (Vec::new(), 0);
    for route in &routes {
        count += attack(&world, route, &mut faults).await?;
    }
    assert!(faults.is_empty(), "{} of {count}:\n{}", faults.len(), faults.join("\n"));
    let before = kept(&world);
    for route in &routes {
        cut(&world, route)?;
    }
    // Whoever asks after them is answered after they were given up.
    world.api().get("/metrics").await?.expect(200);
    tokio::time::timeout(Duration::from_secs(20), async {
        while !world.api().get("/metrics").await.is_ok_and(|answer| answer.code == 200) {}
    })
    .await?;
    assert_eq!(kept(&world), before, "half a request does nothing");
    world.stop().await;
    Ok(())
}

/// Method, path, and a body that would be taken.
type Written = (&'static str, &'static str, &'static str);

/// The routes that mkube has beside those of Kubernetes, and what they take; none: they are only read.
const ORIGINAL: &[(&str, &[Written])] = &[
    ("/api/v1/allocations", &[]),
    ("/api/v1/apply", &[("POST", "/api/v1/apply", "documents")]),
    ("/api/v1/boot-plan", &[]),
    ("/api/v1/consistency", &[("POST", "/api/v1/consistency/repair", "{\"dryRun\": [\"All\"]}")]),
    ("/api/v1/dns/validate", &[]),
    ("/api/v1/export", &[]),
    ("/api/v1/images", &[("POST", "/api/v1/images/redeploy", "{\"ref\": \"hello:latest\"}")]),
    ("/api/v1/import", &[("POST", "/api/v1/import", "documents")]),
    ("/api/v1/instances", &[]),
    ("/api/v1/networks", &[]),
    ("/api/v1/registry", &[("POST", "/api/v1/registry/push-notify", "{\"events\": []}")]),
    ("/api/v1/store", &[]),
    ("/api/v1/supervisor", &[("POST", "/api/v1/supervisor/mkube/edges/http/crash", "{\"how\": \"error\"}")]),
    ("/api/v1/volumes", &[]),
    ("/api/v1/zones", &[("POST", "/api/v1/zones", "{\"name\": \"team.gt.lo\"}")]),
];

#[actix_rt::test]
async fn the_original_routes_refuse_what_is_wrong_and_no_route_is_forgotten() -> anyhow::Result<()> {
    let world = quiet().await?;
    let index = world.api().get("/").await?.expect(200).body;
    for path in index["paths"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let is_original = path.strip_prefix("/api/v1/").is_some();
        assert!(!is_original || ORIGINAL.iter().any(|(known, _)| *known == path), "{path} is not in this test");
    }
    let mut faults = Vec::new();
    for (method, path, good) in ORIGINAL.iter().flat_map(|(_, routes)| routes.iter()) {
        let own_shape = *good == "documents";
        let good = if own_shape {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fresh"}})
        } else {
            serde_json::from_str(good)?
        };
        // What `curl -d` calls a form is taken where people use it.
        let any_media = own_shape || ["push-notify", "repair", "crash"].iter().any(|end| path.ends_with(end));
        let route =
            Route { strict: false, own_shape, any_media, ..Route::of(method, (*path).to_owned(), Takes::Other, good) };
        attack(&world, &route, &mut faults).await?;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn methods_that_a_path_does_not_have_are_refused() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let before = world.stored();
    let mut faults = Vec::new();
    for resource in discovered(api).await? {
        let is_sub = resource.name.contains('/');
        let (collection, one) = (resource.collection(), resource.one());
        let has = |verb: &str| resource.has(verb);
        let mut wrong = vec![
            ("BREW", one.clone()),
            ("POST", format!("{one}/nosuch")),
            ("DELETE", format!("{one}/nosuch")),
            ("PUT", collection.clone()),
            ("PATCH", collection.clone()),
        ];
        for (method, verb) in [("PUT", "update"), ("PATCH", "patch"), ("DELETE", "delete")] {
            if !has(verb) {
                wrong.push((method, one.clone()));
            }
        }
        if !is_sub {
            wrong.push(("POST", one.clone()));
            if !has("create") {
                wrong.push(("POST", collection.clone()));
            }
            if !has("deletecollection") {
                wrong.push(("DELETE", collection.clone()));
            }
            if resource.namespaced && has("create") {
                let elsewhere = collection.replace("/default/", "/nosuch/");
                let answer = api.post(&elsewhere, &resource.fresh("fresh")).await?;
                if resource.has("delete") && ![404, 422].contains(&answer.code) {
                    faults.push(format!("POST {elsewhere}: {}", answer.text));
                }
            }
        }
        for (method, path) in wrong {
            let answer = api.send(method, &path, &[("content-type", JSON)], "{}").await?;
            if ![404, 405].contains(&answer.code) || answer.body["kind"] != "Status" {
                faults.push(format!("{method} {path}: {} {}", answer.code, answer.text));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}
