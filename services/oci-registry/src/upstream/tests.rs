use actix_web::body::SizedStream;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use super::*;
use crate::digest::Algorithm;
use crate::manifest::{OCI_INDEX, OCI_MANIFEST};
use crate::running::tests::{http, registry, settings};
use crate::store::StoreOptions;

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

pub(crate) fn repository(name: &str) -> RepositoryName {
    RepositoryName::parse(name).expect("a name")
}

pub(crate) fn reference(text: &str) -> Reference {
    Reference::parse(text).expect("a reference")
}

/// An image of one layer.
pub(crate) struct Image {
    pub(crate) manifest: Bytes,
    pub(crate) config: Bytes,
    pub(crate) layer: Bytes,
}

impl Image {
    pub(crate) fn new(text: &str) -> Self {
        let (config, layer) = (Bytes::from(format!("{{\"of\":\"{text}\"}}")), Bytes::from(text.repeat(1000)));
        let part = |bytes: &Bytes, kind: &str| json!({"mediaType": kind, "digest": digest(bytes).as_str(), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": part(&config, "application/vnd.oci.image.config.v1+json"),
            "layers": [part(&layer, "application/vnd.oci.image.layer.v1.tar")],
        });
        Self { manifest: manifest.to_string().into(), config, layer }
    }

    pub(crate) fn digest(&self) -> Digest {
        digest(&self.manifest)
    }
}

fn index(children: &[(&Image, &str)]) -> Bytes {
    let child = |(image, architecture): &(&Image, &str)| {
        json!({
            "mediaType": OCI_MANIFEST, "digest": image.digest().as_str(), "size": image.manifest.len(),
            "platform": {"os": "linux", "architecture": architecture},
        })
    };
    let manifests: Vec<Value> = children.iter().map(child).collect();
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).to_string().into()
}

/// What a fake upstream answers on one path.
#[derive(Clone)]
pub(crate) struct Answer {
    status: u16,
    kind: &'static str,
    digest: Option<String>,
    body: Bytes,
    /// The connection is cut after so many bytes of a whole body.
    cut: Option<usize>,
    ranges: bool,
}

impl Answer {
    pub(crate) fn manifest(kind: &'static str, body: &Bytes) -> Self {
        Self { status: 200, kind, digest: Some(digest(body).to_string()), body: body.clone(), cut: None, ranges: false }
    }

    fn blob(body: &Bytes) -> Self {
        Self { digest: None, kind: "application/octet-stream", ..Self::manifest("", body) }
    }

    fn status(status: u16) -> Self {
        Self { status, ..Self::blob(&Bytes::new()) }
    }
}

/// An upstream that answers as told and counts.
pub(crate) struct Fake {
    state: web::Data<FakeState>,
    pub(crate) host: String,
    handle: actix_web::dev::ServerHandle,
}

#[derive(Default)]
struct FakeState {
    answers: Mutex<HashMap<String, Answer>>,
    calls: Mutex<Vec<String>>,
}

async fn answer(request: HttpRequest, state: web::Data<FakeState>) -> HttpResponse {
    let range = request.headers().get("range").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let call = format!("{} {}", request.method(), request.path());
    state.calls.lock().expect("not poisoned").push(call);
    let found = state.answers.lock().expect("not poisoned").get(request.path()).cloned();
    let Some(found) = found else { return HttpResponse::NotFound().finish() };
    let mut response = HttpResponse::build(actix_web::http::StatusCode::from_u16(found.status).expect("a status"));
    response.content_type(found.kind);
    if let Some(digest) = &found.digest {
        response.insert_header(("Docker-Content-Digest", digest.as_str()));
    }
    let from = range
        .filter(|_| found.ranges)
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match (from, found.cut) {
        (Some(from), _) => {
            response.status(actix_web::http::StatusCode::PARTIAL_CONTENT);
            response.body(found.body.slice(from..))
        }
        (None, Some(cut)) => {
            let first = found.body.slice(..cut);
            let pieces = stream::iter([Ok(first)]).chain(stream::once(async {
                // Pending once, so that what came before leaves this machine.
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(std::io::Error::other("cut"))
            }));
            response.body(SizedStream::new(found.body.len() as u64, Box::pin(pieces)))
        }
        (None, None) => response.body(found.body),
    }
}

