//! docs/messages.md lists every message, and every room asks only downward.

use std::collections::{BTreeMap, BTreeSet};

use mkube_structure::{Source, sources, top};

/// Floor of each room. A room asks only those below it.
const FLOORS: &[(&str, &[&str])] = &[
    ("Gate", &["store", "router", "lease"]),
    ("Objects", &["objects"]),
    ("Keeper", &["ipam", "images", "dns"]),
    ("Pod", &["pods"]),
    (
        "Decider",
        &["boot", "rollouts", "deployments", "watchdog", "consistency", "order", "jobs", "generated", "forwards"],
    ),
    ("Edge", &["edges"]),
];

/// Rooms that are not on a floor: told, never asking.
const OUTSIDE: &[&str] = &["supervision"];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    name: String,
    /// File of protocol/messages that declares it, without `.rs`.
    file: String,
    /// Floor it is answered on; none for an event, which may travel in any direction.
    floor: Option<String>,
    doc: String,
}

fn height(floor: &str) -> usize {
    FLOORS.iter().position(|(name, _)| *name == floor).unwrap_or_else(|| panic!("no floor {floor}"))
}

fn floor_of_room(room: &str) -> Option<usize> {
    FLOORS.iter().position(|(_, rooms)| rooms.contains(&room))
}

/// The words of a text that could be names of types.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').filter(|word| !word.is_empty())
}

/// What follows `before` in a line, up to the end of the word.
fn name_after<'a>(line: &'a str, before: &str) -> Option<&'a str> {
    words(line.split_once(before)?.1).next()
}

/// The doc comment that ends above line `at`, attributes skipped.
fn doc_above(lines: &[&str], at: usize) -> String {
    let mut doc: Vec<&str> = lines[..at]
        .iter()
        .rev()
        .map(|line| line.trim())
        .skip_while(|line| line.starts_with("#["))
        .take_while(|line| line.starts_with("///"))
        .collect();
    doc.reverse();
    doc.join(" ")
}

fn messages_of(source: &Source) -> Vec<Message> {
    let file = source.path.rsplit('/').next().expect("a file").trim_end_matches(".rs").to_owned();
    let lines: Vec<&str> = source.product_lines().into_iter().map(|(_, line)| line).collect();
    let declared = |name: &str| {
        let at = lines.iter().position(|line| {
            let line = line.trim();
            line.starts_with(&format!("pub struct {name}")) || line.starts_with(&format!("{name} {{"))
        });
        at.map(|at| doc_above(&lines, at)).unwrap_or_default()
    };
    let mut found = Vec::new();
    let mut in_macro = false;
    for (at, line) in lines.iter().enumerate() {
        let mut add = |name: &str, floor: Option<&str>| {
            let (name, doc) = (name.to_owned(), declared(name));
            found.push(Message { name, file: file.clone(), floor: floor.map(str::to_owned), doc });
        };
        if line.starts_with("impl ") && line.contains("Event for ") {
            add(name_after(line, "Event for ").expect("a name"), None);
        } else if line.starts_with("impl ") && line.contains("Request for ") {
            let floor =
                lines[at..].iter().find_map(|line| name_after(line, "FLOOR: Floor = Floor::")).expect("a floor");
            add(name_after(line, "Request for ").expect("a name"), Some(floor));
        } else if line.starts_with("router_request! {") {
            in_macro = true;
        } else if in_macro && !line.trim().starts_with("///") {
            add(words(line).next().expect("a name"), Some("Gate"));
            in_macro = false;
        }
    }
    found
}

fn messages() -> Vec<Message> {
    let found: Vec<Message> = sources(&["protocol/messages/src"]).iter().flat_map(messages_of).collect();
    assert!(found.len() >= 20, "the messages are read: {}", found.len());
    found
}

/// Room → names its code mentions.
fn mentioned() -> BTreeMap<String, BTreeSet<String>> {
    let mut rooms: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources(&["actors"]) {
        let room = source.path.split('/').nth(1).expect("actors/<room>/…").to_owned();
        let code = source.code_lines();
        rooms.entry(room).or_default().extend(code.iter().flat_map(|(_, line)| words(line)).map(str::to_owned));
    }
    rooms
}

/// Message → rooms that handle it.
fn handlers() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources(&["actors"]) {
        let room = source.path.split('/').nth(1).expect("actors/<room>/…");
        for (_, line) in source.code_lines() {
            if let Some(name) = line.starts_with("impl Handler<").then(|| name_after(line, "Handler<")).flatten() {
                found.entry(name.to_owned()).or_default().insert(room.to_owned());
            }
        }
    }
    found
}

/// Every ask that does not go down, and every answer on the wrong floor.
fn wrong_floors(
    messages: &[Message],
    mentioned: &BTreeMap<String, BTreeSet<String>>,
    handlers: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (room, names) in mentioned.iter().filter(|(room, _)| !OUTSIDE.contains(&room.as_str())) {
        let Some(height_of_room) = floor_of_room(room) else {
            wrong.push(format!("actors/{room} stands on no floor"));
            continue;
        };
        for message in messages.iter().filter(|message| names.contains(&message.name)) {
            let Some(floor) = &message.floor else { continue };
            let answers = handlers.get(&message.name).is_some_and(|rooms| rooms.contains(room));
            if answers && height(floor) != height_of_room {
                wrong.push(format!(
                    "actors/{room} answers {}, which says that it is answered on floor {floor}",
                    message.name
                ));
            } else if !answers && height(floor) >= height_of_room {
                wrong.push(format!(
                    "actors/{room} asks {}, which is answered on floor {floor}: not below it",
                    message.name
                ));
            }
        }
    }
    wrong
}

