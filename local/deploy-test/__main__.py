"""Deploys template.yaml to an AWS emulator and checks that the deployed service works: `make deploy-test`.

The database server is given in TEST_DATABASE_URL, which `local with-postgres` sets.
"""

import argparse
import collections
import contextlib
import os
import pathlib
import signal
import sys
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOG_LINES = 40


class World:
    """The emulator, the simulator of Twilio, and two stacks."""

    account = "AC00000000000000000000000000000000"

    def __init__(self, options):
        self.options = options
        self.folder = ROOT / "target" / "deploy-test"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.started = contextlib.ExitStack()
        self.keys = {}
        self.queues = {}

    def start(self):
        self.emulator = self.keep(processes.Emulator(self.folder))
        self.domain = self.keep(processes.Domain(self.emulator))
        self.aws = Aws(self.emulator.url)
        server = os.environ["TEST_DATABASE_URL"]
        # The first stack has its own domain, and an API key for REST calls; the second has neither.
        api_key = f"SK{'0' * 32}:secret-of-the-api-key"
        database = create_database(server, "first")
        self.first = Stack(self.aws, "first", "+12035550100", "token-of-first", database, api_key)
        self.first.base = self.domain.url
        self.second = Stack(self.aws, "second", "+12035550101", "token-of-second", create_database(server, "second"))
        numbers = {self.first.number: f"{self.domain.url}{checks.INBOUND_PATH}#rc=5&rp=all", self.second.number: None}
        tokens = [self.first.token, self.second.token]
        binary = self.options.tools / "twilio-simulator"
        self.twilio = self.keep(processes.Twilio(binary, self.folder, self.account, tokens, [api_key], numbers))

    def keep(self, process):
        self.started.callback(process.stop)
        return process

    def upload(self):
        self.keys = upload(self.aws, self.options.binaries, self.options.template)

    def secrets(self):
        self.first.create_secrets()
        self.second.create_secrets()

    def create_destinations(self):
        """Creates what an installation brings along: a subscriber's queue, and a topic for alarms."""
        sqs, sns = self.aws.client("sqs"), self.aws.client("sns")
        url = self.queues["subscriber"] = sqs.create_queue(QueueName="subscriber")["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        self.subscriber_arn = attributes["QueueArn"]
        self.topic_arn = sns.create_topic(Name="alarms")["TopicArn"]

    def deploy(self, stack):
        parameters = {
            **stack.secrets,
            "TwilioAccountSid": self.account,
            "TwilioPhoneNumber": stack.number,
            "TwilioApiBaseUrl": self.twilio.url,
            "TwilioMessagingApiBaseUrl": self.twilio.url,
            "PublicWebhookBaseUrl": stack.base,
            "SubscriberQueueArns": self.subscriber_arn,
            "AlarmTopicArn": self.topic_arn,
        }
        if not stack.base:
            del parameters["PublicWebhookBaseUrl"]
        stack.deploy(self.options.template, self.keys, parameters)
        if stack is self.first:
            self.domain.route(checks.INBOUND_PATH, stack.outputs["InboundSmsWebhookUrl"])
            self.domain.route(checks.STATUS_PATH, stack.outputs["DeliveryStatusWebhookUrl"])


class Report:
    """Prints a line for each step."""

    def __init__(self):
        self.failed = []

    def step(self, name, action):
        started = time.monotonic()
        try:
            action()
        except Exception as error:
            self.failed.append(name)
            self.line("FAIL", started, name)
            if isinstance(error, Failed):
                print(f"      {error}".replace("\n", "\n      "), flush=True)
            else:
                traceback.print_exc(file=sys.stdout)
            return False
        self.line("PASS", started, name)
        return True

    @staticmethod
    def line(result, started, name):
        print(f"{result} {time.monotonic() - started:6.1f} s  {name}", flush=True)


def run(world, report):
    started = time.monotonic()
    for name, action in (
        ("start the emulator and the simulator of Twilio", world.start),
        ("upload the functions' binaries", world.upload),
        ("create the secrets", world.secrets),
        ("create a subscriber's queue and a topic for alarms", world.create_destinations),
        ("deploy the first stack", lambda: world.deploy(world.first)),
    ):
        if not report.step(name, action):
            return
    check = checks.Checks(world)
    for name, action in (
        ("invoke migrate", lambda: check.migrate(world.first)),
        ("invoke manage-keys", lambda: check.manage_keys(world.first)),
        ("health reports that all peers work", check.health),
        ("an inbound text from the simulator becomes a row", check.inbound),
        ("a signature of Twilio's SDK is accepted, a wrong one is not", check.sdk_signature),
        ("a send through the gateway reaches the handset", check.send),
        ("the status callback arrives at its function URL", check.callback),
        ("the conversation has the sent message", check.conversation),
        ("a subscriber's queue gets signed events", check.subscription),
        ("every route exists, and needs a key if it is not public", check.routes),
        ("a function reads its secrets at run time, and no others", check.secrets),
        ("IAM is enforced on calls of functions", check.iam),
        ("a function sends to its queues and receives from none", check.least_privilege),
        ("queues refuse calls without TLS", check.tls),
        ("poison records go to the dead-letter queue", check.poison),
        ("alarms have the dimensions of the metrics", check.alarm_dimensions),
        ("a second stack works next to the first", check.second_stack),
        ("the second stack's callbacks go to its own function URL", check.second_callback),
        ("the stacks share nothing", check.isolation),
        ("a scheduled run that fails has a record in the queue of failed schedules", check.failure_destination),
        ("a deleted stack keeps its queues and leaves the other alone", check.delete_second),
        ("a schedule runs", check.schedule),
        ("a rotated token is accepted without a deployment", check.rotation),
    ):
        if not report.step(name, action) and world.options.fail_fast:
            break
    print(f"{time.monotonic() - started:.0f} s in all", flush=True)


def print_logs(world):
    for name in ("emulator", "twilio"):
        path = world.folder / f"{name}.log"
        if path.exists():
            print(f"\n--- The last lines of {path}")
            lines = path.read_text(errors="replace").splitlines()
            # The emulator repeats what the functions write.
            lines = [line for line in lines if line.strip() and not line.startswith("{")]
            print("\n".join(lines[-LOG_LINES:]))
    for stack in (getattr(world, "first", None), getattr(world, "second", None)):
        with contextlib.suppress(Exception):
            print_problems(stack)


def print_problems(stack):
    """Prints the warnings and errors of a stack's functions, and how often each was written."""
    lines = [line for line in stack.logs() if line.get("level") in ("ERROR", "WARN")]
    kept = ("level", "service", "message", "error")
    counted = collections.Counter(tuple(str(line.get(name, "")) for name in kept) for line in lines)
    print(f"\n--- Warnings and errors of the functions of {stack.name}")
    for problem, count in counted.most_common(LOG_LINES):
        print(f"{count:4} x {' | '.join(problem)}")


def main():
    parser = argparse.ArgumentParser(prog="deploy-test", description=__doc__)
    parser.add_argument("--binaries", type=pathlib.Path, default=ROOT / "target/release", help="the functions")
    parser.add_argument("--tools", type=pathlib.Path, default=ROOT / "target/debug", help="the simulator of Twilio")
    parser.add_argument("--template", type=pathlib.Path, default=ROOT / "template.yaml")
    parser.add_argument("--fail-fast", action="store_true", help="stop after the first check that fails")
    world = World(parser.parse_args())
    report = Report()
    # So that the processes are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with world.started:
        run(world, report)
        if report.failed:
            print_logs(world)
    if report.failed:
        print("\nFailed: " + "; ".join(report.failed))
    sys.exit(bool(report.failed))


# The SDK wants a region, also for clients without one.
os.environ.setdefault("AWS_DEFAULT_REGION", "us-test-1")

import checks  # noqa: E402
import processes  # noqa: E402
from stack import Aws, Failed, Stack, create_database, upload  # noqa: E402

main()