impl Fake {
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let host = listener.local_addr().expect("an address").to_string();
        let state = web::Data::new(FakeState::default());
        let data = state.clone();
        let server = HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(answer)))
            .workers(1)
            .disable_signals()
            .shutdown_timeout(0)
            .listen(listener)
            .expect("it listens")
            .run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { state, host, handle }
    }

    pub(crate) fn set(&self, path: &str, answer: Answer) {
        self.state.answers.lock().expect("not poisoned").insert(format!("/v2/{path}"), answer);
    }

    /// An image under a tag, whole.
    pub(crate) fn image(&self, repository: &str, tag: &str, image: &Image) {
        for name in [tag, image.digest().as_str()] {
            self.set(&format!("{repository}/manifests/{name}"), Answer::manifest(OCI_MANIFEST, &image.manifest));
        }
        for blob in [&image.config, &image.layer] {
            self.set(&format!("{repository}/blobs/{}", digest(blob)), Answer::blob(blob));
        }
    }

    fn calls(&self, start: &str) -> usize {
        self.state.calls.lock().expect("not poisoned").iter().filter(|call| call.starts_with(start)).count()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

/// A store and the upstreams behind it.
struct Cache {
    _dir: tempfile::TempDir,
    store: Store,
    upstreams: Upstreams,
}

impl Cache {
    async fn of(host: &str) -> Self {
        Self::with(json!({"pullThrough": true, "upstreamRegistries": [host]}), Duration::ZERO).await
    }

    async fn with(file: Value, fresh_for: Duration) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(StoreOptions::new(dir.path().join("store"))).await.expect("opened");
        let settings = settings(dir.path(), file);
        let upstreams =
            Upstreams::open_with(&settings, store.clone(), &dir.path().join("up"), fresh_for).expect("opened");
        Self { _dir: dir, store, upstreams }
    }

    async fn manifest(&self, name: &str, text: &str) -> Result<bool, Fault> {
        self.upstreams.fetch_manifest(&self.store, &repository(name), &reference(text)).await
    }

    async fn blob(&self, name: &str, bytes: &[u8]) -> Result<bool, Fault> {
        self.upstreams.fetch_blob(&self.store, &repository(name), &digest(bytes)).await
    }

    async fn has_blob(&self, name: &str, bytes: &[u8]) -> bool {
        self.store.blob(&repository(name), &digest(bytes)).await.expect("readable").is_some()
    }

    fn tagged(&self, name: &str, tag: &str) -> Option<Digest> {
        self.store.find_manifest(&repository(name), &reference(tag)).map(|stored| stored.digest)
    }

    async fn refresh(&self, name: &str, tag: &str) {
        let here = self.tagged(name, tag).expect("it is here");
        let tag = Tag::parse(tag).expect("a tag");
        self.upstreams.refresh_tag(&self.store, &repository(name), &tag, &here).await;
    }
}

#[tokio::test]
async fn a_missing_image_is_fetched_once_verified_and_kept_by_tag_and_digest() {
    let (fake, image) = (Fake::start(), Image::new("a"));
    fake.image("team/app", "edge", &image);
    let cache = Cache::of(&fake.host).await;
    assert!(cache.manifest("team/app", "edge").await.expect("fetched"));
    assert_eq!(cache.tagged("team/app", "edge"), Some(image.digest()));
    assert_eq!(cache.tagged("team/app", image.digest().as_str()), Some(image.digest()));
    assert!(cache.blob("team/app", &image.layer).await.expect("fetched"));
    assert!(cache.has_blob("team/app", &image.layer).await);
    assert!(!cache.manifest("team/app", "other").await.expect("asked"));
    assert!(!cache.blob("team/app", b"nobody has this").await.expect("asked"));
}

#[tokio::test]
async fn however_many_ask_an_upstream_is_asked_once() {
    let (fake, image) = (Fake::start(), Image::new("a"));
    fake.image("app", "edge", &image);
    let cache = Cache::of(&fake.host).await;
    let asks = (0..50).map(|_| async { cache.blob("app", &image.layer).await.expect("fetched") });
    assert!(futures_util::future::join_all(asks).await.iter().all(|there| *there));
    assert_eq!(fake.calls(&format!("GET /v2/app/blobs/{}", digest(&image.layer))), 1);
    let asks = (0..50).map(|_| async { cache.manifest("app", "edge").await.expect("fetched") });
    assert!(futures_util::future::join_all(asks).await.iter().all(|there| *there));
    assert_eq!(fake.calls("GET /v2/app/manifests/edge"), 1);
}

