//! Commands in containers, where the device has a way to run them: our own host does, over a WebSocket.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use mkube_model::channels;
use mkube_model::neighbours::container_exec::{ContainerExec, ExecOrder, ExecOutput, ExecSession};
use mkube_model::neighbours::pod_logs::ContainerRef;
use mkube_model::status::Status;
use reqwest::StatusCode;
use reqwest::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::client::{RestOptions, http_client};

/// Where our own host runs commands.
const PATH: &str = "/_mkube/exec";
/// Longest wait for the device to begin.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pieces of input or output that wait.
const WAITING: usize = 16;
/// Any text of 16 bytes will do: whom we talk to is known by its password.
const KEY: &str = "bWt1YmUgYXNrcyBob3N0IQ==";

/// What is known of a container's row.
#[derive(Debug, Clone)]
pub struct RunningRow {
    /// Its `.id`.
    pub id: String,
    /// Its process is there.
    pub running: bool,
}

/// Finds the row of a container.
pub type FindContainer = Arc<dyn Fn(&ContainerRef) -> Option<RunningRow> + Send + Sync>;

/// Runs commands through the device.
#[derive(Clone)]
pub struct DeviceExec {
    http: reqwest::Client,
    options: RestOptions,
    find: FindContainer,
}

impl DeviceExec {
    /// A client of its own: a command that runs for hours takes no request's place. It knows of no container yet. An error is
    /// about the options.
    pub fn new(options: RestOptions) -> Result<Self, String> {
        Ok(Self { http: http_client(&options)?, options, find: Arc::new(|_| None) })
    }

    /// The same for the containers whose rows `find` finds.
    pub fn finding(&self, find: FindContainer) -> Self {
        Self { find, ..self.clone() }
    }

    /// Asks the device about a container, or to run something in it.
    async fn ask(&self, container: &ContainerRef, order: Option<&ExecOrder>) -> Result<reqwest::Response, Status> {
        let name = &container.container;
        let row = (self.find)(container).filter(|row| row.running);
        let row = row.ok_or_else(|| Status::bad_request(format!("container {name} is not running")))?;
        let url = format!("{}{PATH}", self.options.base_url.trim_end_matches('/'));
        let mut query = vec![("id", row.id.as_str())];
        if let Some(order) = order {
            query.extend(order.command.iter().map(|word| ("command", word.as_str())));
            query.extend(
                [("stdin", order.stdin), ("tty", order.tty)]
                    .iter()
                    .filter(|(_, on)| *on)
                    .map(|(flag, _)| (*flag, "true")),
            );
        }
        let mut request = self
            .http
            .get(url)
            .basic_auth(&self.options.user, Some(self.options.password.text()))
            .header("accept", "application/json")
            .query(&query);
        if order.is_some() {
            request = request
                .header(CONNECTION, "Upgrade")
                .header(UPGRADE, "websocket")
                .header(SEC_WEBSOCKET_VERSION, "13")
                .header(SEC_WEBSOCKET_KEY, KEY)
                .header(SEC_WEBSOCKET_PROTOCOL, channels::PROTOCOLS[0]);
        }
        match tokio::time::timeout(PATIENCE, request.send()).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                Err(Status::unavailable(format!("the device cannot be reached: {}", error.without_url()), 2))
            }
            Err(_) => Err(Status::unavailable("the device does not answer in time", 2)),
        }
    }
}

#[async_trait]
impl ContainerExec for DeviceExec {
    async fn check(&self, container: &ContainerRef) -> Result<(), Status> {
        let answer = self.ask(container, None).await?;
        match answer.status() {
            StatusCode::UPGRADE_REQUIRED => Ok(()),
            status => Err(refused(container, status, &detail(answer).await)),
        }
    }

    async fn exec(&self, container: &ContainerRef, order: ExecOrder) -> Result<ExecSession, Status> {
        let answer = self.ask(container, Some(&order)).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refused(container, answer.status(), &detail(answer).await));
        }
        let upgraded = tokio::time::timeout(PATIENCE, answer.upgrade()).await;
        let lost = || Status::unavailable("the connection to the device was lost", 2);
        let connection = upgraded.map_err(|_| lost())?.map_err(|_| lost())?;
        let socket = WebSocketStream::from_raw_socket(connection, Role::Client, None).await;
        let (input, mut inputs) = mpsc::channel(WAITING);
        let (outputs, output) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            let (mut sink, mut stream) = socket.split();
            let gone = outputs.clone();
            let reading = async {
                while let Some(Ok(message)) = stream.next().await {
                    let Message::Binary(bytes) = message else { continue };
                    let Some(one) = channels::output_of(&bytes) else { continue };
                    let last = matches!(one, ExecOutput::Exited(_) | ExecOutput::Failed(_));
                    if outputs.send(one).await.is_err() || last {
                        return;
                    }
                }
                let _ = outputs.send(ExecOutput::Failed("the connection to the device was lost".to_owned())).await;
            };
            let writing = async {
                while let Some(one) = inputs.recv().await {
                    if sink.send(Message::Binary(channels::message_to(&one))).await.is_err() {
                        // What is read tells that it was lost.
                        std::future::pending::<()>().await;
                    }
                }
            };
            tokio::select! {
                biased;
                () = gone.closed() => {}
                () = reading => {}
                () = writing => {}
            }
        });
        Ok(ExecSession { input, output })
    }
}

async fn detail(answer: reqwest::Response) -> String {
    let body = tokio::time::timeout(PATIENCE, answer.bytes()).await.ok().and_then(Result::ok).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    body["detail"].as_str().unwrap_or_default().to_owned()
}

/// What the device's refusal means to whoever wanted to run something.
fn refused(container: &ContainerRef, status: StatusCode, detail: &str) -> Status {
    let name = &container.container;
    match status.as_u16() {
        501 => {
            Status::new(501, "NotImplemented", format!("commands cannot be run in containers of this device: {detail}"))
        }
        400 if detail.contains("no such command") => Status::new(
            501,
            "NotImplemented",
            "commands cannot be run in containers of this device: RouterOS offers no way to over its REST interface. \
             At the router itself, /container/shell does it",
        ),
        404 | 409 => Status::bad_request(format!("container {name} is not running: {detail}")),
        401 => Status::unavailable("the device does not accept the user or password of mkube", 30),
        code => Status::unavailable(format!("the device refuses to run a command: HTTP status {code}, {detail}"), 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_that_knows_no_such_menu_is_one_that_cannot_run_commands() {
        let container = ContainerRef { namespace: "default".into(), pod: "web".into(), container: "main".into() };
        let of = |status: u16, detail: &str| refused(&container, StatusCode::from_u16(status).expect("one"), detail);
        let router = of(400, "no such command or directory (_mkube)");
        assert_eq!((router.code, router.reason), (501, "NotImplemented"));
        assert!(router.message.contains("/container/shell"), "{router}");
        assert_eq!(of(501, "the simulated engine runs no commands").code, 501);
        assert_eq!(of(409, "the container does not run").code, 400);
        assert_eq!(of(503, "too many sessions").code, 503);
    }
}
