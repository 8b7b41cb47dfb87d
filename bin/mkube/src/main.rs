//! The one binary: picks the subcommand, everything else is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    mkube::main()
}
