#!/usr/bin/env python3
"""Checks a deployed stack without sending a message or storing anything.

    local/deploy/smoke_test.py STACK            reads the URLs from the stack's outputs, with the AWS CLI
    local/deploy/smoke_test.py --api URL --inbound URL --status URL

- The deep health check is good: configuration, Postgres, queues, Twilio, Monitor.
- The API refuses a request without a key, and the API's document is served.
- Both webhooks refuse an unsigned request. That is the function's response, not the one of AWS.
- With TWILIO_AUTH_TOKEN in the environment: both webhooks accept a signature for their URL. The signed form has no
  MessageSid, so it is refused after the signature check.

Only the standard library, so that it runs anywhere.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

DEADLINE_SECONDS = 90
"""How long a check is repeated. The first requests meet cold starts, and a new stack's domain names may not resolve yet."""
PAUSE_SECONDS = 3
TIMEOUT_SECONDS = 15


class Wrong(Exception):
    """A response that differs from the expected one."""


def request(url, form=None, headers=None):
    """Returns status and body of a response. Redirects are not expected."""
    data = None if form is None else urllib.parse.urlencode(form).encode()
    outgoing = urllib.request.Request(url, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(outgoing, timeout=TIMEOUT_SECONDS) as response:
            return response.status, response.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")


def parsed(body):
    try:
        return json.loads(body)
    except ValueError:
        return {}


def error_code(body):
    error = parsed(body).get("error")
    return error.get("code") if isinstance(error, dict) else None


def health(api):
    status, body = request(f"{api}/health?deep=true")
    state = parsed(body)
    if status != 200 or state.get("ok") is not True:
        raise Wrong(f"status {status}: {body[:500]}")
    return f"version {state['version']}, {state['checks']}"


def document(api):
    status, body = request(f"{api}/openapi.json")
    if status != 200 or not parsed(body).get("paths"):
        raise Wrong(f"status {status}: {body[:200]}")


def without_key(api):
    status, body = request(f"{api}/conversations")
    if status != 401:
        raise Wrong(f"status {status}, expected 401: {body[:200]}")


def unsigned(url):
    status, body = request(url, {"Body": "smoke test"})
    # AWS itself also returns 403, if the function URL lacks a permission.
    if (status, error_code(body)) != (403, "sms.forbidden"):
        raise Wrong(f"status {status}, expected 403 sms.forbidden of the function: {body[:200]}")


def signed(url, token):
    form = {"Body": "smoke test"}
    text = url + "".join(key + form[key] for key in sorted(form))
    signature = base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()
    status, body = request(url, form, {"X-Twilio-Signature": signature})
    if (status, error_code(body)) != (400, "sms.validation_error") or "MessageSid" not in body:
        reason = "the token or the base URL differs" if status == 403 else body[:200]
        raise Wrong(f"status {status}, expected 400 that names MessageSid: {reason}")


def outputs(stack):
    command = ["aws", "cloudformation", "describe-stacks", "--stack-name", stack, "--output", "json"]
    described = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {output["OutputKey"]: output["OutputValue"] for output in described["Stacks"][0]["Outputs"]}


def targets():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack", nargs="?")
    parser.add_argument("--api", help="the output ApiUrl")
    parser.add_argument("--inbound", help="the output InboundSmsWebhookUrl")
    parser.add_argument("--status", help="the output DeliveryStatusWebhookUrl")
    parser.add_argument("--deadline", type=float, default=DEADLINE_SECONDS, help="seconds for each check")
    given = parser.parse_args()
    if given.stack:
        found = outputs(given.stack)
        given.api = given.api or found["ApiUrl"]
        given.inbound = given.inbound or found["InboundSmsWebhookUrl"]
        given.status = given.status or found["DeliveryStatusWebhookUrl"]
    if not (given.api and given.inbound and given.status):
        parser.error("name the stack, or --api, --inbound and --status")
    given.api = given.api.rstrip("/")
    # Twilio does not send the part after the #, and does not sign it.
    given.webhooks = {"inbound-sms": given.inbound.split("#")[0], "delivery-status": given.status.split("#")[0]}
    return given


def passes(name, check, deadline):
    """Repeats a check until it passes, and prints the result."""
    end = time.monotonic() + deadline
    while True:
        try:
            detail = check()
        except (Wrong, OSError) as error:
            if time.monotonic() + PAUSE_SECONDS > end:
                print(f"failed  {name}: {error}")
                return False
            time.sleep(PAUSE_SECONDS)
        else:
            print(f"ok      {name}" + (f": {detail}" if detail else ""))
            return True


def main():
    given = targets()
    token = os.environ.get("TWILIO_AUTH_TOKEN", "").split(",")[0].strip()
    checks = [
        ("deep health check", lambda: health(given.api)),
        ("document of the API", lambda: document(given.api)),
        ("API without a key", lambda: without_key(given.api)),
    ]
    for name, url in given.webhooks.items():
        checks.append((f"{name}, unsigned", lambda url=url: unsigned(url)))
        if token:
            checks.append((f"{name}, signed", lambda url=url: signed(url, token)))
    if not token:
        print("skipped signed requests: TWILIO_AUTH_TOKEN is not set")
    results = [passes(name, check, given.deadline) for name, check in checks]
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
