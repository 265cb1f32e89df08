//! Twilio's own SDK against the simulator's own binary.

use std::process::{Command, Output};

#[test]
fn twilios_python_sdk_works_against_it() {
    let Some(python) = testing::python("twilios_python_sdk_works_against_it") else { return };
    let mut script = Command::new(python);
    script.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/twilio/sdk.py"));
    script.arg(env!("CARGO_BIN_EXE_twilio-simulator"));
    let output = run(script, "use the simulator through Twilio's SDK");
    assert!(String::from_utf8_lossy(&output.stdout).contains("all well"));
}

fn run(mut command: Command, what: &str) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("cannot {what}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "cannot {what}:\n{out}{err}");
    output
}
