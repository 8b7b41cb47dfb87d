//! `…/pods/{name}/exec`: a command in a container, its standard streams over a WebSocket or SPDY; and `attach`.

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use mkube_model::channels::{self, PROTOCOLS};
use mkube_model::neighbours::container_exec::{ExecOrder, ExecOutput, ExecSession};
use mkube_model::neighbours::pod_logs::LogOptions;
use mkube_model::neighbours::pod_ports::Tunnel;
use mkube_model::neighbours::spdy_streams::StandardStreams;
use mkube_model::status::Status;
use tokio::sync::mpsc;

use crate::containers;
use crate::parameters::{says_yes, values_of};
use crate::parts::{HttpParts, Query, Target};
use crate::spdy_upgrade;
use crate::streams::{self, Upgrade};

/// The protocol of standard streams over SPDY: the last one before WebSockets.
const OVER_SPDY: &str = "v4.channel.k8s.io";
/// Bytes of a command line, and words of it.
const COMMAND: (usize, usize) = (64 << 10, 1024);

pub async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    parts: &HttpParts,
    target: &Target,
    query: &Query,
) -> Result<HttpResponse, Status> {
    let container = containers::chosen(parts, target, query)?;
    let flag = |name: &str| says_yes(query, name);
    let command = values_of(request.query_string(), "command")?;
    if command.first().is_none_or(String::is_empty) {
        return Err(Status::bad_request("you must specify at least 1 command for the container"));
    }
    let size = command.iter().map(String::len).sum::<usize>();
    if size > COMMAND.0 || command.len() > COMMAND.1 {
        return Err(Status::bad_request("the command is too long"));
    }
    if !["stdin", "stdout", "stderr"].into_iter().any(flag) {
        return Err(Status::bad_request("you must specify at least one of stdin, stdout, stderr"));
    }
    // One controller sends commands to a device. What it carries to a pod's port concerns the pod alone.
    if let Some(lease) = parts.lease.as_ref().map(|lease| lease.borrow().clone()).filter(|lease| !lease.drives()) {
        let why = format!(
            "commands are run by the controller that drives the device, and this one is not it: {}",
            lease.sentence()
        );
        return Err(Status::unavailable(why, 2));
    }
    // Why it cannot be done counts more than how it was asked: clients that are refused ask again in another way, and print the
    // answer to that.
    parts.streams.exec.check(&container).await?;
    let upgrade = streams::protocol(request, &PROTOCOLS, OVER_SPDY)?;
    let order = ExecOrder { command, stdin: flag("stdin"), tty: flag("tty") };
    let wanted = Wanted { stdout: flag("stdout"), stderr: flag("stderr") && !order.tty };
    let opened = StandardStreams { stdin: order.stdin, stdout: wanted.stdout, stderr: wanted.stderr, sizes: order.tty };
    let session = parts.streams.exec.exec(&container, order).await?;
    upgraded(request, payload, parts, upgrade, opened, |tunnel| serve(session, tunnel, wanted))
}

/// `…/pods/{name}/attach`: what a container writes from now on, as its log has it. Nobody here holds its standard input.
pub async fn attach(
    request: &HttpRequest,
    payload: web::Payload,
    parts: &HttpParts,
    target: &Target,
    query: &Query,
) -> Result<HttpResponse, Status> {
    let container = containers::chosen(parts, target, query)?;
    let flag = |name: &str| says_yes(query, name);
    if flag("stdin") {
        let why = format!(
            "nothing can be typed to container {}: its device keeps no standard input at hand. `kubectl attach` without -i shows \
             its output, and `kubectl exec -it` runs a command beside it",
            container.container
        );
        return Err(Status::new(501, "NotImplemented", why));
    }
    if !flag("stdout") && !flag("stderr") {
        return Err(Status::bad_request("you must specify at least one of stdin, stdout, stderr"));
    }
    let upgrade = streams::protocol(request, &PROTOCOLS, OVER_SPDY)?;
    let options = LogOptions { follow: true, tail_lines: Some(0), ..LogOptions::default() };
    let (chunks, _) = parts.logs.open(&container, options).await?;
    // A log does not tell which of the two something was written to.
    let opened = StandardStreams {
        stdin: false,
        stdout: flag("stdout"),
        stderr: flag("stderr") && !flag("tty"),
        sizes: flag("tty"),
    };
    upgraded(request, payload, parts, upgrade, opened, move |tunnel| show(chunks, tunnel, opened.stdout))
}

