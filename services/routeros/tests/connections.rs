//! Few connections, few requests at a time, and certificates.

#[allow(dead_code, reason = "shared by tests that each need a part of it")]
mod device;

use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use device::{Act, Device};
use mkube_model::neighbours::router::{Outcome, Router, RouterFault};
use mkube_routeros::{RestOptions, RestRouter};
use serde_json::json;

#[tokio::test]
async fn never_more_than_two_requests_are_on_their_way() {
    let late = Act::Late(Duration::from_millis(30), Box::new(Act::json(200, &json!([]))));
    let device = Device::start("7.23.2", move |asked| asked.is("GET", "/log").then(|| late.clone())).await;
    let router = Arc::new(device.router());
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let router = router.clone();
            tokio::spawn(async move { router.log().await })
        })
        .collect();
    for call in calls {
        call.await.expect("no panic").expect("answered");
    }
    assert_eq!((device.most_at_once(), device.asked().len()), (2, 20));
    assert!(device.connections() <= 2, "{} connections", device.connections());
}

#[tokio::test]
async fn one_connection_serves_one_request_after_the_other() {
    let device = Device::start("7.23.2", |_| None).await;
    let router = device.router();
    for _ in 0..10 {
        router.resource().await.expect("answered");
        // Refusals do not cost the connection either.
        router.log().await.expect("answered");
    }
    assert_eq!(device.connections(), 1);
}

#[tokio::test]
async fn whoever_waits_too_long_for_a_place_did_nothing() {
    let hang = Act::Late(Duration::from_secs(5), Box::new(Act::Cut));
    let device = Device::start("7.23.2", move |asked| asked.is("POST", "/container/add").then(|| hang.clone())).await;
    let options = RestOptions { timeout: Duration::from_millis(300), ..device.options() };
    let router = Arc::new(RestRouter::new(options).expect("a client"));
    router.resource().await.expect("answered");
    let busy: Vec<_> = (0..2)
        .map(|_| {
            let router = router.clone();
            tokio::spawn(async move { router.add_container(&Default::default()).await })
        })
        .collect();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while device.asked().iter().filter(|asked| asked.path == "/container/add").count() < 2 {
        assert!(tokio::time::Instant::now() < deadline, "both are on their way");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let fault = router.add_bridge("br", "").await.expect_err("no place");
    assert!(matches!(fault, RouterFault::Overloaded { .. }), "{fault:?}");
    assert_eq!(fault.outcome(), Outcome::NotDone);
    assert!(device.asked().iter().all(|asked| asked.path != "/interface/bridge/add"));
    busy.into_iter().for_each(|call| call.abort());
}

#[tokio::test]
async fn a_place_is_free_again_when_its_caller_gave_up() {
    let hang = Act::Late(Duration::from_secs(30), Box::new(Act::Cut));
    let device = Device::start("7.23.2", move |asked| asked.is("GET", "/log").then(|| hang.clone())).await;
    let router = device.router();
    for _ in 0..4 {
        let given_up = tokio::time::timeout(Duration::from_millis(50), router.log()).await;
        assert!(given_up.is_err());
    }
    router.resource().await.expect("there is a place");
}

/// An HTTPS device with a certificate of its own authority; the authority in PEM, and the address.
async fn https_device() -> (Vec<u8>, std::net::SocketAddr) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a configuration");
    let resource = || async { HttpResponse::Ok().json(json!({"version": "7.23.2 (stable)"})) };
    let server = HttpServer::new(move || App::new().route("/rest/system/resource", web::get().to(resource)))
        .workers(1)
        .disable_signals()
        .bind_rustls_0_23("127.0.0.1:0", tls)
        .expect("a port");
    let address = server.addrs()[0];
    tokio::spawn(server.run());
    (made.cert.pem().into_bytes(), address)
}

#[tokio::test]
async fn a_certificate_must_come_from_the_authority_that_was_named() {
    let (authority, address) = https_device().await;
    let (other, _) = https_device().await;
    let options = RestOptions { base_url: format!("https://{address}/rest"), ..RestOptions::default() };
    let ask = async |options: RestOptions| RestRouter::new(options).expect("a client").resource().await;
    ask(RestOptions { ca_pem: Some(authority), ..options.clone() }).await.expect("its own authority");
    ask(RestOptions { insecure: true, ..options.clone() }).await.expect("any will do");
    for ca_pem in [None, Some(other)] {
        let fault = ask(RestOptions { ca_pem, ..options.clone() }).await.expect_err("not trusted");
        assert!(matches!(fault, RouterFault::Unreachable { .. }), "{fault:?}");
        assert!(fault.to_string().to_lowercase().contains("certificate"), "it says why: {fault}");
    }
    let nonsense = RestOptions {
        ca_pem: Some(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_vec()),
        ..options
    };
    assert!(RestRouter::new(nonsense).is_err());
}
