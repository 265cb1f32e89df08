"""Uses the simulator with Twilio's Python SDK and checks its signatures with the SDK's validator."""

import datetime
import http.server
import json
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

from twilio.base.exceptions import TwilioRestException
from twilio.request_validator import RequestValidator
from twilio.rest import Client

ACCOUNT, TOKEN, SERVICE = "AC" + "5" * 32, "secret", "MG" + "6" * 32
NUMBER, HANDSET = "+12035550100", "+12035551234"
hits = []


class Webhook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        form = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
        url = "http://" + self.headers["host"] + self.path
        valid = RequestValidator(TOKEN).validate(url, form, self.headers["x-twilio-signature"])
        hits.append((self.path, form, valid))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def wait(what, condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "timeout: " + what
        time.sleep(0.01)


def refused(code, status, call):
    try:
        call()
    except TwilioRestException as error:
        assert (error.code, error.status) == (code, status), error
    else:
        raise AssertionError("expected %d" % code)


def use(base, server_url):
    client = Client(ACCOUNT, TOKEN)
    client.api.base_url = base
    callback = server_url + "/status?message_id=1&note=a%20b"
    message = client.messages.create(to=HANDSET, from_=NUMBER, body="Hola, ¿qué tal? + €", status_callback=callback)
    assert (message.status, message.direction, message.date_sent) == ("queued", "outbound-api", None)
    assert isinstance(message.date_created, datetime.datetime)
    wait("two callbacks", lambda: len(hits) == 2)
    assert [form["MessageStatus"] for _, form, _ in hits] == ["sent", "delivered"]
    assert message.fetch().status == "delivered"
    assert message.fetch().date_sent is not None

    text = {"body": "ñandú 💧 & <b>", "media_urls": ["https://example.com/a.png"], "params": {"Empty": ""}}
    request = urllib.request.Request(
        base + "/simulator/handsets/%s/messages" % HANDSET,
        json.dumps(text).encode(),
        {"content-type": "application/json"},
    )
    sent = json.load(urllib.request.urlopen(request))
    assert sent["delivered"] == 1 and hits[-1][1]["Body"] == text["body"]
    assert all(valid for _, _, valid in hits), hits
    media = client.messages(sent["message_sid"]).media.list()
    assert [file.content_type for file in media] == ["image/png"]
    media = client.messages(sent["message_sid"]).media(media[0].sid)
    assert media.fetch().parent_sid == sent["message_sid"]
    assert media.delete()
    refused(20404, 404, media.fetch)

    for number in range(5):
        client.messages.create(to="+12035559999", from_=NUMBER, body=str(number))
    stream = client.messages.stream(to="+12035559999", page_size=2)
    assert [found.body for found in stream] == ["4", "3", "2", "1", "0"]
    since = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=5)
    recent = lambda: client.messages.list(to="+12035559999", from_=NUMBER, date_sent_after=since)
    wait("five sent messages", lambda: len(recent()) == 5)
    assert client.messages.list(to="+12035559999", date_sent_before=since) == []

    refused(21211, 400, lambda: client.messages.create(to="12", from_=NUMBER, body="x"))
    refused(21610, 400, lambda: client.messages.create(to="+15005550004", from_=NUMBER, body="x"))
    refused(20404, 404, lambda: client.messages("SM" + "0" * 32).fetch())
    wrong = Client(ACCOUNT, "wrong")
    wrong.api.base_url = base
    refused(20003, 401, lambda: wrong.messages(message.sid).fetch())

    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    planned = client.messages.create(
        to=HANDSET, messaging_service_sid=SERVICE, body="x", schedule_type="fixed", send_at=later
    )
    assert planned.status == "scheduled"
    assert planned.update(status="canceled").status == "canceled"
    refused(30409, 409, lambda: planned.update(status="canceled"))
    assert message.update(body="").body == ""
    assert message.delete()
    refused(20404, 404, lambda: message.fetch())
    assert client.api.accounts(ACCOUNT).fetch().status == "active"


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server_url = "http://127.0.0.1:%d" % server.server_port
    options = ["--port", "0", "--account-sid", ACCOUNT, "--auth-token", TOKEN, "--delays", "10,10,10"]
    options += ["--messaging-service", SERVICE, "--number", NUMBER + "=" + server_url + "/in?a=1"]
    simulator = subprocess.Popen([sys.argv[1], *options], stdout=subprocess.PIPE, text=True)
    try:
        use(simulator.stdout.readline().strip(), server_url)
    finally:
        simulator.kill()
        simulator.wait()
    print("all checks passed")


main()
