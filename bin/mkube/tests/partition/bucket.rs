//! What NATS itself says is in a bucket, asked over a connection of our own: nothing of the product is between.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

/// Longest wait for the next word of the server.
const PATIENCE: Duration = Duration::from_secs(10);

/// Key to revision and value; what was deleted is not in it.
pub type Bucket = BTreeMap<String, (u64, Value)>;

/// A message.
struct Message {
    reply: String,
    subject: String,
    has_headers: bool,
    payload: Vec<u8>,
}

/// A connection to a server.
pub struct Reader {
    to: TcpStream,
    from: BufReader<TcpStream>,
}

type Heard<T> = std::io::Result<T>;

fn odd(line: &str) -> std::io::Error {
    std::io::Error::other(format!("unexpected: {line}"))
}

impl Reader {
    /// To a server without users.
    pub fn connect(address: &str) -> Heard<Self> {
        let to = TcpStream::connect(address)?;
        to.set_read_timeout(Some(PATIENCE))?;
        let mut reader = Self { from: BufReader::new(to.try_clone()?), to };
        reader.line()?;
        let who = json!({"verbose": false, "pedantic": false, "headers": true, "no_responders": true});
        write!(reader.to, "CONNECT {who}\r\nSUB _INBOX.answer 1\r\nSUB _INBOX.values 2\r\n")?;
        Ok(reader)
    }

    fn line(&mut self) -> Heard<String> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err(odd("the end"));
        }
        Ok(line.trim_end().to_owned())
    }

    fn next(&mut self) -> Heard<Message> {
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split_whitespace().collect();
            let (has_headers, fixed) = match words.first().copied() {
                Some("PING") => {
                    self.to.write_all(b"PONG\r\n")?;
                    continue;
                }
                Some("MSG") => (false, 4),
                Some("HMSG") => (true, 5),
                Some("INFO" | "+OK" | "PONG") => continue,
                _ => return Err(odd(&line)),
            };
            let number =
                |at: usize| words.get(at).and_then(|word| word.parse::<usize>().ok()).ok_or_else(|| odd(&line));
            let total = number(words.len() - 1)?;
            let headers = if has_headers { number(words.len() - 2)? } else { 0 };
            let mut payload = vec![0; total + 2];
            self.from.read_exact(&mut payload)?;
            payload.truncate(total);
            let reply = if words.len() > fixed { words[3] } else { "" };
            let (reply, subject) = (reply.to_owned(), words[1].to_owned());
            return Ok(Message { reply, subject, has_headers, payload: payload.split_off(headers) });
        }
    }

    /// The newest of every key, once.
    pub fn read(&mut self, bucket: &str) -> Heard<Bucket> {
        let stream = format!("KV_{bucket}");
        let config = json!({
            "stream_name": stream,
            "config": {
                "deliver_subject": "_INBOX.values", "deliver_policy": "last_per_subject", "ack_policy": "none",
                "filter_subject": format!("$KV.{bucket}.>"), "replay_policy": "instant",
            },
        })
        .to_string();
        let ask = format!("PUB $JS.API.CONSUMER.CREATE.{stream} _INBOX.answer {}\r\n{config}\r\n", config.len());
        self.to.write_all(ask.as_bytes())?;
        let mut found = Bucket::new();
        // The consumer, and how many messages are still to come.
        let (mut name, mut left) = (None, None);
        while name.is_none() || left != Some(0) {
            let message = self.next()?;
            if message.subject == "_INBOX.answer" {
                let answer: Value = serde_json::from_slice(&message.payload)?;
                if answer["error"]["err_code"] == 10059 {
                    // There is no such bucket.
                    return Ok(found);
                }
                name = answer["name"].as_str().map(str::to_owned);
                if name.is_none() {
                    return Err(odd(&answer.to_string()));
                }
                let empty = answer["num_pending"] == 0 && answer["delivered"]["consumer_seq"] == 0;
                left = left.or(empty.then_some(0));
                continue;
            }
            // $JS.ACK.stream.consumer.times.sequence.count.time.left
            let word = |at: usize| message.reply.split('.').nth(at)?.parse::<u64>().ok();
            let revision = word(5).ok_or_else(|| odd(&message.reply))?;
            left = word(8);
            let key = message.subject.splitn(3, '.').nth(2).unwrap_or_default().to_owned();
            // Only deletions have headers that matter to us, and they have no value.
            if !(message.has_headers && message.payload.is_empty()) {
                found.insert(key, (revision, serde_json::from_slice(&message.payload)?));
            }
        }
        if let Some(name) = name {
            let ask = format!("PUB $JS.API.CONSUMER.DELETE.{stream}.{name} _INBOX.answer 0\r\n\r\n");
            self.to.write_all(ask.as_bytes())?;
            self.next()?;
        }
        Ok(found)
    }
}
