use std::net::TcpListener;
use std::sync::Mutex;

use actix_web::{App, HttpResponse, HttpServer, web};
use mkube_model::secret::Secret;
use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::manifest::OCI_MANIFEST;
use crate::notices::{Notice, NoticePatience, NoticeTarget, Webhook};
use crate::running::tests::{http, registry, settings};
use crate::store::StoreOptions;
use crate::upstream::tests::{Answer, Fake, Image, reference, repository};

/// Who is told.
struct Receiver {
    told: Arc<Mutex<Vec<Notice>>>,
    url: String,
    handle: actix_web::dev::ServerHandle,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let told: Arc<Mutex<Vec<Notice>>> = Arc::default();
        let data = web::Data::from(told.clone());
        let take = |notice: web::Json<Notice>, told: web::Data<Mutex<Vec<Notice>>>| async move {
            told.lock().expect("not poisoned").push(notice.into_inner());
            HttpResponse::Ok().finish()
        };
        let server = HttpServer::new(move || App::new().app_data(data.clone()).route("/hook", web::post().to(take)));
        let server =
            server.workers(1).disable_signals().shutdown_timeout(0).listen(listener).expect("it listens").run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { told, url, handle }
    }

    fn digests(&self) -> Vec<String> {
        self.told.lock().expect("not poisoned").iter().map(|notice| notice.digest.clone()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what}: it does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One look of a watcher that is made for it and gone afterwards, as a restart would have it.
async fn look(directory: &Path, host: &str, receiver: &Receiver) -> Result<(), Fault> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = settings(
        directory,
        json!({"watchImages": [{"upstream": format!("{host}/team/app:edge"), "localRepo": "app"}]}),
    );
    let store = Store::open(StoreOptions::new(&settings.store_path)).await.expect("opened");
    let targets: Vec<Arc<dyn NoticeTarget>> =
        vec![Arc::new(Webhook::new(&receiver.url, &Secret::default()).expect("a client"))];
    let notices =
        Notices::open(&directory.join("notices"), "r:5000".to_owned(), false, targets, NoticePatience::default());
    let notices = Arc::new(notices.expect("opened"));
    let upstreams = Upstreams::open(&settings, store.clone(), &directory.join("up")).expect("opened");
    let watcher = Watcher::open(&settings, upstreams, store.clone(), notices.clone(), &directory.join("up"));
    let watcher = watcher.expect("opened").expect("something is watched");
    let looked = watcher.look(&watcher.images[0]).await;
    until("everything is told", || notices.waiting() == 0).await;
    looked
}

#[tokio::test]
async fn an_update_is_brought_here_whole_and_told_also_when_it_came_while_nobody_looked() {
    let (fake, first, second, receiver) = (Fake::start(), Image::new("a"), Image::new("b"), Receiver::start());
    let dir = tempfile::tempdir().expect("a directory");
    fake.image("team/app", "edge", &first);
    look(dir.path(), &fake.host, &receiver).await.expect("looked");
    assert_eq!(receiver.digests(), Vec::<String>::new(), "an image nobody had before is no update");
    look(dir.path(), &fake.host, &receiver).await.expect("looked");
    fake.image("team/app", "edge", &second);
    look(dir.path(), &fake.host, &receiver).await.expect("looked");
    look(dir.path(), &fake.host, &receiver).await.expect("looked");
    assert_eq!(receiver.digests(), [second.digest().to_string()], "once");
    let store = Store::open(StoreOptions::new(dir.path().join("store"))).await.expect("opened");
    let here = store.find_manifest(&repository("app"), &reference("edge")).expect("here");
    assert_eq!(here.digest, second.digest());
    for blob in [&second.config, &second.layer] {
        let digest = crate::upstream::tests::digest(blob);
        assert!(store.blob(&repository("app"), &digest).await.expect("readable").is_some());
    }
}

#[tokio::test]
async fn an_update_that_does_not_come_whole_changes_nothing_and_is_tried_again() {
    let (fake, first, second, receiver) = (Fake::start(), Image::new("a"), Image::new("b"), Receiver::start());
    let dir = tempfile::tempdir().expect("a directory");
    fake.image("team/app", "edge", &first);
    look(dir.path(), &fake.host, &receiver).await.expect("looked");
    fake.set("team/app/manifests/edge", Answer::manifest(OCI_MANIFEST, &second.manifest));
    look(dir.path(), &fake.host, &receiver).await.expect_err("its layers are not there");
    assert_eq!(receiver.digests(), Vec::<String>::new());
    {
        let store = Store::open(StoreOptions::new(dir.path().join("store"))).await.expect("opened");
        let here = store.find_manifest(&repository("app"), &reference("edge")).expect("here");
        assert_eq!(here.digest, first.digest(), "the tag has not moved");
    }
    fake.image("team/app", "edge", &second);
    look(dir.path(), &fake.host, &receiver).await.expect("looked");
    assert_eq!(receiver.digests(), [second.digest().to_string()]);
}

#[tokio::test]
async fn a_poll_makes_it_look_at_once() {
    let (fake, first, second, receiver) = (Fake::start(), Image::new("a"), Image::new("b"), Receiver::start());
    let dir = tempfile::tempdir().expect("a directory");
    fake.image("team/app", "edge", &first);
    let file = json!({
        "watchImages": [{"upstream": format!("{}/team/app:edge", fake.host), "localRepo": "app"}], "watchPollSeconds": 3600,
        "notifyURL": receiver.url, "management": {"listen": "127.0.0.1:0"},
    });
    let one = registry(dir.path(), file).await;
    let tag = || async {
        let answer =
            http().head(format!("http://{}/v2/app/manifests/edge", one.address())).send().await.expect("an answer");
        answer.headers().get("docker-content-digest").map(|value| value.to_str().expect("text").to_owned())
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while tag().await != Some(first.digest().to_string()) {
        assert!(Instant::now() < deadline, "it looks once at the start");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    fake.image("team/app", "edge", &second);
    let poll = format!("http://{}/poll", one.management().expect("there is one"));
    assert_eq!(http().post(poll).send().await.expect("an answer").status().as_u16(), 200);
    until("the update is told", || receiver.digests() == [second.digest().to_string()]).await;
    assert_eq!(tag().await, Some(second.digest().to_string()));
}
