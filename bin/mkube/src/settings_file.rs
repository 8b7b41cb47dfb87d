//! The configuration file, together with environment and flags.

use std::path::Path;

use mkube_model::settings::{self, Overrides, Settings};

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
    let value = mkube_manifests::parse_one(&text)
        .map_err(|fault| Failure::text(CONFIGURATION, format!("{}: {fault}", path.display())))?;
    let env = |name: &str| std::env::var(name).ok();
    match settings::check(value, &env, flags) {
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
