//! The same walk with the queues on an SQS server that this project did not write.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::happy_path::walk;
use crate::stack::Setup;

/// moto in its server mode, which speaks SQS's protocol: <https://docs.getmoto.org/en/latest/docs/server_mode.html>.
struct Moto {
    process: Child,
    url: String,
}

impl Moto {
    fn start(python: &Path) -> Self {
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]);
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

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_is_the_same_with_the_queues_on_motos_server() {
    let Some(python) = testing::python("the_walk_is_the_same_with_the_queues_on_motos_server") else {
        return;
    };
    let moto = Moto::start(&python);
    let stack = Setup::as_deployed().with("AWS_ENDPOINT_URL_SQS", &moto.url).start().await;
    assert!(stack.info.queues.values().all(|url| url.starts_with(&moto.url)), "{:?}", stack.info.queues);
    walk(&stack).await;
}
