//! `…/pods/{name}/exec`: a command in a container, its standard streams over a WebSocket.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use mkube_model::channels::{self, PROTOCOLS};
use mkube_model::neighbours::container_exec::{ExecOrder, ExecOutput, ExecSession};
use mkube_model::neighbours::pod_ports::Tunnel;
use mkube_model::status::Status;

use crate::containers;
use crate::parts::{HttpParts, Query, Target};
use crate::route::values_of;
use crate::streams;

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
    let flag = |name: &str| query.get(name).is_some_and(|value| value == "true" || value == "1");
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
    let protocol = streams::protocol(request, &PROTOCOLS)?;
    if request.method() != Method::GET {
        return Err(Status::method_not_allowed());
    }
    let order = ExecOrder { command, stdin: flag("stdin"), tty: flag("tty") };
    let wanted = Wanted { stdout: flag("stdout"), stderr: flag("stderr") && !order.tty };
    let session = parts.streams.exec.exec(&container, order).await?;
    streams::upgrade(request, payload, parts, protocol, |tunnel| serve(session, tunnel, wanted))
}

/// Attaching to what a container runs anyway: nobody here holds its standard streams.
pub fn attach(parts: &HttpParts, target: &Target, query: &Query) -> Result<HttpResponse, Status> {
    let container = containers::chosen(parts, target, query)?;
    let why = format!(
        "container {} cannot be attached to: its device keeps no standard streams at hand. `kubectl logs -f` shows its output, and \
         `kubectl exec` runs a command beside it",
        container.container
    );
    Err(Status::new(501, "NotImplemented", why))
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
