//! `kubectl exec`, `cp`, `port-forward` and `logs` with real containers, and what the Python client does of it.

mod dev;
#[path = "clients/environment.rs"]
mod environment;
#[path = "clients/tour_desk.rs"]
#[allow(dead_code, reason = "the other chapters use more")]
mod tour_desk;
#[path = "clients/tour_text.rs"]
#[allow(dead_code, reason = "the other chapters use more")]
mod tour_text;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use dev::process::{Running, to_its_end};
use dev::{Machine, SOON, binary, eventually, names_in, pod, real_containers, text_of};
use serde_json::json;

/// A machine with one pod, `box`, that serves a page, and whose image has the tools of the stories.
struct Stage {
    dev: Running,
    machine: Machine,
}

impl Stage {
    fn new(name: &str) -> Self {
        let machine = Machine::new(name);
        machine.image_in(&machine.data().join("host/disk1/cache"), "tools:1");
        let dev = machine.dev(&[]);
        let line = "mkdir -p /www; printf 'from the pod' > /www/note; exec httpd -f -p 80 -h /www";
        let line = line.replace("mkdir", "/bin/busybox mkdir").replace("printf", "/bin/busybox printf");
        let container = json!({"image": "tools:1", "command": ["/bin/sh", "-c", line]});
        machine.api().create(&pod("box", container, json!({})));
        machine.api().wait_running("box");
        Self { dev, machine }
    }

    fn mkube(&self, line: &str, last: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.env("MKUBE_SERVER", format!("http://{}", self.machine.listen)).args(line.split_whitespace()).args(last);
        command
    }

    fn kubectl(&self, line: &str) -> Command {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", self.machine.data().join("kubeconfig")).env("HOME", self.machine.dir.join("home"));
        command.arg("--cache-dir").arg(self.machine.dir.join("cache")).args(line.split_whitespace());
        command
    }

    /// Runs kubectl to its end, the last words as they are; `input` becomes its standard input.
    fn run(&self, line: &str, last: &[&str], input: &[u8]) -> Output {
        let mut command = self.kubectl(line);
        command.args(last);
        to_its_end(command, input)
    }

    #[track_caller]
    fn ok(&self, line: &str, last: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.run(line, last, input);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {line} {last:?}: {told}\n{}", self.dev.output());
        output.stdout
    }
}

