// Verifies requests with the official JavaScript library of Standard Webhooks.
const { Webhook, WebhookVerificationError } = require("standardwebhooks");

let checked = 0;
for (const { headers, body, valid, invalid } of JSON.parse(process.argv[2])) {
  for (const secret of valid) {
    if (new Webhook(secret).verify(body, headers).id !== "e-1") throw new Error("another body");
    checked += 1;
  }
  for (const secret of invalid) {
    let accepted = true;
    try {
      new Webhook(secret).verify(body, headers);
    } catch (error) {
      if (!(error instanceof WebhookVerificationError)) throw error;
      accepted = false;
    }
    if (accepted) throw new Error("a wrong secret was accepted");
    checked += 1;
  }
}
console.log(`verified ${checked} secrets`);
