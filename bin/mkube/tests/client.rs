//! The small client for people without kubectl, against a running `mkube dev`.

mod dev;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

use dev::{Machine, SOON, binary, eventually};

const MANIFEST: &str = "kind: ConfigMap
apiVersion: v1
metadata: {name: page}
data: {index.html: hello}
---
kind: Pod
apiVersion: v1
metadata: {name: web}
spec:
  containers: [{name: c, image: 'hello:latest', command: [serve]}]
";

fn command(machine: &Machine, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env("MKUBE_SERVER", format!("http://{}", machine.listen)).env_remove("KUBECONFIG");
    command
}

fn run(machine: &Machine, arguments: &[&str]) -> Output {
    command(machine, arguments).output().expect("the binary runs")
}

/// Exit code and what was said on standard error.
fn refused(machine: &Machine, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(machine, arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn done(machine: &Machine, arguments: &[&str]) -> String {
    let output = run(machine, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn objects_are_applied_shown_and_deleted_without_kubectl() {
    let machine = Machine::new("client");
    let _dev = machine.dev(&["--host", "simulated"]);
    let manifest = machine.write("site.yaml", MANIFEST);
    let file = manifest.display().to_string();

    assert_eq!(done(&machine, &["apply", "-f", &file]), "configmap/page created\npod/web created\n");
    assert_eq!(done(&machine, &["apply", "-f", &file]), "configmap/page unchanged\npod/web unchanged\n");
    std::fs::write(&manifest, MANIFEST.replace("hello}", "bye}")).expect("written");
    assert_eq!(done(&machine, &["apply", "-f", &file]), "configmap/page configured\npod/web unchanged\n");

    eventually("the table shows the pod running", SOON, || {
        let table = done(&machine, &["get", "po", "-A"]);
        let row = table.lines().find(|line| line.contains("web")).unwrap_or_default().to_owned();
        if row.contains("default") && row.contains("Running") { Ok(()) } else { Err(table) }
    });
    assert!(done(&machine, &["get", "pods", "web", "-o", "wide"]).contains("NOMINATED NODE"));
    assert!(done(&machine, &["get", "cm", "page", "-o", "yaml"]).contains("index.html: bye"));
    assert!(done(&machine, &["get", "images", "-o", "json"]).starts_with('['));
    let unknown = run(&machine, &["get", "images", "nope:1"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("image \"nope:1\" not found"));
    let tree = done(&machine, &["status"]);
    assert!(tree.contains("default/web") && tree.contains("object-layer"), "{tree}");
    // Whoever stops reading, such as `head`, has seen enough: that is no failure.
    for line in ["status", "boot-plan", "consistency", "get images", "completions bash", "version"] {
        let words: Vec<&str> = line.split(' ').collect();
        let mut unread = command(&machine, &words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
        drop(unread.stdout.take());
        let ended = unread.wait_with_output().expect("it ends");
        assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""), "{line}");
    }
    done(&machine, &["logs", "web"]);
    let all = done(&machine, &["consistency", "--all"]);
    assert!(all.contains("container/web/c") && all.contains(" 0 fail"), "{all}");
    assert!(!done(&machine, &["consistency"]).contains("container/web/c"), "only what is not as it should be");
    let repaired = done(&machine, &["consistency", "--repair", "--dry-run", "-o", "json"]);
    assert!(repaired.contains("\"actions\": []") && repaired.contains("\"count\": 0"), "{repaired}");
    assert_eq!(run(&machine, &["consistency", "--dry-run"]).status.code(), Some(2), "a dry run of what?");

    assert_eq!(done(&machine, &["delete", "pod", "web"]), "pod/web deleted\n");
    eventually("the pod is gone", SOON, || {
        let output = run(&machine, &["get", "pod", "web"]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() == Some(1) && errors.contains("not found") { Ok(()) } else { Err(errors) }
    });
    let unknown = run(&machine, &["get", "gadgets"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no resource type \"gadgets\""));
}

const SHOP: &str = "kind: ConfigMap
apiVersion: v1
metadata: {name: a, labels: {app: shop}}
---
kind: ConfigMap
apiVersion: v1
metadata: {name: b, labels: {app: shop, tier: back}}
---
kind: Pod
apiVersion: v1
metadata: {name: web, labels: {app: shop}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: 'hello:latest', command: [serve]}]
";

/// A command that goes on, and its lines; ends with the value.
struct Going(Child, BufReader<std::process::ChildStdout>);

impl Going {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary runs");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        Self(child, lines)
    }

    /// Reads up to a line with these words.
    fn until(&mut self, words: &[&str]) -> String {
        loop {
            let mut line = String::new();
            let read = self.1.read_line(&mut line).expect("lines");
            assert!(read > 0, "it ended before a line with {words:?}");
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn objects_are_selected_printed_in_every_form_watched_waited_for_and_pruned() {
    let machine = Machine::new("client-forms");
    let _dev = machine.dev(&["--host", "simulated"]);
    machine.write("site/shop.yaml", SHOP);
    let site = machine.dir.join("site").display().to_string();
    let all = |arguments: &str| {
        let words: Vec<&str> = arguments.split(' ').map(|word| if word == "SITE" { &*site } else { word }).collect();
        done(&machine, &words)
    };

    let tried = all("apply -f SITE --dry-run");
    assert_eq!(tried.matches("created (server dry run)").count(), 3, "{tried}");
    assert_eq!(refused(&machine, &["get", "pod", "web"]).0, Some(1), "a dry run changes nothing");
    assert_eq!(all("apply -f SITE --wait"), "configmap/a created\nconfigmap/b created\npod/web created\n");
    assert!(all("get pod/web").contains("Running"), "--wait waited");

    assert_eq!(all("get cm -l app=shop -o name"), "configmap/a\nconfigmap/b\n");
    assert_eq!(all("get cm -l app=shop,tier!=back -o name"), "configmap/a\n");
    assert_eq!(all("get cm a b -o jsonpath={range.items[*]}{.metadata.name};{end}"), "a;b;");
    assert_eq!(all("get pods --field-selector status.phase=Pending -o name"), "");
    let both = all("get pod/web cm/a");
    assert!(both.contains("pod/web") && both.contains("\n\nNAME") && both.contains("configmap/a"), "{both}");
    assert!(all("get pods --show-labels --no-headers").trim_end().ends_with("app=shop"));
    let yaml = all("get -f SITE -o yaml");
    assert!(yaml.starts_with("apiVersion: v1\nitems:") && !yaml.contains("managedFields"), "{yaml}");
    assert!(all("--color always get pods").contains("\x1b[32mRunning\x1b[0m"));
    assert!(!all("get pods").contains('\x1b'), "no colours where no terminal is");
    let told = all("describe pod web");
    assert!(told.contains("Events:") && told.contains("phase: Running"), "{told}");
    assert!(all("status -o json").contains("\"ready\": true"));
    all("top pods");
    all("get all");

    let (code, why) = refused(&machine, &["get", "pots"]);
    assert!(code == Some(1) && why.contains("hint: did you mean \"pods\"?"), "{why}");
    let (code, why) = refused(&machine, &["get", "cm", "a", "nosuch"]);
    assert!(code == Some(1) && why.contains("\"nosuch\" not found"), "{why}");
    assert_eq!(refused(&machine, &["get", "pods", "-o", "xml"]).0, Some(2));
    assert_eq!(refused(&machine, &["delete", "pods"]).0, Some(2), "all of them are deleted only with --all");
    let (_, why) = refused(&machine, &["exec", "web", "--", "true"]);
    assert!(why.contains("commands"), "the simulated host says that it runs none: {why}");

    let mut watching = Going::start(command(&machine, &["get", "cm", "-l", "app=shop", "-w"]));
    watching.until(&["b "]);
    machine.write("site/shop.yaml", &SHOP.replace("name: b", "name: c"));
    let (code, why) = refused(&machine, &["apply", "-f", &site, "--prune", "-l", "app=shop", "--confirm", "2"]);
    assert!(code == Some(1) && why.contains("not the 2 that were confirmed"), "{why}");
    let pruned = all("apply -f SITE --prune -l app=shop");
    assert_eq!(pruned, "configmap/a unchanged\nconfigmap/c created\npod/web unchanged\nconfigmap/b pruned\n");
    watching.until(&["c "]);
    machine.write("site/shop.yaml", "");
    let (code, why) = refused(&machine, &["apply", "-f", &site, "--prune", "-l", "app=shop"]);
    assert!(code == Some(1) && why.contains("no document"), "{why}");
    assert_eq!(all("apply -f SITE --prune -l app=shop --yes").matches("pruned").count(), 3);

    let mut owner = command(&machine, &["apply", "-f", "-", "--server-side"]);
    let mut owner = owner.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary runs");
    let text = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: owned}\ndata: {a: '1'}\n";
    owner.stdin.take().expect("its input").write_all(text.as_bytes()).expect("written");
    let told = owner.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&told.stdout), "configmap/owned created\n");
    let manifest = machine.write("other.yaml", &text.replace("'1'", "'2'")).display().to_string();
    let (code, why) = refused(&machine, &["apply", "-f", &manifest, "--server-side", "--field-manager", "other"]);
    assert!(code == Some(1) && why.contains("hint: --force-conflicts"), "{why}");
    assert_eq!(all("delete cm --all --ignore-not-found --dry-run"), "configmap/owned deleted (server dry run)\n");
    assert_eq!(all("delete cm/owned --ignore-not-found"), "configmap/owned deleted\n");
    assert_eq!(all("get cm owned --ignore-not-found"), "");
}

const PAGE: &str = "kind: Deployment
apiVersion: apps/v1
metadata: {name: page}
spec:
  replicas: 1
  selector: {matchLabels: {app: page}}
  template:
    metadata: {labels: {app: page}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: 'hello:latest', command: [serve], env: [{name: A, value: '1'}]}]
";

#[test]
fn deployments_are_scaled_edited_and_taken_back() {
    let machine = Machine::new("client-changes");
    let _dev = machine.dev(&["--host", "simulated"]);
    let manifest = machine.write("page.yaml", PAGE).display().to_string();
    let all = |line: &str| done(&machine, &line.split(' ').collect::<Vec<_>>());
    let value = |path: &str| all(&format!("get deploy page -o jsonpath={{.{path}}}"));
    done(&machine, &["apply", "-f", &manifest, "--wait"]);

    assert_eq!(all("scale deploy/page --replicas 2 --wait"), "deployment/page scaled\n");
    assert_eq!(value("status.readyReplicas"), "2");
    let (code, why) = refused(&machine, &["scale", "deploy", "page", "--replicas", "0", "--current-replicas", "5"]);
    assert!(code == Some(1) && why.contains("expected replicas to be 5, there are 2"), "{why}");
    assert_eq!(all("scale deploy page --replicas 1 --current-replicas 2"), "deployment/page scaled\n");
    assert_eq!(refused(&machine, &["scale", "deploy", "--replicas", "1"]).0, Some(2), "of which one?");
    assert!(refused(&machine, &["scale", "cm/nosuch", "--replicas", "1"]).1.contains("could not find"));

    let columns = "get deploy -o custom-columns=NAME:.metadata.name,WANTED:.spec.replicas,NOTHING:.spec.nosuch";
    assert_eq!(all(columns), "NAME   WANTED   NOTHING\npage   1        <none>\n");
    assert_eq!(refused(&machine, &["get", "deploy", "-o", "custom-columns=NAME"]).0, Some(2));

    let edit = |editor: &str| {
        let mut command = command(&machine, &["edit", "deploy/page"]);
        let output = command.env("EDITOR", editor).env_remove("KUBE_EDITOR").output().expect("the binary runs");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), errors)
    };
    let version = || value("metadata.generation");
    let before = version();
    assert_eq!(edit("true").1, "deployment/page not edited: nothing is changed\n");
    assert_eq!(edit(": >").1, "deployment/page not edited: nothing is left of it\n");
    assert_eq!(version(), before, "no change is no write");
    assert_eq!(edit("sed -i 's/value: .1./value: \"2\"/'").1, "deployment/page edited\n");
    assert_eq!(value("spec.template.spec.containers[0].env[0].value"), "2");
    // What is refused is shown again, with the reason above it; whoever leaves it so gives up.
    let seen = machine.dir.join("seen");
    let twice = machine.write(
        "twice.sh",
        &format!(
            "cp \"$1\" {seen}; grep -q '^# error' \"$1\" || sed -i 's/replicas: 1/replicas: -1/' \"$1\"\n",
            seen = seen.display()
        ),
    );
    let (code, _, why) = edit(&format!("sh {}", twice.display()));
    assert!(code == Some(1) && why.contains("page is as it was") && why.contains("hint: your text stands in"), "{why}");
    let seen = std::fs::read_to_string(&seen).expect("what the editor saw");
    assert!(seen.contains("# error: ") && seen.contains("spec.replicas") && seen.contains("replicas: -1"), "{seen}");
    let kept = why.trim().rsplit(' ').next().expect("a path").to_owned();
    std::fs::remove_file(kept).expect("the text was kept");
    assert_eq!(edit("false").0, Some(1), "an editor that fails changes nothing");

    done(&machine, &["rollout", "status", "page"]);
    let history = all("rollout history page");
    assert!(history.starts_with("deployment/page\nREVISION") && history.lines().count() == 4, "{history}");
    assert_eq!(all("rollout undo page --wait"), "deployment/page rolled back to revision 1\n");
    assert_eq!(value("spec.template.spec.containers[0].env[0].value"), "1");
    let (code, why) = refused(&machine, &["rollout", "undo", "page", "--to-revision", "9"]);
    assert!(code == Some(1) && why.contains("has no revision 9"), "{why}");
}

#[test]
fn completions_and_man_pages_are_made() {
    let machine = Machine::new("client-paper");
    for shell in ["bash", "zsh", "fish"] {
        let text = done(&machine, &["completions", shell]);
        assert!(text.contains("port-forward") && text.contains("field-selector"), "{shell}");
    }
    let pages = machine.dir.join("man");
    done(&machine, &["man", &pages.display().to_string()]);
    for page in ["mkube.1", "mkube-get.1", "mkube-exec.1", "mkube-cp.1", "mkube-edit.1", "mkube-rollout-undo.1"] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".SH OPTIONS") && text.contains("mkube"), "{page}");
    }
}

#[test]
fn a_server_that_is_not_there_is_said_with_what_to_do() {
    let machine = Machine::new("client-alone");
    let output = run(&machine, &["get", "pods"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{errors}");
    assert!(errors.contains("error: ") && errors.contains("hint: is mkube running at"), "{errors}");
}
