//! `mkube check-config`: of the controller's file, and of the registry's.

use mkube_model::settings::{Overrides, is_registry_file};

use crate::cli::{CheckConfigArgs, OutputFormat};
use crate::failure::{Failure, INTERNAL};
use crate::{say, settings_file};

/// Prints the effective configuration, or every problem in it.
pub fn main(args: &CheckConfigArgs) -> Result<(), Failure> {
    let value = match is_registry_file(&settings_file::value(&args.file)?) {
        true => serde_json::to_value(settings_file::load_registry(Some(&args.file), Overrides::none())?),
        false => serde_json::to_value(settings_file::load(&args.file, false, Overrides::none())?),
    };
    let value = value.map_err(|error| Failure::new(INTERNAL, error))?;
    say::print(match args.output {
        OutputFormat::Json => format!("{value:#}\n"),
        _ => mkube_manifests::to_yaml(&value),
    })
}
