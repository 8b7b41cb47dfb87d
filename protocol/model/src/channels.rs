//! `v4.channel.k8s.io` and `v5.channel.k8s.io`: the standard streams of a command over the messages of a WebSocket, whose first
//! byte names the stream.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::neighbours::container_exec::{ExecInput, ExecOutput};
use crate::status::Status;

/// The versions that are spoken, the one to prefer first.
pub const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// A message of a client; nothing when it means nothing here. `what` is wrong with it is for the client to read.
pub fn input_of(message: &Bytes) -> Result<Option<ExecInput>, String> {
    let Some((channel, rest)) = message.split_first() else { return Ok(None) };
    match *channel {
        STDIN if rest.is_empty() => Ok(None),
        STDIN => Ok(Some(ExecInput::Stdin(message.slice(1..)))),
        RESIZE => {
            let size: Value =
                serde_json::from_slice(rest).map_err(|error| format!("the size of a terminal is no JSON: {error}"))?;
            let number = |name: &str| size[name].as_u64().and_then(|number| u16::try_from(number).ok());
            match (number("Width"), number("Height")) {
                (Some(width), Some(height)) => Ok(Some(ExecInput::Resize { width, height })),
                _ => Err("the size of a terminal has Width and Height, up to 65535".to_owned()),
            }
        }
        CLOSE if rest == [STDIN] => Ok(Some(ExecInput::EndOfStdin)),
        CLOSE => Ok(None),
        other => Err(format!("nothing can be sent on channel {other}")),
    }
}

/// The message of what is sent to a command: the other direction of [`input_of`].
pub fn message_to(input: &ExecInput) -> Bytes {
    match input {
        ExecInput::Stdin(bytes) => channel(STDIN, bytes),
        ExecInput::EndOfStdin => Bytes::from_static(&[CLOSE, STDIN]),
        ExecInput::Resize { width, height } => {
            channel(RESIZE, json!({"Width": width, "Height": height}).to_string().as_bytes())
        }
    }
}

/// The message of what came of a command.
pub fn message_of(output: &ExecOutput) -> Bytes {
    match output {
        ExecOutput::Stdout(bytes) => channel(STDOUT, bytes),
        ExecOutput::Stderr(bytes) => channel(STDERR, bytes),
        ExecOutput::Exited(code) => channel(ERROR, ended(*code).to_string().as_bytes()),
        ExecOutput::Failed(why) => channel(ERROR, Status::internal(why).to_json().to_string().as_bytes()),
    }
}

/// What a message of [`message_of`] tells; nothing when it tells nothing.
pub fn output_of(message: &Bytes) -> Option<ExecOutput> {
    let (channel, rest) = message.split_first()?;
    match *channel {
        STDOUT | STDERR if rest.is_empty() => None,
        STDOUT => Some(ExecOutput::Stdout(message.slice(1..))),
        STDERR => Some(ExecOutput::Stderr(message.slice(1..))),
        ERROR => Some(end_of(rest)),
        _ => None,
    }
}

/// How a command ended, as clients read it.
fn ended(code: i32) -> Value {
    if code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with exit code {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

fn end_of(text: &[u8]) -> ExecOutput {
    let status: Value = serde_json::from_slice(text).unwrap_or_default();
    if status["status"] == "Success" {
        return ExecOutput::Exited(0);
    }
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let mut codes = causes.filter(|cause| cause["reason"] == "ExitCode").filter_map(|cause| cause["message"].as_str());
    match codes.next().and_then(|code| code.parse().ok()) {
        Some(code) => ExecOutput::Exited(code),
        None => {
            let message = status["message"].as_str().unwrap_or("no word of how the command ended");
            // Whoever passes it on puts these words in front again.
            let words = message.strip_prefix("Internal error occurred: ").unwrap_or(message);
            ExecOutput::Failed(words.to_owned())
        }
    }
}

fn channel(number: u8, bytes: &[u8]) -> Bytes {
    [&[number], bytes].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives_as_it_was() {
        let inputs = [
            ExecInput::Stdin(Bytes::from_static(b"text")),
            ExecInput::EndOfStdin,
            ExecInput::Resize { width: 120, height: 40 },
        ];
        for input in inputs {
            assert_eq!(input_of(&message_to(&input)), Ok(Some(input)));
        }
        let outputs = [
            ExecOutput::Stdout(Bytes::from_static(b"out")),
            ExecOutput::Stderr(Bytes::from_static(b"err")),
            ExecOutput::Exited(0),
            ExecOutput::Exited(137),
            ExecOutput::Failed("the container has gone".to_owned()),
        ];
        for output in outputs {
            assert_eq!(output_of(&message_of(&output)), Some(output));
        }
    }

    #[test]
    fn an_end_is_what_clients_read_a_code_from() {
        let message = message_of(&ExecOutput::Exited(3));
        let status: Value = serde_json::from_slice(&message[1..]).expect("JSON");
        assert_eq!((message[0], &status["reason"]), (3, &json!("NonZeroExitCode")));
        assert_eq!(status["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
        assert_eq!(status["message"], "command terminated with exit code 3");
        assert_eq!(&message_of(&ExecOutput::Exited(0))[1..], br#"{"metadata":{},"status":"Success"}"#);
    }

    #[test]
    fn kubectls_own_messages_are_understood_and_odd_ones_refused() {
        let of = |bytes: &'static [u8]| input_of(&Bytes::from_static(bytes));
        assert_eq!(of(b"\x04{\"Width\":80,\"Height\":24}\n"), Ok(Some(ExecInput::Resize { width: 80, height: 24 })));
        assert_eq!(of(b""), Ok(None));
        assert_eq!(of(b"\x00"), Ok(None), "no bytes are no end");
        assert_eq!(of(b"\xff\x01"), Ok(None), "an output that nobody reads any more");
        for odd in [&b"\x04{}"[..], b"\x04{\"Width\":-1,\"Height\":1}", b"\x04[", b"\x01x", b"\x09"] {
            assert!(of(odd).is_err(), "{odd:?}");
        }
    }
}
