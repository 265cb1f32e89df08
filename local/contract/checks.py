"""Hooks of schemathesis for the contract test: what the OpenAPI document cannot express.

- Requests of webhooks are signed like Twilio's.
- Valid requests refer to things that exist, such as a receiver that answers the challenge of a subscription.
- A refused request that conforms to its schema must break one of `RULES`.
- Every operation must succeed at least once.
"""

import functools
import itertools
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode

import requests
import schemathesis
from twilio.request_validator import RequestValidator

RULES = (
    # Phone numbers: the numbering plan, and the configured senders and countries.
    "can't be sent to",
    "can't receive messages",
    "is not a phone number",
    "is not a configured number or messaging service",
    # Time.
    "has passed",
    "is in the future",
    "must be later than",
    # State: ids and cursors that exist.
    "is not a next_cursor of this API",
    "is not a conversation",
    "is the conversation with another number",
    "is not a batch",
    "does not exist",
    "is not a type of this subscription",
    # Fields that depend on each other.
    "is missing",
    "is empty",
    "is blank",
    "cannot be combined with",
    "can't be combined with",
    "cannot be given together with",
    "cannot be true together with",
    "conflicts with page",
    "for which there is no text",
    "has no text",
    "needs a template_id",
    "needs texts",
    # Formats that JSON Schema does not know.
    "is not an IANA time zone",
    "must be an https URL",
    "is not an http or https URL",
    "contains a NUL character",
    "can't be kept exactly",
    "has no header line",
    "is not in the header",
    "is not a column of this request",
)
"""Parts of the reasons in `details`."""


class Receiver(BaseHTTPRequestHandler):
    """Accepts events and answers the challenge of a subscription."""

    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = json.dumps({"challenge": event["data"].get("challenge")}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


RECEIVER = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
RECEIVER_URL = f"http://127.0.0.1:{RECEIVER.server_port}/events"
threading.Thread(target=RECEIVER.serve_forever, daemon=True).start()


def post(path, body):
    """Calls the service outside of the test."""
    headers = {"authorization": f"Bearer {os.environ['CONTRACT_API_KEY']}"}
    response = requests.post(os.environ["CONTRACT_API_URL"] + path, json=body, headers=headers, timeout=25)
    response.raise_for_status()
    return response.json()


NUMBERS = itertools.count(50)


@functools.cache
def resource(label):
    """Creates what an operation with an id in its path needs, so that its success does not depend on chance."""
    # Each operation has its own number, because some opt it out.
    number = f"(202) 555-01{next(NUMBERS)}"
    message = {"to": number, "body": "Scheduled", "send_at": "2100-01-01T00:00:00Z"}
    path = label.split()[1]
    if path.startswith("/messages/"):
        return {"id": post("/sms/send", message)["id"]}
    if path.startswith("/templates/"):
        return {"id": post("/templates", {"name": label, "texts": {"en": "Hi"}})["id"]}
    if path.startswith("/subscriptions/"):
        return {"id": post("/subscriptions", {"url": RECEIVER_URL, "event_types": []})["id"]}
    if path.startswith("/sms/bulk/"):
        batch_id = post("/sms/bulk", {"messages": [message]})["batch_id"]
        if path.endswith("/resume"):
            post(f"/sms/bulk/{batch_id}/pause", None)
        return {"batch_id": batch_id}
    post("/sms/send", message)
    return {"phone_number": number}


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Makes valid requests refer to things that exist: a receiver, and no random conversation, sender or batch."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    # Links set the ids in the stateful phase.
    if case.path_parameters and case.meta.phase.name != "stateful":
        case.path_parameters.update(resource(case.operation.label))
    if not isinstance(case.body, dict):
        return
    if case.operation.path.startswith("/subscriptions") and (case.body.get("url") or case.body.get("queue_arn")):
        case.body.pop("queue_arn", None)
        case.body["url"] = RECEIVER_URL
    # The phase of boundary values keeps them.
    if case.operation.path.startswith("/sms/") and case.meta.phase.name != "coverage":
        for name in ("conversation_id", "from", "batch_id", "template_id", "template_version"):
            case.body.pop(name, None)


@schemathesis.auth(refresh_interval=None).apply_to(path_regex="^/webhook/")
class TwilioSignature:
    """Signs a webhook: https://www.twilio.com/docs/usage/security#validating-requests."""

    def get(self, _case, _context):
        return RequestValidator(os.environ["CONTRACT_AUTH_TOKEN"])

    def set(self, case, validator, _context):
        query = "?" + urlencode(case.query) if case.query else ""
        url = os.environ["CONTRACT_WEBHOOK_URL"].rstrip("/") + case.operation.path + query
        form = case.body if isinstance(case.body, dict) else {}
        given = {name: "" if value is None else str(value) for name, value in form.items()}
        case.headers["X-Twilio-Signature"] = validator.compute_signature(url, given)


@schemathesis.check
def valid_data_is_refused_for_a_rule(_context, response, case):
    """Fails for a refused request that conforms to its schema, unless all reasons are in `RULES`."""
    if response.status_code != 400 or case.meta is None or not case.meta.generation.mode.is_positive:
        return
    for problem in response.json()["error"]["details"]:
        known = any(rule in problem["reason"] for rule in RULES)
        assert known, f"the schema allows {problem['field']}, but: {problem['reason']}"


# Only a handset creates a file. local/tests/flow/media.rs reads it.
NEVER_SUCCEED = {"GET /media/{id}"}


@schemathesis.check
class EveryOperationSucceeds:
    """Fails if an operation never returned a 2xx or 3xx status."""

    def __init__(self):
        self.tested = set()
        self.succeeded = set()

    def after_response(self, _context, response, case):
        self.tested.add(case.operation.label)
        if 200 <= response.status_code < 400:
            self.succeeded.add(case.operation.label)

    def after_run(self, _context):
        failed = sorted(self.tested - self.succeeded - NEVER_SUCCEED)
        assert not failed, f"no request of {', '.join(failed)} succeeded"
