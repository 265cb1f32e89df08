//! Twilio's own SDK against the simulator's own binary.

use std::path::Path;
use std::process::{Command, Output};

/// The release whose validator and client judge the simulator.
const SDK: &str = "twilio==9.13.0";

#[test]
fn twilios_python_sdk_works_against_it() {
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("twilio-sdk-9.13.0");
    if !packages.join("twilio").is_dir() {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", SDK, "--target"])
            .arg(&packages);
        run(pip, "install Twilio's SDK with pip, which needs python3 with pip and PyPI once");
    }
    let mut script = Command::new("python3");
    script.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/twilio/sdk.py"));
    script.arg(env!("CARGO_BIN_EXE_twilio-simulator")).env("PYTHONPATH", &packages);
    let output = run(script, "use the simulator through Twilio's SDK");
    assert!(String::from_utf8_lossy(&output.stdout).contains("all well"));
}

fn run(mut command: Command, what: &str) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("cannot {what}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "cannot {what}:\n{out}{err}");
    output
}