#[tokio::test]
async fn a_fetch_goes_on_when_whoever_asked_has_left() {
    let (fake, image) = (Fake::start(), Image::new("a"));
    fake.image("app", "edge", &image);
    let cache = Cache::of(&fake.host).await;
    let left = tokio::time::timeout(Duration::ZERO, cache.blob("app", &image.layer)).await;
    assert!(left.is_err(), "left before it was there");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !cache.has_blob("app", &image.layer).await {
        assert!(Instant::now() < deadline, "it does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn of_an_index_only_the_child_that_is_asked_for_is_fetched() {
    let (fake, arm, amd) = (Fake::start(), Image::new("arm"), Image::new("amd"));
    fake.image("app", "arm", &arm);
    fake.image("app", "amd", &amd);
    let both = index(&[(&arm, "arm64"), (&amd, "amd64")]);
    fake.set("app/manifests/edge", Answer::manifest(OCI_INDEX, &both));
    let cache = Cache::of(&fake.host).await;
    assert!(cache.manifest("app", "edge").await.expect("fetched"));
    let (_, bytes) =
        cache.store.manifest(&repository("app"), &reference("edge")).await.expect("readable").expect("here");
    assert_eq!(bytes, both, "whole, as it was");
    assert!(cache.manifest("app", amd.digest().as_str()).await.expect("fetched"));
    assert_eq!(cache.tagged("app", arm.digest().as_str()), None);
    assert_eq!(fake.calls(&format!("GET /v2/app/manifests/{}", arm.digest())), 0);
    assert_eq!(fake.calls("GET /v2/app/blobs"), 0);
}

#[tokio::test]
async fn an_upstream_that_lies_leaves_nothing_here() {
    let (fake, image, other) = (Fake::start(), Image::new("a"), Image::new("b"));
    let cache = Cache::of(&fake.host).await;
    let html = Bytes::from_static(b"<html>sign in</html>");
    let lies = [
        ("a web page", "edge", Answer { kind: "text/html", ..Answer::manifest("", &html) }),
        ("a web page that calls itself a manifest", "edge", Answer::manifest(OCI_MANIFEST, &html)),
        ("an image as an index", "edge", Answer::manifest(OCI_INDEX, &image.manifest)),
        (
            "other bytes than its header says",
            "edge",
            Answer { digest: Some(other.digest().to_string()), ..Answer::manifest(OCI_MANIFEST, &image.manifest) },
        ),
        ("other bytes than were asked for", other.digest().as_str(), Answer::manifest(OCI_MANIFEST, &image.manifest)),
    ]
    .map(|(lie, name, answer)| (lie, name.to_owned(), answer));
    for (lie, name, answer) in lies {
        fake.set(&format!("app/manifests/{name}"), answer);
        let fault = cache.manifest("app", &name).await.expect_err(lie);
        assert_eq!(fault.status(), 502, "{lie}: {fault}");
        assert_eq!(cache.tagged("app", &name), None, "{lie}");
    }
    let wanted = digest(&image.layer);
    fake.set(&format!("app/blobs/{wanted}"), Answer::blob(&other.layer));
    let fault = cache.blob("app", &image.layer).await.expect_err("another blob");
    assert_eq!(fault.status(), 502, "{fault}");
    assert!(!cache.has_blob("app", &image.layer).await && !cache.has_blob("app", &other.layer).await);
    fake.image("app", "edge", &image);
    assert!(cache.manifest("app", "edge").await.expect("the truth is taken afterwards"));
    assert!(cache.blob("app", &image.layer).await.expect("here too"));
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_gone_on_with_or_leaves_nothing() {
    let (fake, image) = (Fake::start(), Image::new("a"));
    let path = format!("app/blobs/{}", digest(&image.layer));
    let cache = Cache::of(&fake.host).await;
    let cut = Answer { cut: Some(400), ..Answer::blob(&image.layer) };
    fake.set(&path, cut.clone());
    let fault = cache.blob("app", &image.layer).await.expect_err("it cannot be gone on with");
    assert_eq!(fault.status(), 502, "{fault}");
    assert!(!cache.has_blob("app", &image.layer).await);
    fake.set(&path, Answer { ranges: true, ..cut });
    assert!(cache.blob("app", &image.layer).await.expect("gone on with"));
    assert!(cache.has_blob("app", &image.layer).await);
}

#[tokio::test]
async fn the_next_upstream_is_asked_where_one_does_not_have_it_or_is_away() {
    let (first, second, image) = (Fake::start(), Fake::start(), Image::new("a"));
    second.image("app", "edge", &image);
    let gone = mkube_free_ports::free_address();
    let file = json!({"pullThrough": true, "upstreamRegistries": [gone, first.host, second.host]});
    let cache = Cache::with(file, Duration::ZERO).await;
    assert!(cache.manifest("app", "edge").await.expect("fetched"));
    assert_eq!(first.calls("GET /v2/app/manifests/edge"), 1);
    let fault = cache.manifest("app", "nowhere").await.expect_err("one of them could not be asked");
    assert_eq!(fault.status(), 502, "{fault}");
}

#[tokio::test]
async fn an_upstream_that_asks_for_patience_is_asked_again() {
    let (fake, image) = (Fake::start(), Image::new("a"));
    fake.image("app", "edge", &image);
    fake.set("app/manifests/edge", Answer::status(503));
    let cache = Cache::of(&fake.host).await;
    let fault = cache.manifest("app", "edge").await.expect_err("never better");
    assert_eq!(fault.status(), 502, "{fault}");
    assert_eq!(fake.calls("GET /v2/app/manifests/edge"), 3);
}

#[tokio::test]
async fn a_tag_that_moved_upstream_moves_here_and_one_that_was_pushed_here_does_not() {
    let (fake, first, second, own) = (Fake::start(), Image::new("a"), Image::new("b"), Image::new("own"));
    fake.image("app", "edge", &first);
    let cache = Cache::of(&fake.host).await;
    cache.manifest("app", "edge").await.expect("fetched");
    cache.refresh("app", "edge").await;
    assert_eq!(cache.tagged("app", "edge"), Some(first.digest()));
    fake.image("app", "edge", &second);
    cache.refresh("app", "edge").await;
    assert_eq!(cache.tagged("app", "edge"), Some(second.digest()));
    for nonsense in
        [Answer::status(500), Answer::status(404), Answer::manifest("text/html", &Bytes::from_static(b"<html>"))]
    {
        fake.set("app/manifests/edge", nonsense);
        cache.refresh("app", "edge").await;
        assert_eq!(cache.tagged("app", "edge"), Some(second.digest()), "what is here is served");
    }
    let pushed = PushedManifest {
        reference: reference("edge"),
        tags: Vec::new(),
        content_type: Some(OCI_MANIFEST.to_owned()),
        bytes: own.manifest.clone(),
    };
    cache.store.put_manifest(&repository("app"), pushed, Checks::Sparse).await.expect("pushed");
    fake.image("app", "edge", &first);
    cache.refresh("app", "edge").await;
    assert_eq!(cache.tagged("app", "edge"), Some(own.digest()), "a push here wins");
}

#[tokio::test]
async fn a_tag_is_compared_once_in_a_while_only() {
    let (fake, image) = (Fake::start(), Image::new("a"));
    fake.image("app", "edge", &image);
    let file = json!({"pullThrough": true, "upstreamRegistries": [fake.host]});
    let cache = Cache::with(file, Duration::from_secs(600)).await;
    cache.manifest("app", "edge").await.expect("fetched");
    for _ in 0..5 {
        cache.refresh("app", "edge").await;
    }
    assert_eq!(fake.calls("HEAD"), 0, "it was fetched a moment ago");
}

#[tokio::test]
async fn a_blob_another_repository_has_is_not_sent_again_where_the_upstream_would_give_it() {
    let (fake, image) = (Fake::start(), Image::new("a"));
    fake.image("one", "edge", &image);
    let cache = Cache::of(&fake.host).await;
    assert!(cache.blob("one", &image.layer).await.expect("fetched"));
    assert!(
        !cache.blob("two", &image.layer).await.expect("asked"),
        "not for a repository the upstream does not give it for"
    );
    assert!(!cache.has_blob("two", &image.layer).await);
    fake.image("two", "edge", &image);
    assert!(cache.blob("two", &image.layer).await.expect("shared"));
    assert_eq!(fake.calls("GET /v2/two/blobs"), 1, "the one that was answered 404");
}

/// Pushes an image into a registry of ours.
async fn push(url: &str, name: &str, tag: &str, image: &Image, login: Option<(&str, &str)>) {
    let client = http();
    let with = |request: reqwest::RequestBuilder| match login {
        Some((user, password)) => request.basic_auth(user, Some(password)),
        None => request,
    };
    for blob in [&image.config, &image.layer] {
        let request = client.post(format!("{url}/v2/{name}/blobs/uploads/?digest={}", digest(blob)));
        let answer = with(request).body(blob.clone()).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 201, "{}", answer.text().await.unwrap_or_default());
    }
    let request = client.put(format!("{url}/v2/{name}/manifests/{tag}")).header("content-type", OCI_MANIFEST);
    let answer = with(request).body(image.manifest.clone()).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 201, "{}", answer.text().await.unwrap_or_default());
}

#[tokio::test]
async fn a_registry_of_ours_is_an_upstream_with_a_login_and_without() {
    let image = Image::new("a");
    for (anonymous, credentials) in [(true, false), (true, true), (false, true)] {
        let dirs = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let users = json!([{"name": "ann", "password": "hunter2", "roles": ["write"]}]);
        let above = registry(dirs.0.path(), json!({"access": {"anonymousPull": anonymous, "users": users}})).await;
        push(&format!("http://{}", above.address()), "team/app", "edge", &image, Some(("ann", "hunter2"))).await;
        let host = above.address().to_string();
        let mut file = json!({"pullThrough": true, "upstreamRegistries": [host]});
        if credentials {
            file["upstream"] = json!({"credentials": [{"registry": host, "user": "ann", "password": "hunter2"}]});
        }
        let below = registry(dirs.1.path(), file).await;
        let url = |path: &str| format!("http://{}/v2/team/app/{path}", below.address());
        let manifest = http().get(url("manifests/edge")).send().await.expect("an answer");
        assert_eq!(manifest.status().as_u16(), 200);
        assert_eq!(manifest.headers()["docker-content-digest"], image.digest().as_str());
        assert_eq!(manifest.bytes().await.expect("a body"), image.manifest);
        let layer = http().get(url(&format!("blobs/{}", digest(&image.layer)))).send().await.expect("an answer");
        assert_eq!(layer.bytes().await.expect("a body"), image.layer);
        above.stop().await;
        let again = http().get(url("manifests/edge")).send().await.expect("an answer");
        assert_eq!(again.status().as_u16(), 200, "it is here now");
        let other = http().get(url("manifests/other")).send().await.expect("an answer");
        assert_eq!(other.status().as_u16(), 502, "{}", other.text().await.unwrap_or_default());
    }
}

#[tokio::test]
async fn the_go_registrys_pull_brings_a_whole_image_and_says_what_came() {
    let (fake, image, arm, mips) = (Fake::start(), Image::new("a"), Image::new("arm"), Image::new("mips"));
    fake.image("team/app", "edge", &image);
    fake.image("team/many", "arm", &arm);
    fake.set("team/many/manifests/edge", Answer::manifest(OCI_INDEX, &index(&[(&mips, "mips"), (&arm, "arm64")])));
    let half = Image::new("half");
    fake.image("team/half", "edge", &half);
    fake.set(&format!("team/half/blobs/{}", digest(&half.layer)), Answer::status(404));
    let dir = tempfile::tempdir().expect("a directory");
    let one = registry(dir.path(), json!({"upstreamRegistries": [fake.host]})).await;
    let pull = |image: String| {
        let request = http().post(format!("http://{}/v2/_pull", one.address()));
        async move {
            let answer = request.body(json!({"image": image}).to_string()).send().await.expect("an answer");
            (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"))
        }
    };
    let (status, body) = pull(format!("{}/team/app:edge", fake.host)).await;
    assert_eq!((status, &body["status"], &body["blobs"], &body["total"]), (200, &json!("ok"), &json!(2), &json!(2)));
    assert_eq!(body["manifest"], true);
    let (status, body) = pull(format!("{}/team/many:edge", fake.host)).await;
    assert_eq!((status, &body["status"], &body["blobs"]), (200, &json!("ok"), &json!(2)), "the device's child: {body}");
    let (status, body) = pull(format!("{}/team/half:edge", fake.host)).await;
    assert_eq!((status, &body["status"], &body["blobs"]), (200, &json!("partial"), &json!(1)));
    assert_eq!(pull(format!("{}/team/nothing:edge", fake.host)).await.0, 502);
    assert_eq!(pull("10.0.0.1:5000/team/app".to_owned()).await.0, 400, "not among the upstreams");
    assert_eq!(pull("nonsense".to_owned()).await.0, 400);
    let tags = http().get(format!("http://{}/v2/team/many/tags/list", one.address())).send().await.expect("an answer");
    assert_eq!(tags.json::<Value>().await.expect("JSON")["tags"], json!(["edge"]));
}
