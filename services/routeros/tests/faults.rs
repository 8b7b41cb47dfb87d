//! What a call that went wrong means: which fault, and whether the device may have done it.

#[allow(dead_code, reason = "shared by tests that each need a part of it")]
mod device;

use std::time::Duration;

use device::{Act, Asked, Device};
use mkube_model::neighbours::router::{Outcome, Router, RouterFault as F, RowId};
use mkube_routeros::{RestOptions, RestRouter};
use tokio::time::Instant;

/// A device to which this happens whenever it is asked to start a container, or for its containers.
async fn suffering(act: Act) -> Device {
    let hit = |asked: &Asked| asked.is("POST", "/container/start") || asked.is("GET", "/container");
    Device::start("7.23.2", move |asked| hit(asked).then(|| act.clone())).await
}

async fn start(router: &RestRouter) -> F {
    router.start_container(&RowId("*1".into())).await.expect_err("it went wrong")
}

/// The faults of a command and of a question.
async fn faults(act: Act) -> (F, F) {
    let device = suffering(act).await;
    let router = device.router();
    (start(&router).await, router.containers().await.expect_err("it went wrong"))
}

#[tokio::test]
async fn the_words_of_a_refusal_decide_what_it_means() {
    type Is = fn(&F) -> bool;
    let cases: [(u16, &str, Is, Outcome); 15] = [
        (
            400,
            "failure: already have interface with such name",
            |f| matches!(f, F::AlreadyExists { .. }),
            Outcome::Refused,
        ),
        (
            400,
            "failure: device already added as bridge port",
            |f| matches!(f, F::AlreadyExists { .. }),
            Outcome::Refused,
        ),
        (
            400,
            "failure: mount with same dst already exists",
            |f| matches!(f, F::AlreadyExists { .. }),
            Outcome::Refused,
        ),
        (400, "failure: already running", |f| matches!(f, F::WrongState { .. }), Outcome::NotDone),
        (400, "failure: not running", |f| matches!(f, F::WrongState { .. }), Outcome::NotDone),
        (400, "failure: cannot remove running", |f| matches!(f, F::WrongState { .. }), Outcome::NotDone),
        (400, "failure: root-dir overlap", |f| matches!(f, F::WrongState { .. }), Outcome::NotDone),
        (400, "input does not match any value of interface", |f| matches!(f, F::WrongState { .. }), Outcome::NotDone),
        (400, "input does not match any value of file", |f| matches!(f, F::Refused { .. }), Outcome::Refused),
        (400, "unknown parameter mounts", |f| matches!(f, F::Refused { .. }), Outcome::Refused),
        (400, "no such command or directory (container)", |f| matches!(f, F::Refused { .. }), Outcome::Refused),
        (500, "not enough permissions (9)", |f| matches!(f, F::Refused { .. }), Outcome::Refused),
        (500, "failure: not allowed by device-mode", |f| matches!(f, F::Refused { .. }), Outcome::Refused),
        (503, "too many sessions", |f| matches!(f, F::Overloaded { .. }), Outcome::NotDone),
        (415, "", |f| matches!(f, F::Refused { .. }), Outcome::Refused),
    ];
    for (status, detail, is, outcome) in cases {
        let (command, question) = faults(Act::refusal(status, detail)).await;
        for fault in [command, question] {
            assert!(is(&fault), "{status} {detail}: {fault:?}");
            assert_eq!(fault.outcome(), outcome, "{status} {detail}: {fault:?}");
            assert!(fault.to_string().contains("/container"), "a fault says what was asked: {fault}");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_and_who_may_not_enter_have_faults_of_their_own() {
    let not_found = Act::Reply(404, br#"{"error":404,"message":"Not Found"}"#.to_vec());
    let (command, _) = faults(not_found).await;
    assert!(matches!(command, F::NotFound { .. }), "{command:?}");
    let unauthorized = Act::Reply(401, br#"{"error":401,"message":"Unauthorized"}"#.to_vec());
    let (command, question) = faults(unauthorized).await;
    for fault in [command, question] {
        assert!(matches!(fault, F::Unauthorized { .. }), "{fault:?}");
        assert_eq!(fault.outcome(), Outcome::Refused);
    }
}

#[tokio::test]
async fn a_lost_reply_leaves_the_outcome_of_a_command_open_and_of_a_question_not() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n[{".to_vec();
    let cases = [
        ("cut", Act::Cut),
        ("half an answer", Act::Raw(half)),
        ("half a head", Act::Raw(b"HTTP/1.1 20".to_vec())),
        ("not HTTP", Act::Raw(b"\x15\x03\x03\x00\x02\x02\x0a".to_vec())),
        ("60 s", Act::refusal(400, "Session closed")),
        (
            "slow internals",
            Act::refusal(400, "action timed out - try again, if error continues contact MikroTik support (13)"),
        ),
        ("500 after success", Act::refusal(500, "oops")),
        ("a proxy's error", Act::Reply(502, b"<html>".to_vec())),
    ];
    for (what, act) in cases {
        let (command, question) = faults(act).await;
        assert!(matches!(command, F::ReplyLost { .. }), "{what}: {command:?}");
        assert_eq!(command.outcome(), Outcome::Unknown, "{what}");
        assert!(matches!(question, F::Unreachable { .. }), "{what}: {question:?}");
        assert_eq!(question.outcome(), Outcome::NotDone, "{what}");
    }
}

#[tokio::test]
async fn a_lost_reply_is_never_asked_for_again_by_the_client() {
    for act in [Act::Cut, Act::refusal(500, "oops"), Act::refusal(400, "Session closed")] {
        let device = suffering(act.clone()).await;
        start(&device.router()).await;
        assert_eq!(device.asked().len(), 1, "{act:?}");
    }
    // Also when the connection had served before: a pooled connection that ends is no reason to repeat.
    let device = suffering(Act::Cut).await;
    let router = device.router();
    router.resource().await.expect("answered");
    start(&router).await;
    assert_eq!(device.asked().iter().filter(|asked| asked.path == "/container/start").count(), 1);
}

#[tokio::test]
async fn nobody_at_home_is_unreachable_and_nothing_was_done() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let options = RestOptions { base_url: format!("http://{address}/rest"), ..RestOptions::default() };
    let fault = start(&RestRouter::new(options).expect("a client")).await;
    assert!(matches!(fault, F::Unreachable { .. }), "{fault:?}");
    assert_eq!(fault.outcome(), Outcome::NotDone);
}

#[tokio::test]
async fn a_client_that_expects_tls_finds_none() {
    let device = Device::start("7.23.2", |_| None).await;
    let base_url = format!("https://{}/rest", device.address);
    let options = RestOptions { base_url, insecure: true, timeout: Duration::from_secs(1), ..device.options() };
    let fault = start(&RestRouter::new(options).expect("a client")).await;
    assert!(matches!(fault, F::Unreachable { .. }), "{fault:?}");
    assert!(device.asked().is_empty());
}

#[tokio::test]
async fn a_command_that_takes_too_long_has_an_open_outcome() {
    let device = suffering(Act::Late(Duration::from_secs(5), Box::new(Act::json(200, &serde_json::json!([]))))).await;
    let options = RestOptions { timeout: Duration::from_millis(200), ..device.options() };
    let router = RestRouter::new(options).expect("a client");
    let begun = Instant::now();
    let fault = start(&router).await;
    assert!(matches!(fault, F::ReplyLost { .. }), "{fault:?}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn adding_a_container_may_take_longer_than_other_commands() {
    let late = |asked: &Asked| asked.is("POST", "/container/add") || asked.is("POST", "/interface/bridge/add");
    let reply = Act::json(200, &serde_json::json!({"ret": "*7"}));
    let act = Act::Late(Duration::from_millis(500), Box::new(reply));
    let device = Device::start("7.23.2", move |asked| late(asked).then(|| act.clone())).await;
    let options = RestOptions { timeout: Duration::from_millis(200), ..device.options() };
    let router = RestRouter::new(options).expect("a client");
    let id = router.add_container(&mkube_model::neighbours::router::NewContainer::default()).await;
    assert_eq!(id, Ok(RowId("*7".into())));
    let fault = router.add_bridge("br", "").await.expect_err("too late");
    assert!(matches!(fault, F::ReplyLost { .. }), "{fault:?}");
}

#[tokio::test]
async fn an_add_that_does_not_say_what_it_made_has_an_open_outcome() {
    for body in [serde_json::json!([]), serde_json::json!({}), serde_json::json!({"ret": 1})] {
        let device = Device::start("7.23.2", move |asked| {
            asked.is("POST", "/interface/bridge/add").then(|| Act::json(200, &body))
        })
        .await;
        let fault = device.router().add_bridge("br", "").await.expect_err("no id");
        assert_eq!(fault.outcome(), Outcome::Unknown, "{fault:?}");
    }
}

#[tokio::test]
async fn no_fault_ever_shows_the_password() {
    for act in [Act::Cut, Act::refusal(400, "failure"), Act::Reply(401, Vec::new()), Act::Raw(b"nonsense".to_vec())] {
        let (command, question) = faults(act).await;
        for text in [format!("{command:?} {command}"), format!("{question:?} {question}")] {
            assert!(!text.contains("s3cret") && !text.contains("YWRtaW46"), "{text}");
        }
    }
}
