"""Runs the commands of the documentation: `make docs-test`.

- The pages of `LOCAL` run against the local stack, the page of the simulator against a simulator of its own.
- The pages of `DEPLOYED` run against a stack that is deployed to an AWS emulator (local/deploy-test).
- Queries run in the database of the same stack, and are rolled back.

All shell blocks run, and the commands and queries in the text of the deployed pages, except those of `NOT_RUN` and those
with a placeholder (`…`). The database server is given in TEST_DATABASE_URL, which `local with-postgres` sets.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import psycopg

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(1, str(ROOT / "local/deploy-test"))
# The SDK wants a region, also for clients without one.
os.environ.setdefault("AWS_DEFAULT_REGION", "us-test-1")

import processes  # noqa: E402
import stack as deployed  # noqa: E402
from pages import snippets  # noqa: E402
from shell import Shell  # noqa: E402

LOCAL = ("README.md", "local/README.md")
SIMULATOR = "local/twilio-simulator/README.md"
# The first one has the shell functions that the other uses.
DEPLOYED = ("common/docs/operations.md", "common/docs/deployment.md")

BUILD = "builds and deploys; `make deploy-test` covers the result, ci builds the functions"
NOT_RUN = {
    # The first line of a snippet, and why it does not run.
    "make deploy STAGE=prod": BUILD,
    'dead=$(aws sqs get-queue-attributes --queue-url "$(resource InboundDeadLetterQueue)" --attribute-names QueueArn \\': (
        "the emulator's SQS has no StartMessageMoveTask"
    ),
    "aws deploy list-deployments --include-only-statuses Stopped Failed": "the emulator has no CodeDeploy",
    "cargo run -p twilio-simulator": "starts the simulator, which runs already",
    "cargo run -p twilio-simulator -- --number '+12035550100=http://127.0.0.1:9000/webhook/twilio/sms#rc=5&rp=all'": (
        "starts the simulator, which runs already"
    ),
}
"""Snippets that do not run, with the reason."""

TIMES = {"2026-11-28T10:00:00Z": 2, "2026-11-28T11:00:00Z": 1}
"""Times in the pages, and how many hours before the test they are there."""

STACK = "sms-foundation-prod"
"""The name that the pages use."""

ACCOUNT = "AC00000000000000000000000000000000"
NUMBER = "+12035550100"
START_SECONDS = 120


class Report:
    def __init__(self):
        self.failed = 0
        self.run = 0
        self.skipped = []
        self.used = set()

    def check(self, snippet, action):
        """Runs a snippet, unless it is not to be run, and prints the result."""
        if snippet.first_line in NOT_RUN:
            self.used.add(snippet.first_line)
            self.skipped.append(f"{snippet.page}:{snippet.line}: {NOT_RUN[snippet.first_line]}")
            return
        if not snippet.is_complete:
            self.skipped.append(f"{snippet.page}:{snippet.line}: has a placeholder: {snippet.first_line}")
            return
        started = time.monotonic()
        problem, output = action(snippet)
        self.run += 1
        self.failed += bool(problem)
        result = "FAIL" if problem else "PASS"
        print(f"{result} {time.monotonic() - started:5.1f} s  {snippet.page}:{snippet.line}: {snippet.first_line}")
        if problem:
            print(f"     {problem}\n{output}".replace("\n", "\n     "))
        sys.stdout.flush()


def in_shell(shell, replaced):
    """Returns an action that runs a snippet in a shell."""

    def action(snippet):
        text = snippet.text
        for old, new in replaced.items():
            text = text.replace(old, new)
        output, failures = shell.run(text)
        # The command-line interface succeeds if a function fails.
        if "FunctionError" in output and not failures:
            failures = "the function failed"
        return failures, output

    return action


def in_database(url, action):
    """Returns an action that runs queries in a database, and everything else with `action`."""

    def query(snippet):
        if not snippet.is_sql:
            return action(snippet)
        try:
            with psycopg.connect(url) as connection:
                connection.execute(snippet.text)
                connection.rollback()
        except psycopg.Error as error:
            return str(error), ""
        return "", ""

    return query


def environment(options, **variables):
    path = f"{options.aws}:/usr/local/bin:/usr/bin:/bin:{os.environ['PATH']}"
    kept = {name: os.environ[name] for name in ("HOME", "CARGO_TARGET_DIR") if name in os.environ}
    return {**kept, "PATH": path, **variables}


def run_local(options, started, report):
    """Starts the local stack in a folder of its own, and runs its pages there."""
    folder = pathlib.Path(started.enter_context(tempfile.TemporaryDirectory(prefix="sms-docs-")))
    # The database server's user needs access.
    folder.chmod(0o755)
    for name in ("template.yaml", "Makefile"):
        shutil.copy(ROOT / name, folder)
    (folder / "target").mkdir()
    (folder / "target/debug").symlink_to(options.binaries.resolve())
    ports = {name: "0" for name in ("SMS_PORT", "SMS_TWILIO_PORT", "SMS_MONITOR_PORT")}
    process = subprocess.Popen(
        [options.tools / "local", "run"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        env=environment(options, **ports),
        start_new_session=True,
        preexec_fn=processes.end_with_parent,
    )
    started.callback(processes.stop, process)
    info = folder / "target/local/stack.json"
    deadline = time.monotonic() + START_SECONDS
    while not info.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the local stack did not start")
        time.sleep(0.1)
    info = json.loads(info.read_text())
    replaced = {
        "http://127.0.0.1:9000": info["api_url"],
        "http://127.0.0.1:9010": info["twilio_api_url"],
        "http://127.0.0.1:9020": info["monitor_api_url"],
    }
    for page in LOCAL:
        shell = Shell(folder, environment(options))
        started.callback(shell.stop)
        for snippet in blocks(page):
            report.check(snippet, in_shell(shell, replaced))


def run_simulator(options, started, report):
    binary = options.tools / "twilio-simulator"
    simulator = processes.Twilio(binary, options.folder, ACCOUNT, ["token"], [], {NUMBER: None})
    started.callback(simulator.stop)
    shell = Shell(options.folder, environment(options))
    started.callback(shell.stop)
    for snippet in blocks(SIMULATOR):
        report.check(snippet, in_shell(shell, {"http://127.0.0.1:9010": simulator.url}))


def blocks(page):
    """Returns the shell blocks of a page, without the commands in its text."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [snippet for snippet in snippets(page, text) if text.splitlines()[snippet.line - 2].strip() == "```sh"]


def deploy(options, started):
    """Deploys the template to the emulator. Returns the emulator, the stack, and the variables for a shell."""
    emulator = processes.Emulator(options.folder)
    started.callback(emulator.stop)
    domain = processes.Domain(emulator)
    started.callback(domain.stop)
    aws = deployed.Aws(emulator.url)
    database = deployed.create_database(os.environ["TEST_DATABASE_URL"], STACK)
    stack = deployed.Stack(aws, STACK, NUMBER, "token", database)
    webhook = f"{domain.url}/webhook/twilio/sms#rc=5&rp=all"
    simulator = options.tools / "twilio-simulator"
    twilio = processes.Twilio(simulator, options.folder, ACCOUNT, [stack.token], [], {stack.number: webhook})
    started.callback(twilio.stop)
    keys = deployed.upload(aws, options.binaries, ROOT / "template.yaml")
    stack.create_secrets()
    parameters = {
        **stack.secrets,
        "TwilioAccountSid": ACCOUNT,
        "TwilioPhoneNumber": stack.number,
        "TwilioApiBaseUrl": twilio.url,
        "TwilioMessagingApiBaseUrl": twilio.url,
        "PublicWebhookBaseUrl": domain.url,
    }
    stack.deploy(ROOT / "template.yaml", keys, parameters)
    stack.invoke("MigrateFunction", {})
    domain.route("/webhook/twilio/sms", stack.outputs["InboundSmsWebhookUrl"])
    domain.route("/webhook/twilio/status", stack.outputs["DeliveryStatusWebhookUrl"])
    variables = {
        "AWS_ENDPOINT_URL": emulator.url,
        "AWS_REGION": processes.REGION,
        "AWS_DEFAULT_REGION": processes.REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_PAGER": "",
        "AWS_MAX_ATTEMPTS": "1",
        # What an operator knows.
        "DATABASE_URL": database,
        "TWILIO_AUTH_TOKEN": stack.token,
    }
    return stack, variables


def run_deployed(options, started, report):
    stack, variables = deploy(options, started)
    shell = Shell(options.folder, environment(options, **variables))
    started.callback(shell.stop)
    now = datetime.datetime.now(datetime.UTC)
    times = {text: f"{now - datetime.timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}" for text, hours in TIMES.items()}
    for page in DEPLOYED:
        for snippet in snippets(page, (ROOT / page).read_text(encoding="utf-8")):
            report.check(snippet, in_database(stack.database, in_shell(shell, times)))


def main():
    parser = argparse.ArgumentParser(prog="docs-test", description=__doc__)
    parser.add_argument("--binaries", type=pathlib.Path, default=ROOT / "target/debug", help="the functions")
    parser.add_argument("--tools", type=pathlib.Path, default=ROOT / "target/debug", help="`local` and the simulator")
    parser.add_argument("--aws", type=pathlib.Path, required=True, help="the folder of the command `aws`")
    parser.add_argument("--only", choices=("local", "simulator", "deployed"), help="runs only these pages")
    options = parser.parse_args()
    options.folder = ROOT / "target/docs-test"
    options.folder.mkdir(parents=True, exist_ok=True)
    report = Report()
    for name, run in (("local", run_local), ("simulator", run_simulator), ("deployed", run_deployed)):
        if options.only in (None, name):
            with contextlib.ExitStack() as started:
                run(options, started, report)
    print(f"\n{report.run} snippets ran, {report.failed} failed. Not run:")
    print("\n".join(f"  {line}" for line in report.skipped))
    unused = [] if options.only else sorted(set(NOT_RUN) - report.used)
    if unused:
        print(f"No page has these snippets of NOT_RUN: {unused}")
    sys.exit(bool(report.failed or unused))


main()
