//! `mkube get`: objects as tables, as text, or as they change.

use reqwest::Method;
use serde_json::Value;

use super::api::{Api, block_on, encoded};
use super::columns::Columns;
use super::look::Look;
use super::output::{Output, list_of};
use super::targets::{self, Target};
use super::watch;
use crate::cli::GetArgs;
use crate::failure::{Failure, USAGE};
use crate::say::print;
use crate::{images, volumes};

/// What kubectl accepts for a table.
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
pub const JSON: &str = "application/json";

/// `mkube get`.
pub fn get(args: &GetArgs, look: Look) -> Result<(), Failure> {
    let api = Api::new(&args.reach.server)?;
    block_on(async {
        let namespace = api.namespace(args.reach.namespace.as_deref());
        let kind = args.what.words.first().map(String::as_str).unwrap_or_default();
        let (name, many) = (args.what.words.get(1).map(String::as_str), args.what.words.len() > 2);
        if images::is_meant(kind) || volumes::is_meant(kind) {
            if many || args.watch || args.chosen.selector.is_some() || args.chosen.field_selector.is_some() {
                let why = format!("{kind} are no objects: one is named at most, and nothing selects or watches them");
                return Err(Failure::text(USAGE, why));
            }
            if images::is_meant(kind) {
                return images::get(&api, name, &args.output).await;
            }
            let namespace = (!args.chosen.all_namespaces).then_some(namespace);
            return volumes::get(&api, namespace, name, &args.output).await;
        }
        let found = targets::of(&api, &args.what.words, &args.what.filename).await?;
        let asked = Asked { api: &api, args, namespace: namespace.to_owned(), look, many: found.len() > 1 };
        if args.watch {
            let [target] = found.as_slice() else {
                return Err(Failure::text(USAGE, "one kind is watched at a time"));
            };
            return watch::watch(&asked, target).await;
        }
        match &args.output {
            Output::Table | Output::Wide => asked.tables(&found).await,
            Output::Name => asked.names(&found).await,
            output => {
                let value = asked.value(&found).await?;
                if let Some(text) = output.text(&value) {
                    print(&text)?;
                }
                Ok(())
            }
        }
    })
}

/// A question, and how the answer is wanted.
pub struct Asked<'a> {
    pub api: &'a Api,
    pub args: &'a GetArgs,
    pub namespace: String,
    pub look: Look,
    /// Several kinds: names are shown with theirs.
    pub many: bool,
}

