//! The awf-probe command.

use std::process::ExitCode;

fn main() -> ExitCode {
    awf_probe::entry::main()
}