/// Whether there is a kubectl that speaks WebSocket throughout; says loudly when not.
fn kubectl_is_there(story: &str) -> bool {
    let found = Command::new("kubectl").args(["version", "--client", "-o", "json"]).output();
    let minor = found.ok().and_then(|output| serde_json::from_slice::<serde_json::Value>(&output.stdout).ok());
    let minor = minor.and_then(|all| {
        all["clientVersion"]["minor"].as_str()?.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().ok()
    });
    let new_enough = minor.is_some_and(|minor| minor >= 31);
    if !new_enough {
        let _ = writeln!(std::io::stderr(), "\n!!! SKIPPED: {story}: kubectl 1.31 or newer is not on PATH\n");
    }
    new_enough
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Statement 52.
#[test]
fn a_command_runs_with_its_streams_and_its_code_reaches_the_shell() {
    if !real_containers("kubectl exec") || !kubectl_is_there("kubectl exec") {
        return;
    }
    let stage = Stage::new("exec");
    let ended = stage.run("exec box --", &["sh", "-c", "echo out; echo err >&2; exit 3"], b"");
    assert_eq!((ended.status.code(), text(&ended.stdout)), (Some(3), "out\n".to_owned()));
    assert!(text(&ended.stderr).starts_with("err\n"), "{}", text(&ended.stderr));
    assert_eq!(text(&stage.ok("exec -i box --", &["cat"], b"hi\n")), "hi\n");
    assert_eq!(text(&stage.ok("exec box --", &["cat"], b"not for it")), "", "without -i there is no input");
    // More than any buffer holds, both ways.
    let much: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    assert!(stage.ok("exec -i box --", &["cat"], &much) == much, "what came back is what was sent");
    assert_eq!(
        text(&stage.ok("exec box -c main --", &["sh", "-c", "echo $0 \"$@\"", "a", "b c", ""], b"")),
        "a b c \n"
    );
    // A signal is told as a shell does.
    assert_eq!(stage.run("exec box --", &["sh", "-c", "kill -9 $$"], b"").status.code(), Some(137));
    let missing = stage.run("exec box --", &["/bin/nosuch"], b"");
    assert_eq!(missing.status.code(), Some(127), "as a shell says it");
    assert!(text(&missing.stderr).contains("nosuch"), "{}", text(&missing.stderr));
    assert_eq!(stage.run("exec box --", &["/www/note"], b"").status.code(), Some(126), "no program");
    assert_eq!(stage.run("exec box --", &["sh", "-c", "exit 255"], b"").status.code(), Some(255), "its own code");
    let nobody = stage.run("exec nosuch --", &["true"], b"");
    assert!(text(&nobody.stderr).contains("pods \"nosuch\" not found"), "{}", text(&nobody.stderr));
    let attach = stage.run("attach -i box", &[], b"");
    assert!(!attach.status.success());
    assert!(text(&attach.stderr).contains("nothing can be typed to container main"), "{}", text(&attach.stderr));
}

/// The chapter of the tour that needs real containers: commands, copies, ports and output, over WebSockets and over SPDY.
#[test]
fn the_tour_of_kubectl_goes_into_containers() {
    if !real_containers("the tour of kubectl in containers") || !kubectl_is_there("the tour of kubectl in containers") {
        return;
    }
    const NAME: &str = "real-streams";
    let stage = Stage::new(NAME);
    let (program, release) = guide();
    let server = tour_desk::Place {
        directory: stage.machine.dir.join("tour"),
        kubeconfig: stage.machine.data().join("kubeconfig"),
        url: format!("http://{}", stage.machine.listen),
    };
    let expected = tour_desk::chapter(NAME).expect("the chapter");
    let seen = tour_desk::go(&server, &program, NAME, &expected).expect("it is gone through");
    let said = tour_desk::complaints(NAME, release, &expected, &seen).expect("it is compared");
    assert!(said.is_empty(), "{said}\n{}", stage.dev.output());
}

/// The kubectl to go with, and its release: that of `MKUBE_KUBECTL`, or the one on PATH.
fn guide() -> tour_desk::Guide {
    let find = Command::new("sh").args(["-c", "command -v kubectl"]).output().expect("there is a shell");
    let found = std::path::PathBuf::from(text(&find.stdout).trim());
    let program = std::env::var_os("MKUBE_KUBECTL").map_or(found, Into::into);
    let told = Command::new(&program).args(["version", "--client", "-o", "json"]).output().expect("it starts");
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("it tells its version");
    let minor = told["clientVersion"]["minor"].as_str().unwrap_or_default();
    let minor = minor.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number");
    (program, (1, minor))
}

#[test]
fn a_terminal_has_the_size_of_the_users_and_the_command_ends_with_its_client() {
    if !real_containers("kubectl exec -it") || !kubectl_is_there("kubectl exec -it") {
        return;
    }
    let stage = Stage::new("exec-tty");
    // `script` gives kubectl a terminal, as a user's shell does.
    let mut line =
        format!("stty rows 33 cols 99; kubectl --kubeconfig {}", stage.machine.data().join("kubeconfig").display());
    line += &format!(" --cache-dir {} exec -it box -- sh", stage.machine.dir.join("cache").display());
    let mut script = Command::new("script");
    script.args(["-qfec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = script.spawn().expect("script is part of Debian");
    let mut typing = child.stdin.take().expect("its input");
    let mut screen = child.stdout.take().expect("its output");
    let (told, shown) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(read) = screen.read(&mut buffer) {
            if read == 0 || told.send(text(&buffer[..read])).is_err() {
                return;
            }
        }
    });
    let mut all = String::new();
    let mut until = |words: &str| {
        while !all.contains(words) {
            let more = shown.recv_timeout(SOON);
            all += &more.unwrap_or_else(|why| panic!("no {words:?} on the screen ({why}): {all:?}"));
        }
        all.clear();
    };
    until("# ");
    // Sizes come when they come: asked again until it is the right one.
    typing
        .write_all(b"until stty size | /bin/busybox grep -q '33 99'; do sleep 0.1; done; echo the-$((40+2))-size\n")
        .expect("typed");
    until("the-42-size");
    typing.write_all(b"sleep 54321 && true; exit 5\n").expect("typed");
    let sleeper = || text_of(Command::new("pgrep").args(["-f", "sleep 54321$"]).output());
    eventually("the command in the container", SOON, || {
        if sleeper().trim().is_empty() { Err("none".to_owned()) } else { Ok(()) }
    });
    // The client dies without a word.
    let _ = Command::new("pkill").args(["-KILL", "-P", &child.id().to_string()]).status();
    let _ = child.kill();
    let _ = child.wait();
    eventually("the command to end with its client", SOON, || match sleeper().trim() {
        "" => Ok(()),
        left => Err(left.to_owned()),
    });
}

/// A shell on a terminal of its own, as a person has one.
struct Terminal {
    child: Child,
    typing: std::process::ChildStdin,
    shown: std::sync::mpsc::Receiver<String>,
    all: String,
}

impl Terminal {
    fn open() -> Self {
        let mut script = Command::new("script");
        script.args(["-qfec", "sh", "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = script.spawn().expect("script is part of Debian");
        let typing = child.stdin.take().expect("its input");
        let mut screen = child.stdout.take().expect("its output");
        let (told, shown) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(read) = screen.read(&mut buffer) {
                if read == 0 || told.send(text(&buffer[..read])).is_err() {
                    return;
                }
            }
        });
        Self { child, typing, shown, all: String::new() }
    }

    fn types(&mut self, line: &str) {
        self.typing.write_all(format!("{line}\n").as_bytes()).expect("typed");
    }

    /// Reads until these words are on the screen; what stands there until then.
    fn until(&mut self, words: &str) -> String {
        while !self.all.contains(words) {
            let more = self.shown.recv_timeout(SOON);
            let more = more.unwrap_or_else(|why| panic!("no {words:?} on the screen ({why}): {:?}", self.all));
            self.all += &more;
        }
        std::mem::take(&mut self.all)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_one_binary_runs_commands_forwards_ports_and_gives_the_terminal_back() {
    if !real_containers("mkube exec") {
        return;
    }
    let stage = Stage::new("exec-client");
    let run = |line: &str, last: &[&str], input: &[u8]| to_its_end(stage.mkube(line, last), input);
    let ended = run("exec box --", &["sh", "-c", "echo out; echo err >&2; exit 3"], b"");
    assert_eq!((ended.status.code(), text(&ended.stdout)), (Some(3), "out\n".to_owned()));
    assert_eq!(text(&ended.stderr), "err\nerror: command terminated with exit code 3\n");
    let much: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    let echoed = run("exec -i pod/box -c main", &["cat"], &much);
    assert!(echoed.status.success() && echoed.stdout == much, "{}", text(&echoed.stderr));
    assert_eq!(text(&run("exec box --", &["cat"], b"not for it").stdout), "", "without -i there is no input");
    let nobody = run("exec nosuch --", &["true"], b"");
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("pods \"nosuch\" not found"), "{}", text(&nobody.stderr));

    let mut forwarding = stage.mkube("port-forward box :80 :81", &[]);
    let mut child = forwarding.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let (mut out, mut err) = (child.stdout.take().expect("its output"), child.stderr.take().expect("its errors"));
    let _forwarding = Forwarding(child);
    let mut told = String::new();
    while told.lines().count() < 2 {
        let mut buffer = [0; 512];
        let read = out.read(&mut buffer).expect("it tells where it listens");
        assert!(read > 0, "it ended: {told}");
        told += &text(&buffer[..read]);
    }
    let port = |line: &str| line.split([':', ' ']).nth(3).and_then(|port| port.parse::<u16>().ok()).expect("a port");
    let ports: Vec<u16> = told.lines().map(port).collect();
    assert_eq!(page(ports[0]), Ok("from the pod".to_owned()));
    assert_eq!(page(ports[0]), Ok("from the pod".to_owned()));
    let _ = page(ports[1]);
    let mut why = String::new();
    while !why.contains("refused") {
        let mut buffer = [0; 512];
        let read = err.read(&mut buffer).expect("it tells what went wrong");
        assert!(read > 0, "it ended: {why}");
        why += &text(&buffer[..read]);
    }

    let mut terminal = Terminal::open();
    let line = format!("MKUBE_SERVER=http://{} {}", stage.machine.listen, binary().display());
    terminal.types("PS1=; stty rows 33 cols 99; echo at-$(tty)-$((40+1))");
    let at = terminal.until("-41");
    let device = at.lines().find_map(|one| one.trim().split_once("at-/dev/")?.1.strip_suffix("-41").map(str::to_owned));
    let device = format!("/dev/{}", device.unwrap_or_else(|| panic!("no terminal in {at:?}")));
    terminal.types(&format!("{line} exec -it box -- sh; echo left-with-$?"));
    terminal.until("# ");
    let wait_for_size = |size: &str| {
        format!("until stty size | /bin/busybox grep -q '{size}'; do sleep 0.1; done; echo the-$((40+2))-size")
    };
    terminal.types(&wait_for_size("33 99"));
    terminal.until("the-42-size");
    text_of(Command::new("stty").args(["-F", &device, "rows", "40", "cols", "120"]).output());
    terminal.types(&wait_for_size("40 120"));
    terminal.until("the-42-size");
    let settings = || text_of(Command::new("stty").args(["-F", &device, "-a"]).output());
    assert!(settings().contains("-icanon"), "what is typed is the command's");
    terminal.types("exit 5");
    terminal.until("left-with-5");
    assert!(settings().contains(" icanon") && settings().contains(" echo "), "{}", settings());

    let again =
        format!("export MKUBE_SERVER=http://{}; exec {} exec -it box -- sh", stage.machine.listen, binary().display());
    terminal.types(&format!("sh -c 'echo number-$$-; {again}'; echo left-$?-late"));
    let told = terminal.until("# ");
    let number = told.lines().find_map(|one| one.trim().strip_prefix("number-")?.strip_suffix('-').map(str::to_owned));
    let number = number.unwrap_or_else(|| panic!("no number in {told:?}"));
    assert!(settings().contains("-icanon"), "{}", settings());
    let _ = Command::new("kill").args(["-TERM", &number]).status();
    terminal.until("left-143-late");
    assert!(settings().contains(" icanon") && settings().contains(" echo "), "{}", settings());
}

#[test]
fn files_are_copied_in_and_out() {
    if !real_containers("kubectl cp") || !kubectl_is_there("kubectl cp") {
        return;
    }
    let stage = Stage::new("cp");
    let tree = stage.machine.dir.join("tree");
    std::fs::create_dir_all(tree.join("below")).expect("made");
    std::fs::write(tree.join("below/big"), vec![7u8; 700_000]).expect("written");
    std::fs::write(tree.join("note"), "from outside").expect("written");
    stage.ok(&format!("cp {} box:/www/tree", tree.display()), &[], b"");
    assert_eq!(text(&stage.ok("exec box --", &["cat", "/www/tree/note"], b"")), "from outside");
    let back = stage.machine.dir.join("back");
    stage.ok(&format!("cp box:/www/tree {}", back.display()), &[], b"");
    assert_eq!(std::fs::read(back.join("below/big")).expect("there"), vec![7u8; 700_000]);
    assert_eq!(names_in(&back).len(), 2);
}

#[test]
fn the_one_binary_copies_in_and_out_and_attaches() {
    if !real_containers("mkube cp") {
        return;
    }
    let stage = Stage::new("cp-client");
    let run = |line: &str| to_its_end(stage.mkube(line, &[]), b"");
    let ok = |line: &str| {
        let ended = run(line);
        assert!(ended.status.success(), "mkube {line}: {}", text(&ended.stderr));
        text(&ended.stdout)
    };
    let tree = stage.machine.dir.join("tree");
    std::fs::create_dir_all(tree.join("below")).expect("made");
    std::fs::write(tree.join("below/big"), vec![7u8; 700_000]).expect("written");
    std::fs::write(tree.join("note"), "from outside").expect("written");
    let (tree, back) = (tree.display().to_string(), stage.machine.dir.join("back"));
    ok(&format!("cp {tree} box:/www/copy"));
    assert_eq!(ok("exec box -- cat /www/copy/note"), "from outside");
    ok(&format!("cp {tree}/note default/box:/www/copy/below"));
    assert_eq!(ok("exec box -- cat /www/copy/below/note"), "from outside", "into a directory that is there");
    ok(&format!("cp box:/www/copy {} -c main", back.display()));
    assert_eq!(std::fs::read(back.join("below/big")).expect("there"), vec![7u8; 700_000]);
    assert_eq!(names_in(&back).len(), 2);
    ok(&format!("cp box:/www/copy/note {}", back.join("one").display()));
    assert_eq!(std::fs::read_to_string(back.join("one")).expect("there"), "from outside");
    let missing = run(&format!("cp box:/nosuch {}", back.display()));
    assert!(missing.status.code() == Some(1) && text(&missing.stderr).contains("tar in the container"), "{missing:?}");
    assert_eq!(run(&format!("cp {tree} {tree}")).status.code(), Some(2), "one of the two is in a pod");

    let typing = run("attach box -i");
    assert!(typing.status.code() == Some(1) && text(&typing.stderr).contains("exec -it"), "{typing:?}");
    let mut attached = stage.mkube("attach box", &[]);
    let mut child = attached.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let (mut out, mut err) = (child.stdout.take().expect("its output"), child.stderr.take().expect("its errors"));
    let _attached = Forwarding(child);
    let mut buffer = [0; 512];
    let read = err.read(&mut buffer).expect("it tells that it is there");
    assert!(text(&buffer[..read]).contains("from now on"), "{}", text(&buffer[..read]));
    ok("exec box -- sh -c 'true'");
    to_its_end(stage.mkube("exec box --", &["sh", "-c", "echo for-the-log > /proc/1/fd/1"]), b"");
    let mut told = String::new();
    while !told.contains("for-the-log") {
        let read = out.read(&mut buffer).expect("what it writes");
        assert!(read > 0, "it ended: {told}");
        told += &text(&buffer[..read]);
    }
}

/// kubectl port-forward; ends with the value.
struct Forwarding(Child);

impl Drop for Forwarding {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn page(port: u16) -> Result<String, String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(SOON)).map_err(|error| error.to_string())?;
    stream.write_all(b"GET /note HTTP/1.0\r\n\r\n").map_err(|error| error.to_string())?;
    let mut all = String::new();
    stream.read_to_string(&mut all).map_err(|error| error.to_string())?;
    all.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).ok_or(all)
}