/// Passes on what is written; the end of the container is that of the client.
async fn show(mut chunks: mpsc::Receiver<Bytes>, tunnel: Tunnel, on_stdout: bool) {
    let Tunnel { mut incoming, outgoing } = tunnel;
    let left = async { while incoming.recv().await.is_some() {} };
    let showing = async {
        while let Some(bytes) = chunks.recv().await {
            let output = if on_stdout { ExecOutput::Stdout(bytes) } else { ExecOutput::Stderr(bytes) };
            if outgoing.send(channels::message_of(&output)).await.is_err() {
                return;
            }
        }
        let _ = outgoing.send(channels::message_of(&ExecOutput::Exited(0))).await;
    };
    tokio::select! {
        biased;
        () = showing => {}
        () = left => {}
    }
}

/// Upgrades a connection to the messages of `channels`, whatever they are carried in.
fn upgraded<Served: Future<Output = ()> + 'static>(
    request: &HttpRequest,
    payload: web::Payload,
    parts: &HttpParts,
    upgrade: Upgrade,
    opened: StandardStreams,
    serve: impl FnOnce(Tunnel) -> Served,
) -> Result<HttpResponse, Status> {
    let protocol = match upgrade {
        Upgrade::WebSocket(protocol) => return streams::upgrade(request, payload, parts, protocol, serve),
        Upgrade::Spdy(protocol) => protocol,
    };
    let spdy = parts.streams.spdy.clone();
    spdy_upgrade::upgrade(payload, parts, protocol, |client| {
        let (to_command, incoming) = mpsc::channel(streams::WAITING);
        let (outgoing, from_command) = mpsc::channel(streams::WAITING);
        let served = serve(Tunnel { incoming, outgoing });
        async move {
            let messages = Tunnel { incoming: from_command, outgoing: to_command };
            tokio::join!(spdy.carry(opened, client, messages), served);
        }
    })
}

/// Which streams the client wants to read.
struct Wanted {
    stdout: bool,
    stderr: bool,
}

async fn serve(session: ExecSession, tunnel: Tunnel, wanted: Wanted) {
    let ExecSession { input, mut output } = session;
    let Tunnel { mut incoming, outgoing } = tunnel;
    let reading = async {
        while let Some(message) = incoming.recv().await {
            match channels::input_of(&message) {
                // A command that reads no more is no error, as in a shell.
                Ok(Some(one)) => drop(input.send(one).await),
                Ok(None) => {}
                Err(why) => return Some(why),
            }
        }
        None
    };
    let writing = async {
        while let Some(one) = output.recv().await {
            let last = matches!(one, ExecOutput::Exited(_) | ExecOutput::Failed(_));
            let wanted = match one {
                ExecOutput::Stdout(_) => wanted.stdout,
                ExecOutput::Stderr(_) => wanted.stderr,
                _ => true,
            };
            if wanted && outgoing.send(channels::message_of(&one)).await.is_err() {
                return;
            }
            if last {
                return;
            }
        }
        let lost = ExecOutput::Failed("the connection to the container was lost".to_owned());
        let _ = outgoing.send(channels::message_of(&lost)).await;
    };
    tokio::select! {
        biased;
        () = writing => {}
        // The client has gone, or says what nobody understands; the command goes with it.
        odd = reading => if let Some(why) = odd {
            let _ = outgoing.send(channels::message_of(&ExecOutput::Failed(why))).await;
        },
    }
}
