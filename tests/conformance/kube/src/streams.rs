//! A pod, its log, commands in it, its port.

use anyhow::{Context, ensure};
use futures_util::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, AttachParams, DeleteParams, LogParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::PATIENCE;

/// Everything of a pod; streams where containers are real.
pub async fn pod(client: &Client, real: bool) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let line = "echo begun; /bin/busybox mkdir -p /www; echo from the pod > /www/note; exec /bin/busybox httpd -f -p 80 -h /www";
    let wanted = json!({
        "metadata": {"name": "rust"},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [
            {"name": "main", "image": "hello:latest", "command": ["/bin/busybox", "sh", "-c", line]},
        ]},
    });
    let made = pods.create(&PostParams::default(), &serde_json::from_value(wanted)?).await?;
    let running = await_condition(pods.clone(), "rust", conditions::is_pod_running());
    tokio::time::timeout(PATIENCE, running).await.context("the pod does not run")??;
    if real {
        streams(&pods).await?;
    }
    pods.delete("rust", &DeleteParams::default()).await?;
    let uid = made.metadata.uid.context("a uid")?;
    let gone = await_condition(pods.clone(), "rust", conditions::is_deleted(&uid));
    tokio::time::timeout(PATIENCE, gone).await.context("the pod does not go")??;
    Ok(())
}

/// Statement 60.
async fn streams(pods: &Api<Pod>) -> anyhow::Result<()> {
    let mut log = pods.log_stream("rust", &LogParams { follow: true, ..LogParams::default() }).await?.lines();
    let first = tokio::time::timeout(PATIENCE, log.try_next()).await.context("the log")??;
    ensure!(first.as_deref() == Some("begun"), "{first:?}");

    let mut ran = pods
        .exec("rust", ["/bin/busybox", "sh", "-c", "echo out; echo err >&2; exit 3"], &AttachParams::default())
        .await?;
    let (mut out, mut err) = (String::new(), String::new());
    ran.stdout().context("asked for")?.read_to_string(&mut out).await?;
    ran.stderr().context("asked for")?.read_to_string(&mut err).await?;
    ensure!((out.as_str(), err.as_str()) == ("out\n", "err\n"), "{out:?} {err:?}");
    let status = ran.take_status().context("once")?.await.context("a status")?;
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    ensure!(
        causes.iter().any(|cause| cause.reason.as_deref() == Some("ExitCode") && cause.message.as_deref() == Some("3"))
    );

    let mut ran =
        pods.exec("rust", ["/bin/busybox", "cat"], &AttachParams::default().stdin(true).stderr(false)).await?;
    let mut typing = ran.stdin().context("asked for")?;
    typing.write_all(&vec![b'x'; 200_000]).await?;
    typing.shutdown().await?;
    drop(typing);
    let mut back = Vec::new();
    ran.stdout().context("asked for")?.read_to_end(&mut back).await?;
    ensure!(back.len() == 200_000, "{}", back.len());

    for _ in 0..2 {
        let mut forward = pods.portforward("rust", &[80]).await?;
        let mut stream = forward.take_stream(80).context("once")?;
        stream.write_all(b"GET /note HTTP/1.0\r\n\r\n").await?;
        let mut page = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut page)).await.context("the page")??;
        ensure!(page.ends_with("from the pod\n"), "{page}");
        // The server closes when all ports are done; what the client says after that is an error of its own.
        forward.abort();
    }
    let mut forward = pods.portforward("rust", &[81]).await?;
    let mut stream = forward.take_stream(81).context("once")?;
    let failed = forward.take_error(81).context("once")?;
    let why = tokio::time::timeout(PATIENCE, failed).await.context("what is wrong with port 81")?;
    ensure!(why.as_deref().is_some_and(|why| why.contains("refused")), "{why:?}");
    let mut nothing = Vec::new();
    // How a connection that never was ends is the client's business.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut nothing)).await;
    Ok(())
}
