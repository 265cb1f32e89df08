"""Uses the Python client that `openapi-python-client` generated from the document.

    client.py FOLDER URL NUMBER

FOLDER contains the package `sms_client`. CONTRACT_API_KEY is a key with all scopes.
"""

import os
import sys

folder, url, number = sys.argv[1:]
sys.path.insert(0, folder)

from sms_client import AuthenticatedClient
from sms_client.api.conversations import get_conversation
from sms_client.api.events import list_events
from sms_client.api.messages import get_message, send_sms
from sms_client.models import ErrorEnvelope, EventList, GatewayMessage, MessageDetails, SendAccepted, SendRequest

client = AuthenticatedClient(base_url=url, token=os.environ["CONTRACT_API_KEY"], timeout=30)

sent = send_sms.sync(client=client, body=SendRequest(to=number, body="From Python"), idempotency_key=f"python {number}")
assert isinstance(sent, SendAccepted), sent
assert (sent.to, sent.segments) == (number, 1), sent

message = get_message.sync(sent.id, client=client)
assert isinstance(message, MessageDetails), message
assert (message.id, message.to_number, message.content) == (sent.id, number, "From Python"), message

conversation = get_conversation.sync(number, client=client, limit=1)
assert conversation.conversation_id == sent.conversation_id, conversation
assert [one.id for one in conversation.messages] == [sent.id], conversation

page = list_events.sync(client=client, conversation=sent.conversation_id, wait=20)
assert isinstance(page, EventList), page
assert page.events[0].message_id == sent.id, page
assert page.events[0].type_ == "message.status", page

refused = send_sms.sync_detailed(client=client, body=SendRequest(to=number, body="x" * 1601))
assert (refused.status_code, type(refused.parsed)) == (400, ErrorEnvelope), refused
error = refused.parsed.error
assert (error.code, [one.field for one in error.details]) == ("sms.validation_error", ["body"]), error

unknown = get_message.sync_detailed(sent.id, client=AuthenticatedClient(base_url=url, token="unknown"))
assert (unknown.status_code, type(unknown.parsed)) == (403, GatewayMessage), unknown
print("ok")
