//! The message flow with queues on another SQS server, moto.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::happy_path::check_message_flow;
use crate::stack::Setup;

/// moto in server mode: <https://docs.getmoto.org/en/latest/docs/server_mode.html>.
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
        let url = url.expect("moto did not print its address");
        // moto logs each request. Read the lines so that the pipe does not fill up.
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
async fn the_message_flow_works_with_moto() {
    let Some(python) = testing::python("the_message_flow_works_with_moto") else {
        return;
    };
    let moto = Moto::start(&python);
    let stack = Setup::as_deployed().with("AWS_ENDPOINT_URL_SQS", &moto.url).start().await;
    assert!(stack.info.queues.values().all(|url| url.starts_with(&moto.url)), "{:?}", stack.info.queues);
    check_message_flow(&stack).await;
}