impl Asked<'_> {
    /// The namespace a target is looked for in; none: all of them.
    pub fn namespace_of<'t>(&'t self, target: &'t Target) -> Option<&'t str> {
        let of_manifest = target.namespace.as_deref();
        (!self.args.chosen.all_namespaces).then(|| of_manifest.unwrap_or(&self.namespace))
    }

    /// The selectors, and more.
    pub fn query(&self, more: &[String]) -> String {
        let pair =
            |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name}={}", encoded(value)));
        let chosen = [
            pair("labelSelector", &self.args.chosen.selector),
            pair("fieldSelector", &self.args.chosen.field_selector),
        ];
        let all: Vec<String> = chosen.into_iter().flatten().chain(more.iter().cloned()).collect();
        if all.is_empty() { String::new() } else { format!("?{}", all.join("&")) }
    }

    /// The answers about a target: a list, or each of the named ones. Those that are not there are said at the end.
    async fn answers(&self, target: &Target, accept: &str, missing: &mut Vec<Failure>) -> Result<Vec<Value>, Failure> {
        let namespace = self.namespace_of(target);
        if target.names.is_empty() {
            let path = target.resource.path(namespace, None) + &self.query(&[]);
            return Ok(vec![self.api.get_json(&path, accept).await?]);
        }
        if self.args.chosen.selector.is_some() || self.args.chosen.field_selector.is_some() {
            return Err(Failure::text(USAGE, "names and selectors do not go together"));
        }
        if namespace.is_none() && target.resource.namespaced {
            return Err(Failure::text(USAGE, "an object is named in one namespace: -n, not -A"));
        }
        let mut found = Vec::new();
        for name in &target.names {
            let path = target.resource.path(namespace, Some(name));
            let (code, body) = self.api.json(self.api.request(Method::GET, &path).header("accept", accept)).await?;
            if code == 404 && self.args.ignore_not_found {
                continue;
            }
            match self.api.accepted((code, body)) {
                Ok(body) => found.push(body),
                Err(failure) if code == 404 => missing.push(failure),
                Err(failure) => return Err(failure),
            }
        }
        Ok(found)
    }

    async fn tables(&self, targets: &[Target]) -> Result<(), Failure> {
        let mut missing = Vec::new();
        let mut shown = 0;
        for target in targets {
            let answers = self.answers(target, TABLE, &mut missing).await?;
            let Some(mut table) = self.table(target, answers.first()) else { continue };
            let rows: Vec<Vec<String>> = answers.iter().flat_map(|answer| table.rows(answer)).collect();
            if rows.is_empty() {
                continue;
            }
            let mut lines = if shown > 0 { vec![String::new()] } else { Vec::new() };
            if !self.args.no_headers {
                lines.push(table.columns.heading(&rows));
            }
            lines.extend(table.columns.lines(&rows));
            print(&(lines.join("\n") + "\n"))?;
            shown += 1;
        }
        if shown == 0 && missing.is_empty() && !self.args.ignore_not_found {
            let inside = targets.iter().any(|one| one.resource.namespaced) && !self.args.chosen.all_namespaces;
            let place = if inside { format!(" in {} namespace", self.namespace) } else { String::new() };
            eprintln!("No resources found{place}.");
        }
        end(missing)
    }

    /// What prints rows of a kind, once the first answer has told its columns.
    pub fn table(&self, target: &Target, first: Option<&Value>) -> Option<TableOf> {
        let definitions = first?["columnDefinitions"].as_array().cloned().unwrap_or_default();
        let wide = self.args.output == Output::Wide;
        let text = |one: &Value| one["name"].as_str().unwrap_or_default().to_owned();
        let shown: Vec<usize> =
            (0..definitions.len()).filter(|index| wide || definitions[*index]["priority"] == 0).collect();
        let name = definitions.iter().position(|one| text(one) == "Name");
        let with_namespace = self.args.chosen.all_namespaces && target.resource.namespaced;
        let mut headings: Vec<String> = shown.iter().map(|index| text(&definitions[*index]).to_uppercase()).collect();
        if with_namespace {
            headings.insert(0, "NAMESPACE".to_owned());
        }
        if self.args.show_labels {
            headings.push("LABELS".to_owned());
        }
        Some(TableOf {
            columns: Columns::new(headings, self.look.out),
            shown,
            name,
            prefix: self.many.then(|| target.resource.singular.clone()),
            with_namespace,
            with_labels: self.args.show_labels,
        })
    }

    async fn names(&self, targets: &[Target]) -> Result<(), Failure> {
        let mut missing = Vec::new();
        let mut text = String::new();
        for target in targets {
            for object in self.answers(target, JSON, &mut missing).await?.into_iter().flat_map(items) {
                text += &format!(
                    "{}/{}\n",
                    target.resource.singular,
                    object["metadata"]["name"].as_str().unwrap_or_default()
                );
            }
        }
        print(&text)?;
        end(missing)
    }

    /// One object as it is, several as a list.
    async fn value(&self, targets: &[Target]) -> Result<Value, Failure> {
        let mut missing = Vec::new();
        let mut found = Vec::new();
        for target in targets {
            for mut answer in self.answers(target, JSON, &mut missing).await? {
                if let Some(meta) = answer.get_mut("metadata").and_then(Value::as_object_mut)
                    && !self.args.show_managed_fields
                {
                    meta.remove("managedFields");
                }
                found.push(answer);
            }
        }
        if let Some(failure) = missing.into_iter().next() {
            return Err(failure);
        }
        let single = targets.len() == 1 && found.len() == 1;
        if single { Ok(found.remove(0)) } else { Ok(list_of(found.into_iter().flat_map(items).collect())) }
    }
}

fn items(answer: Value) -> Vec<Value> {
    let (kind, version) = (answer["kind"].clone(), answer["apiVersion"].clone());
    let listed = kind.as_str().and_then(|kind| kind.strip_suffix("List")).filter(|_| answer["items"].is_array());
    let Some(kind) = listed else { return vec![answer] };
    let all = answer["items"].as_array().cloned().unwrap_or_default();
    // Objects of a list need not say what they are.
    let told = |mut one: Value| {
        if one.is_object() && one.get("kind").is_none() {
            one["kind"] = kind.into();
            one["apiVersion"] = version.clone();
        }
        one
    };
    all.into_iter().map(told).collect()
}

/// Says all that is missing; the last word is the command's.
fn end(missing: Vec<Failure>) -> Result<(), Failure> {
    let mut missing = missing.into_iter();
    let Some(last) = missing.next_back() else { return Ok(()) };
    missing.for_each(|one| one.say());
    Err(last)
}

/// Prints rows of one kind.
pub struct TableOf {
    pub columns: Columns,
    shown: Vec<usize>,
    name: Option<usize>,
    prefix: Option<String>,
    with_namespace: bool,
    with_labels: bool,
}

impl TableOf {
    /// The cells of every row of a table.
    pub fn rows(&self, table: &Value) -> Vec<Vec<String>> {
        table["rows"].as_array().into_iter().flatten().map(|row| self.row(row)).collect()
    }

    fn row(&self, row: &Value) -> Vec<String> {
        let mut cells: Vec<String> = Vec::new();
        if self.with_namespace {
            cells
                .push(row.pointer("/object/metadata/namespace").and_then(Value::as_str).unwrap_or_default().to_owned());
        }
        for index in &self.shown {
            let cell = match &row["cells"][*index] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            cells.push(match &self.prefix {
                Some(kind) if Some(*index) == self.name => format!("{kind}/{cell}"),
                _ => cell,
            });
        }
        if self.with_labels {
            let labels = row.pointer("/object/metadata/labels").and_then(Value::as_object);
            let pair = |(name, value): (&String, &Value)| format!("{name}={}", value.as_str().unwrap_or_default());
            let all: Vec<String> = labels.into_iter().flatten().map(pair).collect();
            cells.push(if all.is_empty() { "<none>".to_owned() } else { all.join(",") });
        }
        cells
    }
}