/// Statement 53.
#[test]
fn a_forwarded_port_serves_requests_in_turn_and_at_once_and_tells_when_nobody_listens() {
    if !real_containers("kubectl port-forward") || !kubectl_is_there("kubectl port-forward") {
        return;
    }
    let stage = Stage::new("port-forward");
    let mut command = stage.kubectl("port-forward pod/box :80 :81");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kubectl starts");
    let (mut out, mut err) = (child.stdout.take().expect("its output"), child.stderr.take().expect("its errors"));
    let _forwarding = Forwarding(child);
    let mut told = String::new();
    let mut ports = Vec::new();
    while ports.len() < 2 {
        let mut buffer = [0; 512];
        let read = out.read(&mut buffer).expect("it tells where it listens");
        assert!(read > 0, "it ended: {told}");
        told += &text(&buffer[..read]);
        let lines = told.lines().filter_map(|line| line.strip_prefix("Forwarding from 127.0.0.1:"));
        ports = lines.filter_map(|line| line.split(' ').next()?.parse::<u16>().ok()).collect();
    }
    let serves = || eventually("the page", SOON, || page(ports[0]));
    assert_eq!(serves(), "from the pod");
    assert_eq!(serves(), "from the pod");
    let at_once: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn({
                let port = ports[0];
                move || page(port)
            })
        })
        .collect();
    for one in at_once {
        assert_eq!(one.join().expect("no panic"), Ok("from the pod".to_owned()));
    }
    let _ = page(ports[1]);
    let mut why = String::new();
    let address = stage.machine.api().pod("box")["status"]["podIP"].as_str().expect("an address").to_owned();
    let words =
        format!("error forwarding port 81 to pod default/box: dial tcp {address}:81: connect: connection refused");
    while !why.contains(&words) {
        let mut buffer = [0; 512];
        let read = err.read(&mut buffer).expect("it tells why");
        assert!(read > 0, "it ended: {why}");
        why += &text(&buffer[..read]);
    }
}

