"""Verifies requests with the official Python library of Standard Webhooks."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

checked = 0
for case in json.loads(sys.argv[1]):
    for secret in case["valid"]:
        assert Webhook(secret).verify(case["body"], case["headers"]) == json.loads(case["body"])
        checked += 1
    for secret in case["invalid"]:
        try:
            Webhook(secret).verify(case["body"], case["headers"])
        except WebhookVerificationError:
            checked += 1
        else:
            raise SystemExit("a wrong secret was accepted")
print(f"verified {checked} secrets")
