//! Probes over real sockets and a reboot of the simulated host, seen by the whole controller through its REST interface.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mkube_messages::objects::ObjectsView;
use mkube_scenarios::{Setup, World};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A page that is there or not; its port.
async fn page(there: Arc<AtomicBool>) -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let status = if there.load(Ordering::SeqCst) { "200 OK" } else { "503 No" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Ok(port)
}

fn pod_of(view: &ObjectsView, name: &str) -> Value {
    let pods = view.kinds.iter().find(|(id, _)| id.plural == "pods");
    let pod = pods.and_then(|(_, kind)| kind.objects.values().find(|pod| pod.key.name == name));
    pod.map(|pod| pod.value()).unwrap_or_default()
}

fn events(view: &ObjectsView, reason: &str) -> Vec<Value> {
    let events = view.kinds.iter().find(|(id, _)| id.plural == "events");
    let all = events.into_iter().flat_map(|(_, kind)| kind.objects.values()).map(|event| event.value());
    all.filter(|event| event["reason"] == reason).collect()
}

#[actix::test]
async fn readiness_follows_the_page_and_a_reboot_of_the_host_is_one_event_and_no_restart() -> anyhow::Result<()> {
    let world = World::with(Setup { tick: Duration::from_millis(500), ..Setup::default() }).await?;
    let there = Arc::new(AtomicBool::new(false));
    let port = page(there.clone()).await?;
    // The simulated engine runs no servers: the page stands in for the container.
    let probe = json!({"httpGet": {"host": "127.0.0.1", "port": port}, "periodSeconds": 1, "failureThreshold": 2});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {
        "restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "hello:latest", "readinessProbe": probe}]}});
    world.api().post("/api/v1/namespaces/default/pods", &pod).await?.expect(201);
    let first = |view: &ObjectsView| pod_of(view, "web")["status"]["containerStatuses"][0].clone();
    let is = |ready: bool| {
        move |view: &ObjectsView| {
            let one = first(view);
            one["state"]["running"].is_object() && one["ready"] == ready
        }
    };
    world.until("it runs and is not ready", is(false)).await?;
    there.store(true, Ordering::SeqCst);
    world.until("it is ready", is(true)).await?;
    let began = first(&world.view())["state"]["running"]["startedAt"].clone();

    let rules = json!([{"match": {"path": "/interface/veth"}, "when": {"nth": 1}, "reboot": {"down": "3s"}}]);
    let faults = format!("http://{}/rest/_mkube/faults", world.host_address());
    let put = reqwest::Client::new().put(faults).basic_auth("mkube", Some("secret")).json(&rules).send().await?;
    assert!(put.status().is_success(), "{put:?}");
    world
        .until("it is ready again, as another run", |view| {
            let one = first(view);
            one["ready"] == true && one["lastState"]["terminated"]["reason"] == "DeviceRebooted"
        })
        .await?;
    let after = first(&world.view());
    assert_eq!(after["restartCount"], 0);
    assert_ne!(after["state"]["running"]["startedAt"], began);
    world.until("it is told", |view| !events(view, "Rebooted").is_empty()).await?;
    let told = events(&world.view(), "Rebooted");
    assert_eq!((told.len(), &told[0]["involvedObject"]["kind"]), (1, &json!("Node")));
    assert_eq!(events(&world.view(), "BackOff"), Vec::<Value>::new());

    there.store(false, Ordering::SeqCst);
    world.until("probes go on", is(false)).await?;
    assert_eq!(first(&world.view())["restartCount"], 0);
    world.stop().await;
    Ok(())
}
