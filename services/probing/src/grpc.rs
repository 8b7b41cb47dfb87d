//! The health checking protocol of gRPC: `grpc.health.v1.Health/Check` over plain HTTP/2.
//!
//! One call of one method needs no framework: the request is one field, and of the answer one number counts.

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use http::{HeaderMap, Request};
use mkube_model::neighbours::prober::Verdict;
use tokio::net::TcpStream;

use crate::network_prober::{USER_AGENT, address};

/// An answer is two bytes behind its frame; this much is read of one that is longer.
const ANSWER: usize = 4096;
/// The status of a service that serves.
const SERVING: u64 = 1;

pub(crate) async fn ask(host: &str, port: u16, service: &str) -> Verdict {
    let address = address(host, port);
    match check(&address, service).await {
        Ok(SERVING) => Verdict::Good,
        Ok(status) => Verdict::Bad(format!("service unhealthy (responded with {:?})", word(status))),
        Err(why) => Verdict::Bad(format!("{address}: {why}")),
    }
}

fn word(status: u64) -> String {
    match status {
        0 => "UNKNOWN".to_owned(),
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => other.to_string(),
    }
}

async fn check(address: &str, service: &str) -> Result<u64, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("no connection: {error}"))?;
    let (sender, connection) = h2::client::handshake(stream).await.map_err(|error| words(&error))?;
    let asking = async move {
        let mut sender = sender.ready().await.map_err(|error| words(&error))?;
        let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", USER_AGENT)
            .body(())
            .map_err(|error| error.to_string())?;
        let (response, mut body) = sender.send_request(request, false).map_err(|error| words(&error))?;
        body.send_data(frame(service), true).map_err(|error| words(&error))?;
        let (head, answer) = response.await.map_err(|error| words(&error))?.into_parts();
        if head.status != 200 {
            return Err(format!("it answers HTTP {} and no gRPC", head.status.as_u16()));
        }
        // A call that failed has its status in the head, where there is no body.
        grpc_status(&head.headers)?;
        read(answer).await
    };
    tokio::pin!(connection);
    tokio::pin!(asking);
    // The connection has to be driven for the question to get anywhere, and ends with it.
    tokio::select! {
        biased;
        answer = &mut asking => answer,
        ended = &mut connection => match ended {
            Err(error) => Err(words(&error)),
            Ok(()) => asking.await,
        },
    }
}

fn words(error: &h2::Error) -> String {
    format!("it speaks no HTTP/2: {error}")
}

/// `HealthCheckRequest { service }` in the frame of gRPC.
fn frame(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);
    frame.freeze()
}

fn put_varint(into: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        into.put_u8((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    into.put_u8(value as u8);
}

async fn read(mut answer: RecvStream) -> Result<u64, String> {
    let mut bytes = BytesMut::new();
    while bytes.len() < ANSWER {
        match answer.data().await {
            None => break,
            Some(Err(error)) => return Err(words(&error)),
            Some(Ok(chunk)) => {
                // Room for what follows; a peer that was given none would wait for ever.
                answer.flow_control().release_capacity(chunk.len()).map_err(|error| words(&error))?;
                bytes.extend_from_slice(&chunk);
            }
        }
    }
    if bytes.len() >= ANSWER {
        return Err("its answer is no health status: it is too long".to_owned());
    }
    let trailers = answer.trailers().await.map_err(|error| words(&error))?;
    grpc_status(&trailers.unwrap_or_default())?;
    status_in(&bytes).ok_or_else(|| "its answer is no health status".to_owned())
}

/// Whether a call went well, as far as these headers say.
fn grpc_status(headers: &HeaderMap) -> Result<(), String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some("12") => Err("this server does not implement the grpc health protocol (grpc.health.v1.Health)".to_owned()),
        Some(code) => Err(format!("rpc error: code = {code} desc = {}", text("grpc-message").unwrap_or_default())),
    }
}

/// The status in a framed `HealthCheckResponse`. A message without the field means zero: unknown.
fn status_in(bytes: &[u8]) -> Option<u64> {
    let (head, message) = bytes.split_at_checked(5)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if head[0] != 0 {
        return None;
    }
    let mut rest = message.get(..length)?;
    let mut status = 0;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = varint(&mut rest)?,
            (_, 0) => {
                varint(&mut rest)?;
            }
            (_, 1) => rest = rest.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            (_, 5) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_service() {
        assert_eq!(&frame("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&frame("db")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'd', b'b']);
        let long = frame(&"x".repeat(300));
        assert_eq!(long[..9], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02, b'x']);
    }

    #[test]
    fn of_an_answer_the_status_counts_whatever_else_is_in_it() {
        assert_eq!(status_in(&[0, 0, 0, 0, 2, 0x08, 1]), Some(1));
        assert_eq!(status_in(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(status_in(&[0, 0, 0, 0, 7, 0x12, 3, 1, 2, 3, 0x08, 2]), Some(2));
    }

    #[test]
    fn garbage_is_no_status() {
        for garbage in [
            &[] as &[u8],
            &[0, 0, 0],
            &[1, 0, 0, 0, 2, 0x08, 1],
            &[0, 0xff, 0xff, 0xff, 0xff, 0x08, 1],
            &[0, 0, 0, 0, 2, 0x0b, 1],
            &[0, 0, 0, 0, 3, 0x12, 9, 1],
            &[0, 0, 0, 0, 11, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(status_in(garbage), None, "{garbage:?}");
        }
    }
}
