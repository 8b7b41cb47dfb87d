//! `mkube check-config`.

use mkube_model::settings::Overrides;

use crate::cli::{CheckConfigArgs, OutputFormat};
use crate::failure::{Failure, INTERNAL};
use crate::settings_file;

/// Prints the effective configuration, or every problem in it.
pub fn main(args: &CheckConfigArgs) -> Result<(), Failure> {
    let settings = settings_file::load(&args.file, false, Overrides::none())?;
    let value = serde_json::to_value(&settings).map_err(|error| Failure::new(INTERNAL, error))?;
    match args.output {
        OutputFormat::Json => println!("{value:#}"),
        _ => print!("{}", mkube_manifests::to_yaml(&value)),
    }
    Ok(())
}
