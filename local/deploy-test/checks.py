"""The checks, in the order in which they run. Each raises `Failed` with the reason."""

import base64
import hmac
import http.client
import json
import re
import time
import urllib.parse

import botocore.exceptions
from twilio.request_validator import RequestValidator

from stack import Failed

INBOUND_PATH = "/webhook/twilio/sms"
STATUS_PATH = "/webhook/twilio/status"
HANDSET = "+12025550123"
ALIAS = "live"
PUBLIC_PATHS = ("/openapi.json", "/docs", "/docs/scalar.js", "/health")
CORE_ROUTES = {
    *((method, path) for method in ("GET", "HEAD") for path in PUBLIC_PATHS),
    ("POST", "/sms/send"),
    ("GET", "/conversations"),
    ("GET", "/conversations/{phone_number}"),
    ("GET", "/messages/{id}"),
}
"""Routes that must exist. The other routes of the deployed API are tested too."""
SECRETS = {
    "InboundSmsFunction": {"TwilioSecretArn", "DatabaseSecretArn"},
    "DeliveryStatusFunction": {"TwilioSecretArn", "DatabaseSecretArn"},
    "SendOutboundFunction": {"TwilioApiSecretArn", "DatabaseSecretArn"},
    "ReconcileTwilioFunction": {"TwilioApiSecretArn", "DatabaseSecretArn"},
    "RecordInboundFunction": {"DatabaseSecretArn"},
    "AuthorizeFunction": {"DatabaseSecretArn"},
    "OpenapiFunction": set(),
}
"""The secrets of some functions. All others are compared with their variables only."""
WAIT_SECONDS = 30
SCHEDULE_SECONDS = 90
"""Schedules run every minute, and the emulator looks every ten seconds."""
ROTATION_SECONDS = 45
"""A function fetches a secret again at most every 30 seconds."""


def eventually(what, read, seconds=WAIT_SECONDS):
    """Waits for a true value and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        value = read()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(0.2)


def expect(actual, expected, what):
    if actual != expected:
        raise Failed(f"{what}: expected {expected!r}, not {actual!r}")


def call(port, method, url, body=None, headers=None):
    """Calls a URL of the deployed stack at the emulator, which finds the resource by the `Host` header."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    connection.request(method, target, body, {"Host": parts.netloc, **(headers or {})})
    response = connection.getresponse()
    content = response.read().decode(errors="replace")
    connection.close()
    return response.status, content


