//! The configuration file, together with environment and flags.

use std::path::Path;

use mkube_model::settings::{self, Overrides, RegistryServerSettings, Settings, SettingsProblem, Warning};
use serde_json::Value;

use crate::failure::{CONFIGURATION, Failure};

/// Reads and checks a configuration; warnings are logged. A missing file is refused unless `optional`.
pub fn load(path: &Path, optional: bool, flags: Overrides) -> Result<Settings, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && optional => {
            tracing::warn!(file = %path.display(), "there is no configuration file, defaults are used");
            String::new()
        }
        Err(error) => {
            let failure = Failure::text(CONFIGURATION, format!("{}: {error}", path.display()));
            return Err(failure.hint("an example with every key is deploy/config.yaml"));
        }
    };
    checked(path, settings::check(parsed(path, &text)?, &environment, flags))
}

/// Reads and checks a configuration of the registry, or flags alone; warnings are logged.
pub fn load_registry(path: Option<&Path>, flags: Overrides) -> Result<RegistryServerSettings, Failure> {
    let Some(path) = path else {
        return checked(Path::new("the command line"), settings::check_registry(Value::Null, &environment, flags));
    };
    let value = value(path)?;
    // An empty file is a file.
    let value = if value.is_null() { Value::Object(serde_json::Map::new()) } else { value };
    checked(path, settings::check_registry(value, &environment, flags))
}

/// What a file holds, unchecked.
pub fn value(path: &Path) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::text(CONFIGURATION, format!("{}: {error}", path.display())))?;
    parsed(path, &text)
}

fn parsed(path: &Path, text: &str) -> Result<Value, Failure> {
    mkube_manifests::parse_one(text)
        .map_err(|fault| Failure::text(CONFIGURATION, format!("{}: {fault}", path.display())))
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn checked<S>(path: &Path, result: Result<(S, Vec<Warning>), Vec<SettingsProblem>>) -> Result<S, Failure> {
    match result {
        Ok((settings, warnings)) => {
            for warning in warnings {
                tracing::warn!(file = %path.display(), "{warning}");
            }
            Ok(settings)
        }
        Err(problems) => {
            let list: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
            let count = problems.len();
            let noun = if count == 1 { "problem" } else { "problems" };
            let text = format!("{} has {count} {noun}:\n{}", path.display(), list.join("\n"));
            Err(Failure::text(CONFIGURATION, text).hint("`mkube check-config FILE` shows the effective configuration"))
        }
    }
}
