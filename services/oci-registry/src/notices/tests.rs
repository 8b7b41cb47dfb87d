use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::sync::Mutex;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use mkube_model::neighbours::bus::{Bus, BusFault, BusMessage, BusSession, BusSubscription};
use mkube_model::secret::Secret;
use ring::hmac;
use tokio::time::Instant;

use super::*;

const SECRET: &str = "hunter2-notices";
const QUICK: NoticePatience = NoticePatience {
    first: Duration::from_millis(5),
    longest: Duration::from_millis(20),
    refused_for: Duration::from_millis(200),
};

/// What a receiver was told.
#[derive(Debug, Clone)]
struct Told {
    body: Vec<u8>,
    signature: String,
    delivery: String,
}

impl Told {
    fn notice(&self) -> Notice {
        serde_json::from_slice(&self.body).expect("a notice")
    }
}

/// How a receiver answers: these in turn, then 200. 0 means: not at all.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<u16>>>,
    /// Refused whatever else is scripted.
    refused_image: Option<String>,
    told: Arc<Mutex<Vec<Told>>>,
}

async fn receive(request: HttpRequest, body: web::Bytes, script: web::Data<Script>) -> HttpResponse {
    let header =
        |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let told = Told { body: body.to_vec(), signature: header(webhook::SIGNATURE), delivery: header(webhook::DELIVERY) };
    let refused = script.refused_image.as_ref().is_some_and(|image| told.notice().image == *image);
    script.told.lock().expect("not poisoned").push(told);
    if refused {
        return HttpResponse::NotFound().finish();
    }
    let answer = script.answers.lock().expect("not poisoned").pop_front();
    match answer {
        None => HttpResponse::Ok().finish(),
        Some(0) => {
            std::future::pending::<()>().await;
            HttpResponse::Ok().finish()
        }
        Some(status) => HttpResponse::build(reqwest_status(status)).finish(),
    }
}

fn reqwest_status(status: u16) -> actix_web::http::StatusCode {
    actix_web::http::StatusCode::from_u16(status).expect("a status")
}

/// A receiver for as long as it is kept.
struct Receiver {
    script: Script,
    url: String,
    handle: actix_web::dev::ServerHandle,
}

impl Receiver {
    fn on(listener: TcpListener, script: Script) -> Self {
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let data = web::Data::new(script.clone());
        let server = HttpServer::new(move || App::new().app_data(data.clone()).route("/hook", web::post().to(receive)))
            .workers(1)
            .disable_signals()
            .shutdown_timeout(0)
            .listen(listener)
            .expect("it listens")
            .run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { script, url, handle }
    }

    fn with(answers: &[u16]) -> Self {
        let script = Script { answers: Arc::new(Mutex::new(answers.iter().copied().collect())), ..Script::default() };
        Self::on(free(), script)
    }

    fn told(&self) -> Vec<Told> {
        self.script.told.lock().expect("not poisoned").clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

fn free() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

fn open(directory: &Path, url: &str) -> Notices {
    open_with(directory, url, QUICK, false)
}

fn open_with(directory: &Path, url: &str, patience: NoticePatience, child_manifests: bool) -> Notices {
    // A second test of this process finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let webhook = Webhook::with_patience(url, &Secret::new(SECRET), Duration::from_millis(300)).expect("a client");
    let targets: Vec<Arc<dyn NoticeTarget>> = vec![Arc::new(webhook)];
    Notices::open(directory, "192.168.200.3:5000".to_owned(), child_manifests, targets, patience).expect("opened")
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what}: it does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_told(notices: &Notices) {
    until("all notices are taken", || notices.waiting() == 0).await;
}

#[tokio::test]
async fn a_push_is_told_once_signed_with_everything_a_receiver_needs() {
    let dir = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::with(&[]);
    let notices = open(dir.path(), &receiver.url);
    notices.pushed("team/app", Some("edge"), "sha256:abc").await.expect("kept");
    until_told(&notices).await;
    let told = receiver.told();
    assert_eq!(told.len(), 1);
    let body: serde_json::Value = serde_json::from_slice(&told[0].body).expect("JSON");
    let wanted = serde_json::json!({
        "repository": "team/app", "tag": "edge", "digest": "sha256:abc", "registry": "192.168.200.3:5000", "image": "team/app:edge",
    });
    assert_eq!(body, wanted);
    let hex = told[0].signature.strip_prefix("sha256=").expect("signed");
    let tag: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    hmac::verify(&key, &told[0].body, &tag).expect("the signature is over the body");
}

#[tokio::test]
async fn manifests_pushed_by_digest_are_told_only_where_that_is_wanted() {
    let dir = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::with(&[]);
    let notices = open(dir.path(), &receiver.url);
    notices.pushed("app", None, "sha256:child").await.expect("passed over");
    assert_eq!(notices.waiting(), 0);
    drop(notices);
    let notices = open_with(dir.path(), &receiver.url, QUICK, true);
    notices.pushed("app", None, "sha256:child").await.expect("kept");
    until_told(&notices).await;
    let told = receiver.told();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].notice().image, "app@sha256:child");
}