/// Statement 51, as far as kubectl does it in several requests.
#[test]
fn logs_are_those_that_kubectl_asks_for() {
    if !real_containers("kubectl logs") || !kubectl_is_there("kubectl logs") {
        return;
    }
    let stage = Stage::new("kubectl-logs");
    let say = |word: &str| json!(["/bin/sh", "-c", format!("echo {word} one; echo {word} two; sleep 100000")]);
    let mut pair = pod("pair", json!({"image": "tools:1", "command": say("left")}), json!({}));
    pair["metadata"]["labels"] = json!({"app": "pair"});
    let side = json!({"name": "side", "image": "tools:1", "command": say("right")});
    pair["spec"]["containers"].as_array_mut().expect("containers").push(side);
    stage.machine.api().create(&pair);
    stage.machine.api().wait_running("pair");
    let log = |line: &str| text(&stage.ok(&format!("logs {line}"), &[], b""));
    let wait = |line: &str, wanted: &str| {
        eventually(line, SOON, || if log(line) == wanted { Ok(()) } else { Err(log(line)) });
    };
    wait("pair", "left one\nleft two\n");
    wait("pair --all-containers", "left one\nleft two\nright one\nright two\n");
    wait("pair -c side --tail=1", "right two\n");
    wait("pair -c side --limit-bytes=7", "right o");
    wait("pair --since=1h --tail=2", "left one\nleft two\n");
    let chosen = text(&stage.run("logs pair", &[], b"").stderr);
    assert!(chosen.contains("Defaulted container \"main\" out of: main, side"), "{chosen}");
    let timed = log("pair -c side --timestamps --tail=1");
    assert!(timed.starts_with("20") && timed.ends_with("Z right two\n"), "{timed}");
    wait("pair --since-time=2020-01-01T00:00:00Z", "left one\nleft two\n");
    wait("pair --since-time=2120-01-01T00:00:00Z", "");
    wait("-l app=pair --all-containers --prefix --tail=1", "[pod/pair/main] left two\n[pod/pair/side] right two\n");
    let wrong = stage.run("logs pair -c nosuch", &[], b"");
    assert!(text(&wrong.stderr).contains("container nosuch is not valid for pod pair"), "{}", text(&wrong.stderr));
    let wrong = stage.run("logs pair --since-time=yesterday", &[], b"");
    assert!(!wrong.status.success());
}

