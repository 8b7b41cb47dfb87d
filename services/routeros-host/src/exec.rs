//! `GET /rest/_mkube/exec`: a command in a container, its standard streams over a WebSocket. No router has it: RouterOS's own
//! `shell` is for people at a terminal.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use actix_ws::{AggregatedMessage, CloseCode, CloseReason, MessageStream, Session};
use mkube_model::channels;
use mkube_model::neighbours::container_exec::{ExecOrder, ExecOutput, ExecSession};
use mkube_router_machine::{Device, Phase, Refusal, Request, Verb};
use serde_json::json;
use tokio::time::Instant;

use crate::http::{Site, query_of};

/// The protocol that is spoken.
const PROTOCOL: &str = channels::PROTOCOLS[0];
/// Bytes of a message.
const MESSAGE: usize = 1 << 20;
/// Pause between two signs of life.
const SIGN: Duration = Duration::from_secs(15);
/// How long a client may take to say farewell.
const FAREWELL: Duration = Duration::from_secs(2);

/// Answers with the connection upgraded, or why not: 501 where no commands can be run at all, 404 for a container that is not
/// there, 409 for one that does not run, and 426 where all is well but no upgrade was asked for.
pub async fn answer(
    request: &HttpRequest,
    payload: Payload,
    group: &str,
    site: &Site,
) -> Result<HttpResponse, Refusal> {
    let query = query_of(request.query_string());
    let all = |name: &str| {
        query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect::<Vec<String>>()
    };
    let flag = |name: &str| all(name).first().is_some_and(|value| value == "true");
    let refusal = |status: u16, why: &str| Refusal { status, detail: Some(why.to_owned()) };
    // Whoever may not use the shell may not do this.
    let shell = Request {
        verb: Verb::Post,
        segments: vec!["container".into(), "shell".into()],
        query: vec![],
        body: json!({}),
    };
    Device::permits(group, &shell)?;
    if !site.world.engine().runs_commands() {
        return Err(refusal(501, "the simulated engine runs no commands"));
    }
    let id = all("id").into_iter().next().unwrap_or_default();
    let key = format!("c{}", id.trim_start_matches('*').to_ascii_lowercase());
    let phase = site.world.device().containers().into_iter().find(|(one, ..)| *one == key).map(|(.., phase)| phase);
    match phase {
        None => return Err(refusal(404, "no such item")),
        Some(Phase::Running) => {}
        Some(_) => return Err(refusal(409, "the container does not run")),
    }
    if !request.headers().contains_key("upgrade") {
        return Err(refusal(426, "a WebSocket is needed"));
    }
    let order = ExecOrder { command: all("command"), stdin: flag("stdin"), tty: flag("tty") };
    if order.command.is_empty() {
        return Err(refusal(400, "missing command"));
    }
    // The handshake first: a command without anybody who reads must not begin.
    let upgraded = actix_ws::handle_with_protocols(request, payload, &[PROTOCOL]);
    let (response, session, messages) = upgraded.map_err(|error| refusal(400, &error.to_string()))?;
    let running = site.world.engine().exec(&key, order).await.map_err(|fault| refusal(409, &fault.to_string()))?;
    actix_web::rt::spawn(serve(running, session, messages));
    Ok(response)
}

/// The refusal as its own status: this surface is ours.
pub fn refused(refusal: &Refusal) -> HttpResponse {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({"error": refusal.status, "detail": refusal.detail}).to_string();
    HttpResponse::build(status).content_type("application/json").body(body)
}

/// Passes messages on until the command has ended, or the client has gone.
async fn serve(running: ExecSession, session: Session, messages: MessageStream) {
    let ExecSession { input, mut output } = running;
    let mut messages = messages.max_frame_size(MESSAGE).aggregate_continuations().max_continuation_size(MESSAGE);
    let reading = async {
        let mut session = session.clone();
        while let Some(Ok(message)) = messages.recv().await {
            match message {
                AggregatedMessage::Binary(bytes) => {
                    // One that has ended takes nothing more, and what is odd is not for it.
                    if let Ok(Some(one)) = channels::input_of(&bytes) {
                        let _ = input.send(one).await;
                    }
                }
                AggregatedMessage::Ping(bytes) => drop(session.pong(&bytes).await),
                AggregatedMessage::Text(_) | AggregatedMessage::Pong(_) => {}
                AggregatedMessage::Close(_) => return,
            }
        }
    };
    let writing = async {
        let mut session = session.clone();
        let mut signs = tokio::time::interval_at(Instant::now() + SIGN, SIGN);
        signs.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                one = output.recv() => {
                    let Some(one) = one else { return };
                    let last = matches!(one, ExecOutput::Exited(_) | ExecOutput::Failed(_));
                    if session.binary(channels::message_of(&one)).await.is_err() || last {
                        return;
                    }
                }
                _ = signs.tick() => if session.ping(b"").await.is_err() {
                    return;
                },
            }
        }
    };
    tokio::pin!(reading);
    tokio::select! {
        biased;
        () = &mut reading => {}
        () = writing => {
            let farewell = async {
                let normal = CloseReason { code: CloseCode::Normal, description: None };
                if session.clone().close(Some(normal)).await.is_ok() {
                    reading.await;
                }
            };
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
        }
    }
}