#[tokio::test]
async fn a_receiver_that_fails_or_is_slow_is_told_again_until_it_takes_the_notice() {
    let dir = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::with(&[500, 503, 0, 429]);
    let notices = open(dir.path(), &receiver.url);
    notices.pushed("app", Some("edge"), "sha256:abc").await.expect("kept");
    until_told(&notices).await;
    let told = receiver.told();
    assert_eq!(told.len(), 5);
    assert!(told.iter().all(|one| one.delivery == told[0].delivery), "a receiver can tell that it is the same");
}

#[tokio::test]
async fn what_nobody_took_is_told_after_a_restart_once_the_receiver_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let listener = free();
    let address = listener.local_addr().expect("an address");
    let url = format!("http://{address}/hook");
    drop(listener);
    let notices = open(dir.path(), &url);
    for tag in ["a", "b", "c"] {
        notices.pushed("app", Some(tag), "sha256:abc").await.expect("kept");
    }
    drop(notices);
    let notices = open(dir.path(), &url);
    assert_eq!(notices.waiting(), 3);
    let receiver = Receiver::on(TcpListener::bind(address).expect("free again"), Script::default());
    until_told(&notices).await;
    let tags: Vec<String> = receiver.told().iter().map(|one| one.notice().tag).collect();
    assert_eq!(tags, ["a", "b", "c"], "in the order of the pushes");
    drop(notices);
    assert_eq!(open(dir.path(), &url).waiting(), 0, "what was taken is gone from the disk");
}

#[tokio::test]
async fn of_one_tag_the_newest_push_is_told_and_those_before_it_need_not_be() {
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("http://{}/hook", free().local_addr().expect("an address"));
    let notices = open(dir.path(), &url);
    for digest in ["sha256:1", "sha256:2", "sha256:3"] {
        notices.pushed("app", Some("edge"), digest).await.expect("kept");
    }
    assert_eq!(notices.waiting(), 1);
    drop(notices);
    let receiver = Receiver::with(&[]);
    let notices = open(dir.path(), &receiver.url);
    until_told(&notices).await;
    assert_eq!(receiver.told().last().expect("told").notice().digest, "sha256:3");
}

#[tokio::test]
async fn a_push_while_the_one_before_is_being_told_is_not_forgotten_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let outbox = Outbox::open(dir.path(), 10).expect("opened");
    let notice = |digest: &str| Notice {
        repository: "app".to_owned(),
        tag: "edge".to_owned(),
        digest: digest.to_owned(),
        registry: String::new(),
        image: "app:edge".to_owned(),
    };
    outbox.put(notice("sha256:1")).expect("kept");
    let (key, being_told) = outbox.oldest(|_, _| true).expect("waits");
    outbox.put(notice("sha256:2")).expect("kept");
    outbox.forget(&key, &being_told.delivery).expect("fine");
    assert_eq!(outbox.oldest(|_, _| true).expect("waits").1.notice.digest, "sha256:2");
    assert_eq!(Outbox::open(dir.path(), 10).expect("opened").len(), 1, "nor on the disk");
}

#[tokio::test]
async fn a_notice_that_is_refused_holds_up_nobody_and_is_given_up_in_the_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = Script { refused_image: Some("app:unwanted".to_owned()), ..Script::default() };
    let receiver = Receiver::on(free(), script);
    let notices = open(dir.path(), &receiver.url);
    notices.pushed("app", Some("unwanted"), "sha256:1").await.expect("kept");
    notices.pushed("app", Some("wanted"), "sha256:2").await.expect("kept");
    until_told(&notices).await;
    let images: Vec<String> = receiver.told().iter().map(|one| one.notice().image).collect();
    assert!(images.iter().filter(|image| *image == "app:unwanted").count() > 1, "tried again: {images:?}");
    assert_eq!(images.iter().filter(|image| *image == "app:wanted").count(), 1);
    assert!(
        images.iter().position(|image| image == "app:wanted") < Some(images.len() - 1),
        "not behind it: {images:?}"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let dir = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::with(&[307]);
    let notices = open(dir.path(), &receiver.url);
    notices.pushed("app", Some("edge"), "sha256:1").await.expect("kept");
    until_told(&notices).await;
    assert_eq!(receiver.told().len(), 2, "refused once, taken the second time");
}

#[test]
fn the_outbox_has_an_end_and_a_push_beyond_it_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let outbox = Outbox::open(&dir.path().join("webhook"), 2).expect("opened");
    let put = |tag: &str| {
        outbox.put(Notice {
            repository: "app".to_owned(),
            tag: tag.to_owned(),
            digest: "sha256:1".to_owned(),
            registry: String::new(),
            image: format!("app:{tag}"),
        })
    };
    put("a").expect("kept");
    put("b").expect("kept");
    assert!(put("c").expect_err("full").to_string().contains("webhook"));
    put("a").expect("takes the place of the older one");
    assert_eq!(outbox.len(), 2);
}

