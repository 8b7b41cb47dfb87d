use std::sync::Mutex;

use actix_web::{App, HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use mkube_model::neighbours::wall_clock::{SystemClock, WallClock};

use super::*;
use crate::certificates::CertificateSource;
use crate::tls::TlsIdentity;

/// A clock that stands where it is put.
struct SetClock(Mutex<Timestamp>);

impl WallClock for SetClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("not poisoned")
    }
}

async fn how(request: HttpRequest) -> HttpResponse {
    let arrival = request.conn_data::<Arrival>().copied().expect("told with every request");
    HttpResponse::Ok().body(format!("encrypted: {}", arrival.encrypted))
}

/// A server for as long as it is kept.
struct Served {
    address: SocketAddr,
    handle: actix_server::ServerHandle,
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

fn served(encryption: Encryption) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let limits = Limits { workers: 1, ..Limits::default() };
    let server = serve(vec![Listening { listener, encryption }], limits, || App::new().default_service(web::to(how)))
        .expect("it serves");
    let handle = server.handle();
    tokio::spawn(server);
    Served { address, handle }
}

fn own(directory: &std::path::Path, clock: Arc<dyn WallClock>) -> Arc<TlsIdentity> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    TlsIdentity::open(CertificateSource::Own { directory: directory.to_owned(), names }, clock).expect("a certificate")
}

/// A client that trusts the authority and nobody else, and shows what certificate it was given.
fn client(directory: &std::path::Path) -> reqwest::Client {
    // A second test of this process finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = std::fs::read(directory.join("ca.crt")).expect("there is an authority");
    let authority = reqwest::Certificate::from_pem(&authority).expect("a certificate");
    let builder = reqwest::Client::builder().no_proxy().tls_info(true).pool_max_idle_per_host(0);
    builder.tls_certs_only([authority]).build().expect("a client")
}

/// With a client of its own: one that comes back resumes its session and is shown nothing new.
async fn ask(directory: &std::path::Path, url: String) -> (String, Option<Vec<u8>>) {
    let answer = client(directory).get(url).send().await.expect("an answer");
    let shown = answer.extensions().get::<reqwest::tls::TlsInfo>().and_then(|info| info.peer_certificate());
    let shown = shown.map(<[u8]>::to_vec);
    (answer.text().await.expect("a body"), shown)
}

#[tokio::test]
async fn one_port_serves_plain_http_and_tls_and_tells_which_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let identity = own(dir.path(), Arc::new(SystemClock));
    let served = served(Encryption::Offered(identity.server_config().expect("a configuration")));
    let port = served.address.port();
    for url in [format!("https://127.0.0.1:{port}/"), format!("https://localhost:{port}/")] {
        assert_eq!(ask(dir.path(), url).await.0, "encrypted: true");
    }
    assert_eq!(ask(dir.path(), format!("http://127.0.0.1:{port}/")).await.0, "encrypted: false");
}

#[tokio::test]
async fn where_tls_is_required_plain_http_is_told_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let identity = own(dir.path(), Arc::new(SystemClock));
    let served = served(Encryption::Required(identity.server_config().expect("a configuration")));
    let client = client(dir.path());
    let answer = client.get(format!("http://{}/v2/", served.address)).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 400);
    let body: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(body["errors"][0]["code"], "UNSUPPORTED");
    assert_eq!(ask(dir.path(), format!("https://{}/", served.address)).await.0, "encrypted: true");
}

#[tokio::test]
async fn a_certificate_renewed_while_running_is_given_to_the_next_connection() {
    let dir = tempfile::tempdir().expect("a directory");
    // Made 300 days ago: good today, and due for renewal.
    let today = SystemClock.now();
    let earlier = today - std::time::Duration::from_secs(300 * 86_400);
    let clock = Arc::new(SetClock(Mutex::new(earlier)));
    let identity = own(dir.path(), clock.clone());
    let served = served(Encryption::Offered(identity.server_config().expect("a configuration")));
    let url = || format!("https://{}/", served.address);
    let first = ask(dir.path(), url()).await.1.expect("a certificate");
    assert_eq!(Some(&first), ask(dir.path(), url()).await.1.as_ref());
    *clock.0.lock().expect("not poisoned") = today;
    let looking = tokio::spawn(identity.keep_fresh(std::time::Duration::from_millis(5)));
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let shown = ask(dir.path(), url()).await.1.expect("a certificate");
        if shown != first {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the old certificate is still served");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    looking.abort();
}

#[tokio::test]
async fn files_that_change_are_read_again_and_damaged_ones_change_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let elsewhere = tempfile::tempdir().expect("a directory");
    drop(own(dir.path(), Arc::new(SystemClock)));
    for name in ["tls.crt", "tls.key"] {
        std::fs::copy(dir.path().join(name), elsewhere.path().join(name)).expect("copied");
    }
    let source = CertificateSource::Given {
        certificate: elsewhere.path().join("tls.crt"),
        key: elsewhere.path().join("tls.key"),
    };
    let identity = TlsIdentity::open(source, Arc::new(SystemClock)).expect("a certificate");
    let served = served(Encryption::Offered(identity.server_config().expect("a configuration")));
    let url = || format!("https://{}/", served.address);
    let first = ask(dir.path(), url()).await.1.expect("a certificate");
    std::fs::write(elsewhere.path().join("tls.crt"), "nonsense").expect("written");
    identity.refresh();
    assert_eq!(ask(dir.path(), url()).await.1.as_ref(), Some(&first), "the present one goes on");
    std::fs::remove_file(dir.path().join("tls.crt")).expect("removed");
    drop(own(dir.path(), Arc::new(SystemClock)));
    for name in ["tls.crt", "tls.key"] {
        std::fs::copy(dir.path().join(name), elsewhere.path().join(name)).expect("copied");
    }
    identity.refresh();
    let second = ask(dir.path(), url()).await.1.expect("a certificate");
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_client_that_says_nothing_or_nonsense_disturbs_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let identity = own(dir.path(), Arc::new(SystemClock));
    let served = served(Encryption::Offered(identity.server_config().expect("a configuration")));
    let silent: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(served.address).expect("connected")).collect();
    let mut nonsense = std::net::TcpStream::connect(served.address).expect("connected");
    std::io::Write::write_all(&mut nonsense, &[HANDSHAKE, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]).expect("sent");
    assert_eq!(ask(dir.path(), format!("https://{}/", served.address)).await.0, "encrypted: true");
    drop(silent);
}
