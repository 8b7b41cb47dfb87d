//! A process of ours: its output is kept, it ends with the story.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::eventually;

/// A process that runs; killed when dropped.
pub struct Running {
    child: Child,
    output: Arc<Mutex<String>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Running {
    /// Starts it, with its output kept.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = Arc::new(Mutex::new(String::new()));
        let readers = vec![
            keep(child.stdout.take().expect("piped"), &output),
            keep(child.stderr.take().expect("piped"), &output),
        ];
        Self { child, output, readers }
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that starts with `start`.
    #[track_caller]
    pub fn wait_for(&self, start: &str, longest: Duration) {
        eventually(&format!("a line starting with {start:?}"), longest, || {
            let output = self.output();
            if output.lines().any(|line| line.starts_with(start)) { Ok(()) } else { Err(output) }
        });
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM; how it ended.
    #[track_caller]
    pub fn terminate(mut self) -> ExitStatus {
        let told = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        assert!(told.is_ok_and(|status| status.success()), "it can be told to end");
        self.ended(Duration::from_secs(20))
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(mut self, longest: Duration) -> (ExitStatus, String) {
        let status = self.ended(longest);
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader of output does not fail");
        }
        (status, self.output())
    }

    #[track_caller]
    fn ended(&mut self, longest: Duration) -> ExitStatus {
        let output = self.output.clone();
        eventually("the end of the process", longest, || match self.child.try_wait().expect("a child of ours") {
            Some(status) => Ok(status),
            None => Err(output.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        })
    }
}

fn keep(pipe: impl Read + Send + 'static, output: &Arc<Mutex<String>>) -> std::thread::JoinHandle<()> {
    let output = output.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            output.push_str(&line);
            output.push('\n');
        }
    })
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- output of process {}\n{}", self.child.id(), self.output());
        }
    }
}

/// Runs a command to its end with this standard input.
pub fn to_its_end(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut pipe = child.stdin.take().expect("its input");
    let input = input.to_vec();
    std::thread::spawn(move || {
        // A command that reads nothing is fine.
        let _ = pipe.write_all(&input);
    });
    child.wait_with_output().expect("it ends")
}
