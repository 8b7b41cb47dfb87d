//! How objects are printed: `-o` of the commands that show some.

use clap::builder::PossibleValue;
use serde_json::{Value, json};

use super::custom_columns::CustomColumns;
use super::jsonpath::Template;

/// What `-o` asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Columns.
    Table,
    /// More columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Kind and name.
    Name,
    /// What a template says.
    JsonPath(Template),
    /// A table of what these paths find.
    Columns(CustomColumns),
}

/// What there is, for whoever asks for something else.
const FORMS: &str = "it is one of table, wide, json, yaml, name, jsonpath=TEMPLATE, custom-columns=HEADING:PATH,…";

impl Output {
    /// The text of a value, with the end of its line; nothing for tables, which need more than the value.
    pub fn text(&self, value: &Value) -> Option<String> {
        match self {
            Self::Table | Self::Wide | Self::Name => None,
            Self::Json => Some(format!("{value:#}\n")),
            Self::Yaml => Some(mkube_manifests::to_yaml(value)),
            Self::JsonPath(template) => Some(template.render(value)),
            Self::Columns(columns) => Some(columns.render(value)),
        }
    }
}

/// Reads `-o`.
#[derive(Debug, Clone)]
pub struct OutputParser;

impl clap::builder::TypedValueParser for OutputParser {
    type Value = Output;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Output, clap::Error> {
        let text = value.to_string_lossy();
        let refused = |why: String| {
            let flag = arg.map(ToString::to_string).unwrap_or_default();
            let text = format!("invalid value '{text}' for '{flag}': {why}\n");
            clap::Error::raw(clap::error::ErrorKind::InvalidValue, text).with_cmd(command)
        };
        match text.split_once('=') {
            None => match &*text {
                "table" => Ok(Output::Table),
                "wide" => Ok(Output::Wide),
                "json" => Ok(Output::Json),
                "yaml" => Ok(Output::Yaml),
                "name" => Ok(Output::Name),
                "jsonpath" => Err(refused("write jsonpath='{.metadata.name}'".to_owned())),
                "custom-columns" => Err(refused("write custom-columns=NAME:.metadata.name".to_owned())),
                _ => Err(refused(FORMS.to_owned())),
            },
            Some(("jsonpath", template)) => Template::parse(template).map(Output::JsonPath).map_err(refused),
            Some(("custom-columns", text)) => CustomColumns::parse(text).map(Output::Columns).map_err(refused),
            Some(_) => Err(refused(FORMS.to_owned())),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let all = ["table", "wide", "json", "yaml", "name", "jsonpath=", "custom-columns="];
        Some(Box::new(all.into_iter().map(PossibleValue::new)))
    }
}

/// Several objects as one, as kubectl prints them.
pub fn list_of(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items})
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::builder::TypedValueParser;

    fn read(text: &str) -> Result<Output, String> {
        let parsed = OutputParser.parse_ref(&clap::Command::new("get"), None, text.as_ref());
        parsed.map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_is_read_and_others_are_refused_with_what_there_is() {
        assert_eq!(read("wide"), Ok(Output::Wide));
        let path = read("jsonpath={.metadata.name}").expect("a template");
        assert_eq!(path.text(&json!({"metadata": {"name": "x"}})).as_deref(), Some("x"));
        for (text, words) in [
            ("xml", "table, wide, json, yaml, name, jsonpath="),
            ("jsonpath", "write jsonpath="),
            ("jsonpath={.a", "without its }"),
            ("go-template={{.x}}", "it is one of"),
        ] {
            assert!(read(text).expect_err(text).contains(words), "{text}");
        }
    }
}