#[test]
fn top_shows_what_containers_and_the_node_use() {
    if !real_containers("kubectl top") || !kubectl_is_there("kubectl top") {
        return;
    }
    let stage = Stage::new("kubectl-top");
    let top = |line: &str| stage.run(&format!("top {line}"), &[], b"");
    let megabytes = |line: &str, column: usize| {
        eventually(line, SOON, || {
            let output = top(line);
            let told = text(&output.stdout);
            let row = told.lines().find(|line| line.starts_with("box") || line.starts_with("mkube"));
            let cell = row.and_then(|row| row.split_whitespace().nth(column)?.strip_suffix("Mi")?.parse::<u64>().ok());
            cell.ok_or_else(|| format!("{told}{}", text(&output.stderr)))
        })
    };
    assert!(megabytes("pod box", 2) < 100, "one small process");
    assert!(megabytes("pod --containers", 3) < 100, "the only container of the pod is all of it");
    assert!(megabytes("node", 3) > 10, "a whole machine");
    let nobody = top("pod nosuch");
    assert!(text(&nobody.stderr).contains("not found"), "{}", text(&nobody.stderr));
}

/// Statements 56 and 60, the part of Python.
#[test]
fn the_python_client_runs_commands_and_forwards_ports() {
    if !real_containers("the Python client's streams") {
        return;
    }
    let python = match environment::environment() {
        Ok(python) => python,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "\n!!! SKIPPED: the Python client's streams: {error:#}\n");
            return;
        }
    };
    let stage = Stage::new("python-streams");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/streams.py");
    let output = Command::new(python).arg(script).arg(format!("http://{}", stage.machine.listen)).output();
    let output = output.expect("Python starts");
    assert!(text(&output.stdout).ends_with("all well\n"), "{}\n{}", text(&output.stdout), text(&output.stderr));
}
