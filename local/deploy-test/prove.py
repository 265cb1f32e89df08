"""Breaks the template in one place at a time, and requires that `deploy-test` notices: `make deploy-test PROVE=1`."""

import argparse
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

REFUSED = """\
      MetricName: webhooks_refused
      Dimensions: [{Name: stack, Value: !Ref "AWS::StackName"}, {Name: service, Value: """

CREATE_PARTITIONS = """\
          PARTITION_MONTHS_AHEAD: "3"
          DATABASE_SECRET_ARN: !Ref DatabaseSecretArn
          DATABASE_CA_PEM: !Ref DatabaseCaPem
          DATABASE_CONNECT_TIMEOUT_MS: "2000"
          DATABASE_STATEMENT_TIMEOUT_MS: "10000"
      # EventBridge Scheduler invokes asynchronously, so Lambda's own retries apply in addition to its RetryPolicy.
      EventInvokeConfig:
        MaximumRetryAttempts: 0
        MaximumEventAgeInSeconds: 60
        DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt """

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
        "a failure destination: failed runs of create-partitions go to another queue",
        CREATE_PARTITIONS + "FailedSchedulesQueue.Arn}}",
        CREATE_PARTITIONS + "OutboundQueue.Arn}}",
        "a scheduled run that fails",
    ),
    (
        "a secret: a variable has its value",
        "          TWILIO_SECRET_ARN: !Ref TwilioSecretArn\n",
        "          TWILIO_SECRET_ARN: !Ref TwilioSecretArn\n"
        "          VALUE: !Sub \"{{resolve:secretsmanager:${TwilioSecretArn}:SecretString:auth_token}}\"\n",
        "a function reads its secrets",
    ),
    (
        "a fixed name: two stacks with the same log group",
        "      RetentionInDays: !Ref LogRetentionDays\n",
        "      RetentionInDays: !Ref LogRetentionDays\n      LogGroupName: /sms\n",
        "the stacks share nothing",
    ),
)


def main():
    parser = argparse.ArgumentParser(prog="prove", description=__doc__)
    parser.add_argument("--only", default="", help="only the breaks whose name contains this text")
    own, others = parser.parse_known_args()
    template = (ROOT / "template.yaml").read_text(encoding="utf-8")
    missed = []
    breaks = [broken for broken in BREAKS if own.only in broken[0]]
    if not breaks:
        sys.exit(f"no break has a name with {own.only!r}")
    for name, text, replacement, check in breaks:
        if text not in template:
            missed.append(f"{name}: the template does not contain {text!r}")
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(template.replace(text, replacement, 1))
            file.flush()
            run = subprocess.run(
                [sys.executable, str(HERE), "--fail-fast", "--template", file.name, *others],
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
