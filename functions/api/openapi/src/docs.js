"use strict";
// Renders openapi.json. Everything from the document and from answers is set as text, never as markup.

const make = (name, attributes = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

// `code` spans are all the Markdown that the document uses.
const prose = (text) =>
  (text ?? "").split("\n\n").map((paragraph) =>
    make("p", {}, ...paragraph.split("`").map((part, i) => (i % 2 ? make("code", {}, part) : part))));

const nameOf = (schema) => schema.$ref?.split("/").pop();

const typeOf = (schema) => {
  if (!schema) return "";
  const name = nameOf(schema);
  if (name) return name;
  const options = schema.oneOf ?? schema.anyOf;
  if (options) return options.map(typeOf).join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  const types = [].concat(schema.type ?? "anything");
  if (types.includes("array")) return `list of ${typeOf(schema.items)} or null`;
  return types.join(" or ") + (schema.format ? ` (${schema.format})` : "");
};

const limits = (schema) => {
  const words = { minimum: "at least", maximum: "at most", minLength: "min. length", maxLength: "max. length", maxItems: "max. entries" };
  return Object.entries(words).filter(([key]) => schema?.[key] !== undefined)
    .map(([key, word]) => `${word} ${schema[key]}`).join(", ");
};

const row = (name, needed, schema, text) =>
  make("div", { class: "row" },
    make("div", {}, make("code", {}, name), needed ? make("span", { class: "needed" }, " required") : null,
      make("div", { class: "type" }, [typeOf(schema), limits(schema)].filter(Boolean).join("; "))),
    make("div", {}, ...prose(text)));

// A schema with what it is composed of.
const whole = (api, schema) => {
  if (!schema.allOf) return schema;
  const parts = schema.allOf.map((part) => whole(api, api.components.schemas[nameOf(part)] ?? part));
  return {
    ...schema,
    properties: Object.assign({}, ...parts.map((part) => part.properties), schema.properties),
    required: parts.flatMap((part) => part.required ?? []).concat(schema.required ?? []),
  };
};

const properties = (schema) => {
  const needed = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).map(([name, property]) =>
    row(name, needed.has(name), property, property.description ?? property.oneOf?.[0].description));
};

const example = (api, schema) => {
  const target = nameOf(schema) ? api.components.schemas[nameOf(schema)] : schema;
  return JSON.stringify(target?.example ?? target?.examples?.[0] ?? {}, null, 2);
};

const send = async (operation, form, output) => {
  const inputs = [...form.querySelectorAll("[name]")];
  let path = operation.path;
  const query = new URLSearchParams();
  const headers = {};
  let body;
  for (const input of inputs) {
    const { name, value } = input;
    if (input.dataset.in === "body") { body = value; headers["content-type"] = "application/json"; continue; }
    if (value === "") continue;
    if (input.dataset.in === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
    if (input.dataset.in === "query") query.set(name, value);
    if (input.dataset.in === "header") headers[name] = value;
  }
  const key = document.getElementById("key").value.trim();
  if (key && operation.needsKey) headers.authorization = `Bearer ${key}`;
  const search = query.size ? `?${query}` : "";
  output.replaceChildren(make("p", { class: "hint" }, "Waiting…"));
  try {
    const began = performance.now();
    const answer = await fetch(path.slice(1) + search, { method: operation.method.toUpperCase(), headers, body });
    const text = await answer.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: as it is */ }
    output.replaceChildren(
      make("p", {}, make("span", { class: answer.ok ? "status" : "status bad" }, `${answer.status}`),
        make("span", { class: "hint" }, ` in ${Math.round(performance.now() - began)} ms, x-request-id ${answer.headers.get("x-request-id") ?? "none"}`)),
      make("pre", { tabindex: "0" }, shown));
  } catch (error) {
    output.replaceChildren(make("p", { class: "status bad" }, `No answer: ${error.message}`));
  }
};