#[test]
fn every_message_stands_in_the_catalogue_with_its_floor_and_nothing_else_does() {
    let catalogue = std::fs::read_to_string(top().join("docs/messages.md")).expect("docs/messages.md");
    // A row of a table that begins with a name in code: | `Name` | question | floor | …
    let listed: BTreeMap<&str, Vec<&str>> = catalogue
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect::<Vec<_>>())
        .map(|cells| (cells[0], cells))
        .collect();
    let messages = messages();
    for message in &messages {
        let row = listed.get(message.name.as_str());
        let row = row.unwrap_or_else(|| panic!("{} of {}.rs is not in docs/messages.md", message.name, message.file));
        let kind = row[1];
        match &message.floor {
            None => assert_eq!(kind, "event", "{}", message.name),
            Some(_) => assert!(["command", "question"].contains(&kind), "{} is a {kind}?", message.name),
        }
        let section = catalogue.split("\n## ").find(|section| section.contains(&format!("\n| `{}` |", message.name)));
        let section = section.expect("rows stand in sections").lines().next().unwrap_or_default();
        assert!(
            section.contains(&format!("`{}.rs`", message.file)),
            "{} is declared in {}.rs and listed under {section:?}",
            message.name,
            message.file
        );
        if let Some(floor) = &message.floor {
            let said = format!("floor {}", height(floor));
            assert!(section.contains(&said), "{} is answered on {said}, listed under {section:?}", message.name);
        }
    }
    let known: BTreeSet<&str> = messages.iter().map(|message| message.name.as_str()).collect();
    let stale: Vec<&&str> = listed.keys().filter(|name| !known.contains(**name)).collect();
    assert!(stale.is_empty(), "listed in docs/messages.md, and no message: {stale:?}");
}

#[test]
fn every_question_has_one_room_that_answers_it() {
    let handlers = handlers();
    for message in messages().iter().filter(|message| message.floor.is_some()) {
        let rooms = handlers.get(&message.name).cloned().unwrap_or_default();
        assert_eq!(rooms.len(), 1, "{} is answered by {rooms:?}", message.name);
    }
}

/// A handler that no door leads to answers nobody: `Away` for ever.
#[test]
fn every_message_that_is_handled_is_registered_with_its_actors_doors() {
    let code: String = sources(&["actors", "bin"])
        .iter()
        .flat_map(|source| source.code_lines().into_iter().map(|(_, line)| line.to_owned() + "\n").collect::<Vec<_>>())
        .collect();
    let handlers = handlers();
    for message in messages().iter().filter(|message| handlers.contains_key(&message.name)) {
        assert!(code.contains(&format!("answers::<{}>()", message.name)), "no door leads to {}", message.name);
    }
}

#[test]
fn every_room_asks_downward_only() {
    let wrong = wrong_floors(&messages(), &mentioned(), &handlers());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn an_ask_that_goes_up_or_sideways_is_found() {
    let message = |name: &str, floor: &str| Message {
        name: name.into(),
        file: "x".into(),
        floor: Some(floor.into()),
        doc: String::new(),
    };
    let messages = [message("WriteObject", "Objects"), message("LeaseAddress", "Keeper")];
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    let handlers =
        BTreeMap::from([("WriteObject".to_owned(), set(&["objects"])), ("LeaseAddress".to_owned(), set(&["ipam"]))]);
    for (room, name, is_wrong) in [
        ("pods", "WriteObject", false),
        ("pods", "LeaseAddress", false),
        ("images", "LeaseAddress", true),
        ("router", "WriteObject", true),
        ("ipam", "WriteObject", false),
        ("a-new-room", "WriteObject", true),
    ] {
        let mentioned = BTreeMap::from([(room.to_owned(), set(&[name]))]);
        assert_eq!(!wrong_floors(&messages, &mentioned, &handlers).is_empty(), is_wrong, "{room} asks {name}");
    }
    let upstairs = BTreeMap::from([("WriteObject".to_owned(), set(&["ipam"]))]);
    let mentioned = BTreeMap::from([("ipam".to_owned(), set(&["WriteObject"]))]);
    assert!(!wrong_floors(&messages, &mentioned, &upstairs).is_empty(), "answered on the wrong floor");
}

#[test]
fn every_request_says_whether_it_may_be_repeated() {
    for message in messages().iter().filter(|message| message.floor.is_some()) {
        let said = ["repeat", "A question", "is success"].iter().any(|words| message.doc.contains(words));
        assert!(
            said,
            "{}: its doc comment says neither that it is a question nor whether to repeat it: {:?}",
            message.name, message.doc
        );
    }
}

#[test]
fn names_say_the_kind() {
    for message in messages() {
        let vague = ["Update", "Handle", "Process", "Manage", "Msg", "Message"];
        assert!(!vague.iter().any(|word| message.name.contains(word)), "{} could mean anything", message.name);
        let question = message.name.starts_with("Describe")
            || message.name.starts_with("List")
            || message.name.starts_with("Load");
        let says_question = message.doc.contains("A question");
        if message.floor.is_some() {
            assert_eq!(
                question, says_question,
                "{}: questions describe, list or load, and say that they are one",
                message.name
            );
        }
    }
}
