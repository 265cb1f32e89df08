//! The same walk with the queues on an SQS server that this project did not write.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::happy_path::walk;
use crate::stack::Setup;

/// The release of moto, whose server speaks SQS's protocol: <https://docs.getmoto.org/en/latest/docs/server_mode.html>.
const MOTO: &str = "moto[server]==5.2.5";

/// moto in its server mode.
struct Moto {
    process: Child,
    url: String,
}

impl Moto {
    fn start() -> Self {
        let mut command = Command::new("python3");
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]).env("PYTHONPATH", packages());
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap());
        let mut lines = lines.lines().map_while(Result::ok);
        let url = lines.find_map(|line| line.split_once("Running on ").map(|(_, url)| url.trim().to_owned()));
        let url = url.expect("moto ended without saying where it listens");
        // It logs each request: somebody has to take the lines.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, url }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where moto is installed, once per checkout.
fn packages() -> PathBuf {
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moto-5.2.5");
    if !packages.join("moto").is_dir() {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", MOTO, "--target"])
            .arg(&packages);
        let output = pip
            .output()
            .unwrap_or_else(|error| panic!("python3 with pip is needed to install {MOTO}: {error}"));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cannot install {MOTO} with pip, which needs PyPI once:\n{told}");
    }
    packages
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_is_the_same_with_the_queues_on_motos_server() {
    let moto = Moto::start();
    let stack = Setup::as_deployed().with("AWS_ENDPOINT_URL_SQS", &moto.url).start().await;
    assert!(stack.info.queues.values().all(|url| url.starts_with(&moto.url)), "{:?}", stack.info.queues);
    walk(&stack).await;
}
