"""Breaks the template in one place at a time, and requires that `deploy-test` notices: `make deploy-test PROVE=1`."""

import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

REFUSED = """\
      MetricName: webhooks_refused
      Dimensions: [{Name: stack, Value: !Ref "AWS::StackName"}, {Name: service, Value: """

BREAKS = (
    # What is broken, the text in the template, its replacement, and a part of the name of a check that must fail.
    (
        "a policy: record-inbound may poll another queue",
        "        - SQSPollerPolicy: {QueueName: !GetAtt InboundQueue.QueueName}\n",
        "        - SQSPollerPolicy: {QueueName: !GetAtt StatusQueue.QueueName}\n",
        "poison records",
    ),
    (
        "a policy: record-inbound may read Twilio's auth token",
        "        - SQSPollerPolicy: {QueueName: !GetAtt InboundQueue.QueueName}\n",
        "        - SQSPollerPolicy: {QueueName: !GetAtt InboundQueue.QueueName}\n        - !Ref ReadTwilioSecret\n",
        "a function reads its secrets",
    ),
    (
        "a variable: send-sms puts its messages on another queue",
        "          OUTBOUND_QUEUE_URL: !Ref OutboundQueue\n          SQS_SEND_BUDGET_MS: \"1000\"\n",
        "          OUTBOUND_QUEUE_URL: !Ref IdentifyQueue\n          SQS_SEND_BUDGET_MS: \"1000\"\n",
        "a send through the gateway",
    ),
    (
        "a route: another path for sends",
        "Properties: {ApiId: !Ref Api, Method: POST, Path: /sms/send}",
        "Properties: {ApiId: !Ref Api, Method: POST, Path: /sms/sent}",
        "a send through the gateway",
    ),
    (
        "an authorizer: conversations need no key",
        "Properties: {ApiId: !Ref Api, Method: GET, Path: \"/conversations\"}",
        "Properties: {ApiId: !Ref Api, Method: GET, Path: \"/conversations\", Auth: {Authorizer: NONE}}",
        "every route exists",
    ),
    (
        "a dimension: an alarm watches the metric of another service",
        REFUSED + "delivery-status}]",
        REFUSED + "record-status}]",
        "alarms have the dimensions",
    ),
    (
        "a schedule: retry-sends is disabled",
        "            ScheduleExpression: rate(1 minute)\n",
        "            ScheduleExpression: rate(1 minute)\n            State: DISABLED\n",
        "a schedule runs",
    ),
    (
        "a fixed name: two stacks with the same log group",
        "      RetentionInDays: !Ref LogRetentionDays\n",
        "      RetentionInDays: !Ref LogRetentionDays\n      LogGroupName: /sms\n",
        "a second stack",
    ),
)


def main():
    template = (ROOT / "template.yaml").read_text(encoding="utf-8")
    missed = []
    for name, text, replacement, check in BREAKS:
        if text not in template:
            missed.append(f"{name}: the template does not contain {text!r}")
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(template.replace(text, replacement, 1))
            file.flush()
            run = subprocess.run(
                [sys.executable, str(HERE), "--template", file.name, *sys.argv[1:]],
                stdout=subprocess.PIPE,
                text=True,
            )
        failed = [line for line in run.stdout.splitlines() if line.startswith("FAIL")]
        noticed = run.returncode != 0 and any(check in line for line in failed)
        print(f"{'noticed' if noticed else 'MISSED '}  {name}\n          " + "\n          ".join(failed), flush=True)
        if not noticed:
            missed.append(name)
    sys.exit("\n".join(missed) or 0)


main()
