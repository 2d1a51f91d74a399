// Shows the OpenAPI document. Text is only ever set as text, never as markup.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function nameOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.oneOf || schema.anyOf) return (schema.oneOf ?? schema.anyOf).map(nameOf).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const types = [].concat(schema.type ?? "any");
  return types.map((type) => (type === "array" ? `${nameOf(schema.items)}[]` : type)).join(" | ");
}

// The schema with its fields' types, references opened a few levels deep.
function outline(api, schema, depth = 0) {
  if (schema?.$ref) {
    const name = nameOf(schema);
    return depth > 3 ? name : outline(api, api.components.schemas[name], depth + 1);
  }
  if (schema?.allOf) return Object.assign({}, ...schema.allOf.map((part) => outline(api, part, depth)));
  if (schema?.properties) {
    const required = new Set(schema.required ?? []);
    const fields = Object.entries(schema.properties).map(([key, value]) => [
      required.has(key) ? key : `${key}?`,
      outline(api, value, depth + 1),
    ]);
    return Object.fromEntries(fields);
  }
  if (schema?.type === "array") return [outline(api, schema.items, depth + 1)];
  return nameOf(schema);
}

function body(api, title, content) {
  const [type, media] = Object.entries(content ?? {})[0] ?? [];
  if (!media?.schema) return null;
  const text = JSON.stringify(outline(api, media.schema), null, 2);
  return element("div", {}, element("p", {}, title, " ", element("code", {}, type)), element("pre", {}, text));
}

function parameters(list) {
  if (!list?.length) return null;
  const rows = list.map((parameter) =>
    element("tr", {},
      element("td", {}, element("code", {}, parameter.name)),
      element("td", {}, parameter.in),
      element("td", {}, nameOf(parameter.schema)),
      element("td", {}, parameter.description ?? "")));
  return element("table", {}, element("tbody", {}, ...rows));
}

function operation(api, path, method, item) {
  const answers = Object.entries(item.responses ?? {}).map(([status, answer]) =>
    body(api, `${status} ${answer.description ?? ""}`, answer.content) ?? element("p", {}, `${status} ${answer.description ?? ""}`));
  return element("details", { "data-words": `${method} ${path} ${item.summary} ${item["x-permission"]}`.toLowerCase() },
    element("summary", {},
      element("span", { class: "method" }, method.toUpperCase()),
      element("code", {}, path),
      element("span", {}, item.summary ?? ""),
      element("span", { class: "who" }, item["x-permission"] ?? "")),
    element("div", {},
      item.description ? element("p", {}, item.description) : null,
      parameters(item.parameters),
      item.requestBody ? body(api, "Body", item.requestBody.content) : null,
      ...answers));
}

function show(api) {
  document.getElementById("about").textContent = api.info.description;
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = item[method].tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(api, path, method, item[method]));
    }
  }
  const sections = [...groups.entries()].sort().map(([tag, operations]) =>
    element("section", {}, element("h2", {}, tag), ...operations));
  document.getElementById("operations").replaceChildren(...sections);
}

function find(words) {
  for (const section of document.querySelectorAll("section")) {
    let any = false;
    for (const entry of section.querySelectorAll("details")) {
      entry.hidden = !words.every((word) => entry.dataset.words.includes(word));
      any ||= !entry.hidden;
    }
    section.hidden = !any;
  }
}

document.getElementById("find").addEventListener("input", (event) => {
  find(event.target.value.toLowerCase().split(/\s+/).filter(Boolean));
});

fetch("/api/openapi.json")
  .then((answer) => answer.json())
  .then(show)
  .catch((error) => {
    document.getElementById("operations").textContent = `The document could not be read: ${error.message}`;
  });