const tryIt = (api, operation) => {
  const output = make("div", { "aria-live": "polite" });
  const field = (input, label) => make("label", {}, make("span", { class: "hint" }, label), input);
  const fields = (operation.parameters ?? []).map((parameter) =>
    field(make("input", { name: parameter.name, "data-in": parameter.in, required: parameter.required,
      placeholder: parameter.example, spellcheck: "false" }), parameter.name));
  const content = operation.requestBody?.content?.["application/json"];
  if (content) {
    const area = make("textarea", { name: "body", "data-in": "body", spellcheck: "false" });
    area.value = example(api, content.schema);
    fields.push(field(area, "body"));
  }
  return make("form", { onsubmit(event) { event.preventDefault(); send(operation, event.target, output); } },
    make("h3", {}, "Try it"), ...fields, make("p", {}, make("button", { type: "submit" }, "Send")), output);
};

const responses = (operation) => Object.entries(operation.responses).map(([status, response]) => {
  const schema = Object.values(response.content ?? {})[0]?.schema;
  return row(status, false, schema ?? { type: "nothing" }, response.description);
});

const card = (api, operation) => {
  const body = Object.entries(operation.requestBody?.content ?? {})[0];
  const schema = body && (api.components.schemas[nameOf(body[1].schema)] ?? body[1].schema);
  const part = (title, rows) => (rows.length ? [make("h3", {}, title), ...rows] : []);
  return make("details", { id: operation.operationId },
    make("summary", {}, make("span", { class: `method ${operation.method}` }, operation.method.toUpperCase()),
      make("code", {}, operation.path), make("span", { class: "what" }, operation.summary ?? "")),
    make("div", {}, ...prose(operation.description),
      ...part("Parameters", (operation.parameters ?? []).map((parameter) =>
        row(`${parameter.name} (${parameter.in})`, parameter.required, parameter.schema, parameter.description))),
      ...part(`Body: ${body?.[0]}`, schema ? properties(schema) : []),
      ...part("Answers", responses(operation)),
      operation.tags?.includes("webhooks") ? null : tryIt(api, operation)));
};

const operationsOf = (api) => Object.entries(api.paths).flatMap(([path, item]) =>
  ["get", "post", "put", "patch", "delete"].filter((method) => item[method]).map((method) => ({
    ...item[method], path, method,
    needsKey: (item[method].security ?? []).some((requirement) => "api_key" in requirement),
  })));

const reveal = () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target?.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
};

const render = (api) => {
  document.title = `${api.info.title}: API`;
  document.getElementById("title").textContent = api.info.title;
  document.getElementById("version").textContent = `version ${api.info.version}, OpenAPI ${api.openapi}`;
  document.getElementById("about").replaceChildren(...prose(api.info.description));
  const operations = operationsOf(api);
  document.getElementById("contents").replaceChildren(make("ul", {}, ...operations.map((operation) =>
    make("li", {}, make("a", { href: `#${operation.operationId}` },
      make("span", { class: `method ${operation.method}` }, operation.method.toUpperCase()), make("code", {}, operation.path))))));
  document.getElementById("operations").replaceChildren(...(api.tags ?? []).flatMap((tag) => [
    make("h2", {}, tag.name), ...prose(tag.description),
    ...operations.filter((operation) => operation.tags?.includes(tag.name)).map((operation) => card(api, operation)),
  ]));
  document.getElementById("schemas").replaceChildren(make("h2", {}, "schemas"),
    ...Object.entries(api.components.schemas).map(([name, schema]) => [name, whole(api, schema)]).map(([name, schema]) =>
      make("details", { id: name }, make("summary", {}, make("code", {}, name)),
        make("div", {}, ...prose(schema.description), ...(schema.properties ? properties(schema) : [make("p", {}, typeOf(schema))])))));
  addEventListener("hashchange", reveal);
  reveal();
};

document.getElementById("key-form").addEventListener("submit", (event) => event.preventDefault());
fetch("openapi.json").then((answer) => answer.json()).then(render).catch((error) => {
  document.getElementById("operations").replaceChildren(make("p", { class: "status bad" }, `openapi.json can't be read: ${error.message}`));
});
