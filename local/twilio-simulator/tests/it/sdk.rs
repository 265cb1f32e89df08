//! Twilio's Python SDK against the simulator's binary.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

#[test]
fn the_twilio_python_sdk_works_with_the_simulator() {
    let python = std::env::var_os("TEST_PYTHON").map(PathBuf::from).filter(|python| python.exists());
    let Some(python) = python else {
        // Not `eprintln!`: the test harness captures it.
        let _ =
            writeln!(std::io::stderr(), "\nSKIPPED sdk.py: TEST_PYTHON names no Python with Twilio's SDK");
        return;
    };
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/sdk.py"))
        .arg(env!("CARGO_BIN_EXE_twilio-simulator"))
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("all checks passed"), "sdk.py failed:\n{out}{err}");
}
