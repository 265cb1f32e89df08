// Uses the types that `openapi-typescript` generated from the document, with the client `openapi-fetch`.
//
//     node client.js URL NUMBER
//
// CONTRACT_API_KEY is a key with all scopes.
import assert from "node:assert/strict";
import { argv, env } from "node:process";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const [url, number] = argv.slice(2) as [string, string];
const headers = { authorization: `Bearer ${env.CONTRACT_API_KEY}` };
const client = createClient<paths>({ baseUrl: url, headers });

const { data: sent } = await client.POST("/sms/send", {
  params: { header: { "Idempotency-Key": `typescript ${number}` } },
  body: { to: number, body: "From TypeScript" },
});
assert(sent);
assert.deepEqual([sent.to, sent.segments], [number, 1]);

const { data: message } = await client.GET("/messages/{id}", { params: { path: { id: sent.id } } });
assert(message);
assert.deepEqual([message.id, message.to_number, message.content], [sent.id, number, "From TypeScript"]);

const { data: conversation } = await client.GET("/conversations/{phone_number}", {
  params: { path: { phone_number: number }, query: { limit: 1 } },
});
assert(conversation);
assert.equal(conversation.conversation_id, sent.conversation_id);
assert.deepEqual(conversation.messages.map((one) => one.id), [sent.id]);

const { data: page } = await client.GET("/events", {
  params: { query: { conversation: sent.conversation_id, wait: 20 } },
});
const event = page?.events[0];
assert.deepEqual([event?.message_id, event?.type], [sent.id, "message.status"]);

const { error, response } = await client.POST("/sms/send", { body: { to: number, body: "x".repeat(1601) } });
assert.equal(response.status, 400);
assert(error && "error" in error);
const details: components["schemas"]["FieldError"][] = error.error.details;
assert.deepEqual([error.error.code, details.map((one) => one.field)], ["sms.validation_error", ["body"]]);

// The compiler knows the types: it fails if these lines are correct.
// @ts-expect-error A field is missing.
const missing: components["schemas"]["SendRequest"] = { body: "To nobody" };
// @ts-expect-error There is no such priority.
const wrong: components["schemas"]["SendRequest"] = { to: number, priority: "high" };
// @ts-expect-error There is no such path.
const nowhere = () => client.GET("/nowhere");
void [missing, wrong, nowhere];
console.log("ok");