#[test]
fn a_damaged_notice_is_put_aside_and_one_half_written_is_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("0123.json"), "{\"sequ").expect("written");
    std::fs::write(dir.path().join(".4567.json.1.tmp"), "{").expect("written");
    assert_eq!(Outbox::open(dir.path(), 10).expect("opened").len(), 0);
    let names: Vec<_> =
        std::fs::read_dir(dir.path()).expect("readable").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["0123.damaged"]);
}

/// The other half of the test below, in a process of its own.
#[test]
fn child_that_pushes_until_it_is_killed() {
    let Some(directory) = std::env::var_os("MKUBE_TEST_OUTBOX") else { return };
    let outbox = Outbox::open(Path::new(&directory), 100_000).expect("opened");
    for number in 0..100_000 {
        let notice = Notice {
            repository: "app".to_owned(),
            tag: format!("t{}", number % 50),
            digest: format!("sha256:{number}"),
            registry: String::new(),
            image: "app".to_owned(),
        };
        outbox.put(notice).expect("kept");
        println!("acknowledged {number}");
    }
}

#[test]
fn killed_at_any_moment_every_acknowledged_push_is_still_told() {
    for round in 0..5u64 {
        let dir = tempfile::tempdir().expect("a directory");
        let mut child = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "notices::tests::child_that_pushes_until_it_is_killed", "--nocapture"])
            .env("MKUBE_TEST_OUTBOX", dir.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("it runs");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut last = None;
        for line in lines.map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("acknowledged ") {
                last = Some(number.parse::<u64>().expect("a number"));
            }
            if last >= Some(20 + round * 17) {
                // What it still prints before it dies was acknowledged too, and is read by this loop.
                let _ = child.kill();
            }
        }
        child.wait().expect("it ends");
        let last = last.expect("something was acknowledged");
        let outbox = Outbox::open(dir.path(), 100_000).expect("opened");
        for number in last.saturating_sub(49)..=last {
            let told = outbox.oldest(|_, one| one.notice.tag == format!("t{}", number % 50));
            let digest = told.map(|(_, one)| one.notice.digest.trim_start_matches("sha256:").parse::<u64>());
            let digest = digest.unwrap_or_else(|| panic!("push {number} is lost")).expect("a number");
            assert!(digest >= number, "push {number} is lost, {digest} is told");
        }
    }
}

/// A bus that keeps what it is told, and is away so many times first.
#[derive(Default)]
struct KeepingBus {
    away: Mutex<usize>,
    told: Arc<Mutex<Vec<BusMessage>>>,
}

#[async_trait]
impl Bus for KeepingBus {
    async fn attach(&self) -> Result<Arc<dyn BusSession>, BusFault> {
        let mut away = self.away.lock().expect("not poisoned");
        if *away > 0 {
            *away -= 1;
            return Err(BusFault::Away("not there".to_owned()));
        }
        Ok(Arc::new(KeepingSession(self.told.clone())))
    }
}

/// Each takes two parcels before it breaks.
struct KeepingSession(Arc<Mutex<Vec<BusMessage>>>);

#[async_trait]
impl BusSession for KeepingSession {
    async fn publish(&self, messages: Vec<BusMessage>) -> Result<(), BusFault> {
        let mut told = self.0.lock().expect("not poisoned");
        if told.len() == 2 {
            told.push(BusMessage::default());
            return Err(BusFault::Away("broken".to_owned()));
        }
        told.extend(messages);
        Ok(())
    }

    async fn subscribe(&self, _subject: &str) -> Result<Box<dyn BusSubscription>, BusFault> {
        Err(BusFault::Away("nobody listens here".to_owned()))
    }

    async fn ended(&self) -> String {
        std::future::pending().await
    }

    fn longest(&self) -> usize {
        1 << 20
    }
}

#[tokio::test]
async fn the_bus_is_told_signed_and_again_after_it_was_away_or_broke() {
    let dir = tempfile::tempdir().expect("a directory");
    let bus = Arc::new(KeepingBus { away: Mutex::new(2), ..KeepingBus::default() });
    let target = Arc::new(OnBus::new(bus.clone(), &Secret::new(SECRET)));
    let targets: Vec<Arc<dyn NoticeTarget>> = vec![target];
    let notices = Notices::open(dir.path(), "192.168.200.3:5000".to_owned(), false, targets, QUICK).expect("opened");
    for tag in ["one", "two", "three"] {
        notices.pushed("app", Some(tag), "sha256:abc").await.expect("kept");
        until_told(&notices).await;
    }
    let mut told = bus.told.lock().expect("not poisoned").clone();
    told.retain(|message| !message.subject.is_empty());
    let read = |message: &BusMessage| serde_json::from_slice::<Notice>(&message.payload).expect("a notice");
    assert_eq!(told.iter().map(|message| read(message).tag).collect::<Vec<_>>(), ["one", "two", "three"]);
    assert!(told.iter().all(|message| message.subject == "mkube.images.pushed"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    assert_eq!(told[0].headers[webhook::SIGNATURE], webhook::signature(&key, &told[0].payload));
}
