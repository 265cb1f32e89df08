//! Describes the machine of the measurements.

use std::process::Command;

/// Prints the processor, kernel, compiler and load.
pub fn print() {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "machine cpu=\"{}\" cores={cores} kernel={}",
        model.map_or("unknown", |(_, name)| name),
        kernel.trim()
    );
    println!("compiler {}", output("rustc", "--version"));
    println!(
        "load_average {} (other processes make the results worse)",
        load.split(' ').next().unwrap_or("?")
    );
}

fn output(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