class Checks:
    """The state that checks share."""

    def __init__(self, world):
        self.world = world
        self.first = world.first
        self.port = world.emulator.port
        self.users = {}

    def api_url(self, stack):
        """The URL of the API at the emulator, which has paths of its own, such as /health, in AWS's domain."""
        api = urllib.parse.urlsplit(stack.outputs["ApiUrl"]).netloc.split(".")[0]
        return f"{self.world.emulator.url}/_aws/execute-api/{api}"

    def api(self, stack, method, path, body=None, key=None):
        """Calls the API. Returns the status and the parsed body."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body)
        status, content = call(self.port, method, self.api_url(stack) + path, body, headers)
        try:
            return status, json.loads(content)
        except ValueError:
            return status, content

    def simulator(self, method, path, body=None):
        headers = {"Content-Type": "application/json"} if body is not None else {}
        status, content = call(
            int(self.world.twilio.url.rsplit(":", 1)[1]),
            method,
            self.world.twilio.url + path,
            None if body is None else json.dumps(body),
            headers,
        )
        if status >= 300:
            raise Failed(f"{method} {path} at the simulator: {status} {content}")
        return json.loads(content)

    def webhook(self, stack, output, form, token=None, query=""):
        """Posts a webhook to the function URL of an output, signed by Twilio's own SDK."""
        url = stack.outputs[output].split("#")[0] + query
        signed = self.public_url(stack, output) + query
        signature = RequestValidator(token or stack.token).compute_signature(signed, form)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature}
        return call(self.port, "POST", url, urllib.parse.urlencode(form), headers)

    @staticmethod
    def public_url(stack, output):
        """The URL that Twilio calls and signs: of the domain in front of the functions, or else the function URL."""
        url = stack.outputs[output].split("#")[0]
        return stack.base + urllib.parse.urlsplit(url).path if stack.base else url

    def live(self, function):
        """The alias that is in traffic."""
        return self.world.aws.client("lambda").get_alias(FunctionName=function, Name=ALIAS)

    def inbound_form(self, stack, sid, text):
        return {
            "AccountSid": self.world.account,
            "MessageSid": sid,
            "SmsMessageSid": sid,
            "From": HANDSET,
            "To": stack.number,
            "Body": text,
            "NumMedia": "0",
            "NumSegments": "1",
            "ApiVersion": "2010-04-01",
        }

    def stored(self, stack, text):
        statement = "select direction, from_number from sms_messages where message_content = %s"
        return stack.query(statement, text)

    # --- The first stack -----------------------------------------------------------------------------------------

    def migrate(self, stack):
        applied = stack.invoke("MigrateFunction", {})["applied"]
        if not applied:
            raise Failed("no migration was applied")
        expect(stack.invoke("MigrateFunction", {})["applied"], [], "the second run")

    def manage_keys(self, stack):
        scopes = ["messages:send", "messages:read", "conversations:read", "subscriptions:manage"]
        created = stack.invoke("ManageKeysFunction", {"action": "create", "name": "deploy-test", "scopes": scopes})
        stack.key = created["key"]

    def health(self):
        status, body = self.api(self.first, "GET", "/health?deep=true")
        expect(status, 200, f"GET /health?deep=true ({body})")
        peers = {name: state for name, state in body["checks"].items() if name != "monitor"}
        expect(set(peers.values()), {"ok"}, f"the checks of the service's health ({peers})")

    def inbound(self):
        text = "The heating is off"
        result = self.simulator("POST", f"/simulator/handsets/{HANDSET}/messages", {"body": text})
        rows = eventually("the row in sms_messages", lambda: self.stored(self.first, text))
        expect(rows, [("inbound", HANDSET)], f"the row ({result})")

    def sdk_signature(self):
        text = "Signed by Twilio's SDK"
        form = self.inbound_form(self.first, "SM" + "a" * 32, text)
        expect(self.webhook(self.first, "InboundSmsWebhookUrl", form)[0], 200, "a signed webhook")
        eventually("the row in sms_messages", lambda: self.stored(self.first, text))
        for output in ("InboundSmsWebhookUrl", "DeliveryStatusWebhookUrl"):
            form = self.inbound_form(self.first, "SM" + "b" * 32, "Forged")
            status, _ = self.webhook(self.first, output, form, "another token")
            expect(status, 403, f"a webhook with a wrong signature at {output}")
        expect(self.stored(self.first, "Forged"), [], "rows of the forged webhook")

    def send(self):
        message = {"to": HANDSET, "body": "We are on our way"}
        expect(self.api(self.first, "POST", "/sms/send", message)[0], 401, "a send without a key")
        status, sent = self.api(self.first, "POST", "/sms/send", message, self.first.key)
        if status != 202:
            raise Failed(f"POST /sms/send: {status} {sent}")
        ledger = f"/simulator/ledger?to={urllib.parse.quote(HANDSET)}"
        texts = eventually(
            "the handset receives the text",
            lambda: [text for text in self.simulator("GET", ledger) if text["body"] == message["body"]],
        )
        expect(len(texts), 1, "texts at the handset")
        self.sent = sent["id"]

    def callback(self):
        def status():
            code, message = self.api(self.first, "GET", f"/messages/{self.sent}", key=self.first.key)
            return code == 200 and message["delivery_status"] == "delivered"

        eventually("GET /messages/{id} returns the status delivered", status)

    def conversation(self):
        path = f"/conversations/{urllib.parse.quote(HANDSET)}"
        status, conversation = self.api(self.first, "GET", path, key=self.first.key)
        expect(status, 200, f"GET {path}")
        if "We are on our way" not in json.dumps(conversation):
            raise Failed(f"the conversation lacks the sent message: {conversation}")

    def received(self, queue):
        """Takes the messages of a queue that this test owns."""
        sqs, url = self.world.aws.client("sqs"), self.world.queues[queue]
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
        messages = found.get("Messages", [])
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return messages

    def subscription(self):
        """Subscribes a queue, and finds the event of a text in it."""
        request = {"queue_arn": self.world.subscriber_arn, "event_types": ["message.received"], "include_unknown": True}
        status, created = self.api(self.first, "POST", "/subscriptions", request, self.first.key)
        expect(status, 201, f"POST /subscriptions: {created}")
        secret = base64.b64decode(created["secret"].removeprefix("whsec_"))
        form = self.inbound_form(self.first, "SM" + "9" * 32, "For the subscriber")
        expect(self.webhook(self.first, "InboundSmsWebhookUrl", form)[0], 200, "a signed webhook")

        def event():
            for message in self.received("subscriber"):
                if json.loads(message["Body"])["type"] == "message.received":
                    return message
            return None

        message = eventually("the event in the subscriber's queue", event)
        headers = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{message['Body']}".encode()
        expected = "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
        expect(headers["webhook-signature"], expected, "the signature of the event")

    def routes(self):
        """The gateway lets requests without a key through to the public routes only."""
        api = self.api_url(self.first).rsplit("/", 1)[1]
        routes = self.world.aws.client("apigatewayv2").get_paginator("get_routes").paginate(ApiId=api)
        routes = {tuple(route["RouteKey"].split(" ")) for page in routes for route in page["Items"]}
        # Requests without a route.
        routes.discard(("$default",))
        missing = CORE_ROUTES - routes
        if missing:
            raise Failed(f"the API has no route {sorted(missing)}")
        for method, path in sorted(routes):
            # Only the path: a public route may need parameters of its own.
            status, body = self.api(self.first, method, re.sub(r"\{[^}]+\}", "%2B12025550123", path))
            expected = 200 if path in PUBLIC_PATHS else 401
            expect(status, expected, f"{method} {path} without a key")
            if path not in PUBLIC_PATHS and "error" in body:
                # Functions also refuse requests without a key, but the gateway must do it.
                raise Failed(f"{method} {path} reached its function without a key")

    def poison(self):
        sqs = self.world.aws.client("sqs")
        for queue, dead_letters in (
            ("InboundQueue", "InboundDeadLetterQueue"),
            ("StatusQueue", "StatusDeadLetterQueue"),
        ):
            body = f"poison for {queue}"
            sqs.send_message(QueueUrl=self.first.ids[queue], MessageBody=body)

            def dead():
                received = sqs.receive_message(
                    QueueUrl=self.first.ids[dead_letters], VisibilityTimeout=0, MaxNumberOfMessages=10
                )
                return [message for message in received.get("Messages", []) if message["Body"] == body]

            eventually(f"the record in {dead_letters}", dead, 60)
            queue_url = self.first.ids[queue]
            attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
            counts = [count for name, count in attributes.items() if name.startswith("ApproximateNumberOfMessages")]
            expect(set(counts), {"0"}, f"messages left on {queue}")

    def alarms(self, stack):
        """Compares dimensions of alarms with those of metrics: the emulator ignores them when it evaluates alarms."""
        cloudwatch = self.world.aws.client("cloudwatch")
        pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{stack.name}-")
        alarms = [alarm for page in pages for alarm in page["MetricAlarms"]]
        names = {name.rsplit("/", 1)[-1] for name in stack.ids.values()}
        emitted = self.emitted(stack)
        compared = set()
        for alarm in alarms:
            dimensions = {dimension["Name"]: dimension["Value"] for dimension in alarm["Dimensions"]}
            if alarm["Namespace"] != "SmsFoundation":
                version = dimensions.pop("ExecutedVersion", None)
                if version is not None:
                    live = self.live(dimensions["FunctionName"])
                    expect(version, live["FunctionVersion"], f"{alarm['AlarmName']}: the version in traffic")
                for name, value in dimensions.items():
                    # `Resource` is a function and its alias.
                    if value.removesuffix(":live") not in names:
                        raise Failed(f"{alarm['AlarmName']}: the stack has no {name} {value}")
                continue
            expect(dimensions.get("stack"), stack.name, f"{alarm['AlarmName']}: stack")
            metric = (alarm["MetricName"], dimensions.get("service"))
            if metric in emitted:
                expect(dimensions, emitted[metric], f"{alarm['AlarmName']}: dimensions")
                compared.add(metric)
        return compared

    def emitted(self, stack):
        """Returns the dimensions of each metric that the stack's functions have written, by metric and service."""
        found = {}
        for line in stack.logs():
            for directive in line.get("_aws", {}).get("CloudWatchMetrics", []):
                expect(directive["Namespace"], "SmsFoundation", "the namespace of metrics")
                for names in directive["Dimensions"]:
                    dimensions = {name: line[name] for name in names}
                    for metric in directive["Metrics"]:
                        found[metric["Name"], dimensions.get("service")] = dimensions
        return found

    def alarm_dimensions(self):
        compared = self.alarms(self.first)
        expected = {("webhooks_refused", "inbound-sms"), ("webhooks_refused", "delivery-status")}
        if not expected <= compared:
            raise Failed(f"no alarm has the dimensions of {sorted(expected - compared)}, which functions have written")

    def iam(self):
        """Removes the policy of inbound-sms: the webhook goes to the spool, and its schedule recovers it later."""
        iam = self.world.aws.client("iam")
        role = self.first.ids["InboundSmsFunctionRole"]
        policies = {
            name: iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
        }
        for name, document in policies.items():
            if self.first.ids["InboundQueue"].rsplit("/", 1)[-1] in json.dumps(document):
                iam.delete_role_policy(RoleName=role, PolicyName=name)
        try:
            self.simulator("POST", f"/simulator/handsets/{HANDSET}/messages", {"body": "While SQS denies access"})
            eventually(
                "the webhook in webhook_spool, because the function's role may not send",
                lambda: self.first.query("select 1 from webhook_spool where queue = 'inbound'"),
            )
        finally:
            for name, document in policies.items():
                iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))

    def like(self, function):
        """Returns the access key of a user that has the policies of a function's role."""
        if function not in self.users:
            iam = self.world.aws.client("iam")
            role, user = self.first.ids[f"{function}Role"], f"like-{function}"
            iam.create_user(UserName=user)
            for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
                document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
                iam.put_user_policy(UserName=user, PolicyName=name, PolicyDocument=json.dumps(document))
            for policy in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
                iam.attach_user_policy(UserName=user, PolicyArn=policy["PolicyArn"])
            key = iam.create_access_key(UserName=user)["AccessKey"]
            self.users[function] = (key["AccessKeyId"], key["SecretAccessKey"])
        return self.users[function]

    def secrets(self):
        """No configuration has a secret's value, and a role reads exactly the secrets that its function needs."""
        functions = self.world.aws.client("lambda")
        for logical, name in self.first.ids.items():
            if logical.endswith("Function"):
                found = json.dumps(functions.get_function(FunctionName=name)["Configuration"], default=str)
                shown = [value for value in self.first.secret_values() if value in found]
                expect(shown, [], f"secrets in the configuration of {logical}")
        stacks = (self.first, self.world.second)
        arns = {(stack.name, secret): arn for stack in stacks for secret, arn in stack.secrets.items()}
        for logical, name in self.first.ids.items():
            if not logical.endswith("Function"):
                continue
            variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
            client = self.world.aws.client("secretsmanager", *self.like(logical))
            readable = {
                secret for secret, arn in arns.items() if self.is_allowed(lambda: client.get_secret_value(SecretId=arn))
            }
            named = {secret for secret, arn in arns.items() if arn in variables.values()}
            expect(readable, named, f"the secrets that {logical} may read, against those in its variables")
            expected = SECRETS.get(logical)
            if expected is not None:
                expect(readable, {("first", secret) for secret in expected}, f"the secrets that {logical} may read")

    def least_privilege(self):
        sqs = self.world.aws.client("sqs", *self.like("RetrySendsFunction"))
        queues = [name for name in self.first.ids if name.endswith("Queue")]
        allowed = {
            name
            for name in queues
            # An empty message is refused, so that nothing is sent.
            if self.is_allowed(lambda: sqs.send_message(QueueUrl=self.first.ids[name], MessageBody=""))
        }
        function = self.first.ids["RetrySendsFunction"]
        configuration = self.world.aws.client("lambda").get_function_configuration(FunctionName=function)
        variables = configuration["Environment"]["Variables"].values()
        # The failure destination of schedules is in no variable.
        expected = {name for name in queues if self.first.ids[name] in variables} | {"FailedSchedulesQueue"}
        if not {"InboundQueue", "StatusQueue", "OutboundQueue"} <= expected:
            raise Failed(f"retry-sends has only the queues {sorted(expected)} in its variables")
        expect(allowed, expected, "the queues to which retry-sends may send, against those in its variables")
        for name in queues:
            if self.is_allowed(lambda: sqs.receive_message(QueueUrl=self.first.ids[name])):
                raise Failed(f"retry-sends may receive from {name}")

    def tls(self):
        """Sets the template's queue policy, which the deployed stack lacks because it is called without TLS."""
        sqs = self.world.aws.client("sqs")
        policy = json.dumps(self.first.removed["QueuePolicy"]["Properties"]["PolicyDocument"])
        queue = self.first.ids["FailedSchedulesQueue"]
        if not self.is_allowed(lambda: sqs.get_queue_attributes(QueueUrl=queue)):
            raise Failed("a call without TLS is denied before the policy is set")
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
        if self.is_allowed(lambda: sqs.get_queue_attributes(QueueUrl=queue)):
            raise Failed("a call without TLS is allowed")

    @staticmethod
    def is_allowed(action):
        try:
            action()
            return True
        except botocore.exceptions.ClientError as error:
            code = error.response["Error"]["Code"]
            if "AccessDenied" in code:
                return False
            if code in ("InvalidParameterValue", "MissingParameter"):
                return True
            raise

    def schedule(self):
        eventually(
            "retry-sends moves the spooled webhook to its queue, and record-inbound stores it",
            lambda: self.stored(self.first, "While SQS denies access"),
            SCHEDULE_SECONDS,
        )
        expect(self.first.query("select count(*) from webhook_spool"), [(0,)], "webhooks left in the spool")

    def second_stack(self):
        """Deploys the template again. This stack has no domain: Twilio calls the function URLs."""
        second = self.world.second
        self.world.deploy(second)
        self.migrate(second)
        self.manage_keys(second)
        text = "For the second stack"
        form = self.inbound_form(second, "SM" + "c" * 32, text)
        expect(self.webhook(second, "InboundSmsWebhookUrl", form)[0], 200, "a signed webhook")
        eventually("the row in the second database", lambda: self.stored(second, text))
        expect(self.stored(self.first, text), [], "rows in the first database")
        status, _ = self.webhook(second, "InboundSmsWebhookUrl", form, self.first.token)
        expect(status, 403, "a signature with the first token")
        for stack, key, expected in (
            (second, second.key, 200),
            (second, self.first.key, 403),
            (self.first, second.key, 403),
        ):
            expect(self.api(stack, "GET", "/conversations", key=key)[0], expected, f"a key at the API of {stack.name}")

    def second_callback(self):
        """The simulator cannot resolve the names of function URLs, so its callbacks are repeated at the emulator."""
        second = self.world.second
        status, sent = self.api(second, "POST", "/sms/send", {"to": HANDSET, "body": "From the second"}, second.key)
        expect(status, 202, f"POST /sms/send at the second stack ({sent})")

        def delivered():
            calls = self.simulator("GET", "/simulator/webhooks")
            attempts = [(dict(call["form"]), attempt["url"]) for call in calls for attempt in call["attempts"]]
            return [(form, url) for form, url in attempts
                    if form.get("From") == second.number and form.get("MessageStatus") == "delivered"]

        form, url = eventually("the callback of the second stack's message", delivered)[0]
        url, _, query = url.partition("?")
        expect(url, self.public_url(second, "DeliveryStatusWebhookUrl"), "the URL of the status callback")
        expect(self.webhook(second, "DeliveryStatusWebhookUrl", form, query=f"?{query}")[0], 200, "the callback")

        def status():
            code, message = self.api(second, "GET", f"/messages/{sent['id']}", key=second.key)
            return code == 200 and message["delivery_status"] == "delivered"

        eventually("GET /messages/{id} returns the status delivered", status)

    def failure_destination(self):
        """Invokes a scheduled function of the second stack as a schedule does, while it cannot connect to Postgres."""
        second, sqs = self.world.second, self.world.aws.client("sqs")
        functions = self.world.aws.client("lambda")
        second.refuse_connections()
        name = second.ids["CreatePartitionsFunction"]
        schedule = second.ids["CreatePartitionsFunctionEveryHour"]
        target = self.world.aws.client("scheduler").get_schedule(Name=schedule)["Target"]["Arn"]
        expect(target, self.live(name)["AliasArn"], "the target of the schedule")
        config = functions.get_function_event_invoke_config(FunctionName=name, Qualifier=ALIAS)
        destinations = config["DestinationConfig"]
        queue = second.ids["FailedSchedulesQueue"]
        attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
        expect(destinations["OnFailure"]["Destination"], attributes["QueueArn"], "the failure destination of the alias")
        # The emulator reads only the configuration of the latest code.
        functions.put_function_event_invoke_config(
            FunctionName=name,
            Qualifier="$LATEST",
            DestinationConfig={"OnFailure": destinations["OnFailure"]},
            MaximumRetryAttempts=config["MaximumRetryAttempts"],
        )
        functions.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")

        def record():
            received = sqs.receive_message(QueueUrl=queue, VisibilityTimeout=0)
            return [message for message in received.get("Messages", []) if name in message["Body"]]

        eventually("the invocation record in FailedSchedulesQueue", record)

    def rotation(self):
        """Changes the auth token in its secret: webhooks with the new signature are accepted without a deployment."""
        rotated = "rotated-token"
        value = {"auth_token": f"{rotated},{self.first.token}"}
        arn = self.first.secrets["TwilioSecretArn"]
        self.world.aws.client("secretsmanager").put_secret_value(SecretId=arn, SecretString=json.dumps(value))
        form = self.inbound_form(self.first, "SM" + "d" * 32, "Signed with the rotated token")

        def accepted():
            return self.webhook(self.first, "InboundSmsWebhookUrl", form, rotated)[0] == 200

        eventually("a webhook that is signed with the new token is accepted", accepted, ROTATION_SECONDS)
        form = self.inbound_form(self.first, "SM" + "e" * 32, "Signed with the old token")
        expect(self.webhook(self.first, "InboundSmsWebhookUrl", form)[0], 200, "a webhook with the old token")
        eventually("the row in sms_messages", lambda: self.stored(self.first, "Signed with the old token"))

    def isolation(self):
        """No resource, role or function of a stack names one of the other."""
        first, second = self.first, self.world.second
        # The default stage has the same name in all APIs.
        shared = (set(first.ids.values()) & set(second.ids.values())) - {"$default"}
        expect(shared, set(), "resources in both stacks")
        for own, other in ((first, second), (second, first)):
            # A queue's ARN ends as its URL does.
            foreign = {name.rsplit("/", 1)[-1] if "://" in name else name for name in other.ids.values()}
            foreign = (foreign | {other.database, other.token}) - {"$default"}
            iam, functions = self.world.aws.client("iam"), self.world.aws.client("lambda")
            for logical, name in own.ids.items():
                if logical.endswith("Role"):
                    policies = iam.list_role_policies(RoleName=name)["PolicyNames"]
                    found = [iam.get_role_policy(RoleName=name, PolicyName=policy) for policy in policies]
                elif logical.endswith("Function"):
                    found = functions.get_function_configuration(FunctionName=name)
                else:
                    continue
                text = json.dumps(found, default=str)
                named = [value for value in foreign if re.search(rf"\b{re.escape(value)}\b", text)]
                expect(named, [], f"{own.name} {logical} names resources of {other.name}")
        self.alarms(second)

    def delete_second(self):
        second = self.world.second
        queues = [name for logical, name in second.ids.items() if logical.endswith("Queue")]
        self.world.aws.client("cloudformation").delete_stack(StackName=second.name)
        eventually("the second stack is deleted", lambda: second.is_deleted(), 120)
        sqs = self.world.aws.client("sqs")
        for queue in queues:
            sqs.get_queue_attributes(QueueUrl=queue)
        self.health()
