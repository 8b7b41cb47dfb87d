//! Files of the device: what the client asks, and what it makes of the answers.

#[allow(dead_code, reason = "shared by tests that each need a part of it")]
mod device;

use std::time::Duration;

use device::{Act, Device};
use mkube_model::neighbours::router::{Outcome, Router, RouterFault};
use mkube_model::secret::Secret;
use mkube_routeros::{RestOptions, RestRouter};
use serde_json::json;

fn url() -> Secret {
    Secret::new("http://10.0.0.2:8082/offers/s3cr3t-t0ken")
}

#[tokio::test]
async fn a_size_is_asked_by_name_and_only_a_device_that_cannot_say_it_is_asked_for_a_list() {
    let device = Device::start("7.23.2", |asked| {
        let name = asked.body["number"].as_str().unwrap_or_default().to_owned();
        match (asked.path.as_str(), name.as_str()) {
            ("/file/get", "disk1/here.tar") => Some(Act::json(200, &json!({"ret": "123"}))),
            ("/file/get", "disk1/odd.tar") => Some(Act::refusal(400, "no such command")),
            ("/file/get", _) => Some(Act::refusal(404, "")),
            ("/file", _) => {
                let row = json!([{".id": "*1", "name": "disk1/odd.tar", "type": ".tar file", "size": "77"}]);
                Some(Act::json(200, &row))
            }
            ("/disk", _) => Some(Act::json(200, &json!([{".id": "*1", "slot": "disk1", "free": "5000"}]))),
            _ => None,
        }
    })
    .await;
    let router = device.router();
    assert_eq!(router.file_size("/disk1/here.tar").await, Ok(Some(123)));
    assert_eq!(router.file_size("/disk1/gone.tar").await, Ok(None));
    assert!(device.asked().iter().all(|asked| asked.method == "POST"), "no list: {:?}", device.asked());
    assert_eq!(router.file_size("disk1/odd.tar").await, Ok(Some(77)));
    assert_eq!(router.disk_free("/disk1/x").await, Ok(Some(5000)));
    assert_eq!(router.disk_free("/flash/x").await, Ok(None));
}

#[tokio::test]
async fn a_download_ends_as_its_last_frame_says() {
    let device = Device::start("7.23.2", |asked| {
        let frames = |status: &str| Act::json(200, &json!([{"status": "connecting"}, {"status": status}]));
        let path = asked.body["dst-path"].as_str()?.to_owned();
        Some(match path.as_str() {
            "disk1/good" => frames("finished"),
            "disk1/bad" => frames("failed"),
            "disk1/open" => frames("downloading"),
            "disk1/closed" => Act::refusal(400, "Session closed"),
            "disk1/told" => Act::refusal(400, "failure: http://10.0.0.2:8082/offers/s3cr3t-t0ken says 404"),
            _ => Act::Cut,
        })
    })
    .await;
    let router = device.router();
    let outcome = async |path: &str| router.fetch_file(&url(), path).await.map_err(|fault| fault.outcome());
    assert_eq!(outcome("/disk1/good").await, Ok(()));
    assert_eq!(outcome("/disk1/bad").await, Err(Outcome::Refused));
    for open in ["/disk1/open", "/disk1/closed", "/disk1/cut"] {
        assert_eq!(outcome(open).await, Err(Outcome::Unknown), "{open}");
    }
    let told = router.fetch_file(&url(), "/disk1/told").await.expect_err("refused").to_string();
    assert!(told.contains("says 404") && !told.contains("t0ken"), "{told}");
}

#[tokio::test]
async fn a_download_takes_no_place_from_short_requests() {
    let device = Device::start("7.23.2", |asked| {
        let finished = Act::json(200, &json!([{"status": "finished"}]));
        asked.is("POST", "/tool/fetch").then(|| Act::Late(Duration::from_millis(500), Box::new(finished)))
    })
    .await;
    let options = RestOptions { max_in_flight: 1, ..device.options() };
    let router = RestRouter::new(options).expect("a client");
    let (url, fetch) = (url(), "/disk1/x");
    let short = async {
        router.envs("e").await.expect("answered while the download goes on");
    };
    let mut download = std::pin::pin!(router.fetch_file(&url, fetch));
    tokio::select! {
        done = &mut download => panic!("the download ended first: {done:?}"),
        () = short => {}
    }
    assert_eq!(download.await, Ok(()));
}

#[tokio::test]
async fn a_job_is_one_script_whose_words_cannot_be_broken() {
    let device = Device::start("7.23.2", |_| None).await;
    let odd = Secret::new("http://a/b\"c$d\\e");
    device.router().fetch_file_as_job(&odd, "/disk1/x.tar").await.expect("answered");
    let asked = device.asked().pop().expect("asked");
    let script = asked.body["script"].as_str().expect("a script").to_owned();
    assert!(script.starts_with("/tool/fetch url=\"http://a/b\\\"c\\$d\\\\e\" dst-path=\"disk1/x.tar\""), "{script}");
    assert!(matches!(
        RestRouter::new(RestOptions { base_url: "http://127.0.0.1:1/rest".into(), ..device.options() })
            .expect("a client")
            .fetch_file_as_job(&odd, "x")
            .await,
        Err(RouterFault::Unreachable { .. })
    ));
}
