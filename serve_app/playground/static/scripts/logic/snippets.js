/**
 * The same request as a program: curl, Python and JavaScript. No DOM.
 *
 * Invariants: what is shown can be run as it stands, beside the files that it names; it never holds a key, only the
 * name of the environment variable that does.
 */

/** @typedef {{origin: string, kind: "generations" | "edits", fields: Record<string, any>,
 *             files: Record<string, string>, needsKey: boolean}} Sample - files: field to file name */

const KEY = "EASEL_API_KEY";
const OF_OPENAI = ["model", "prompt", "size", "n", "quality", "output_format", "output_compression"];

/** @param {Sample} sample @returns {{curl: string, python: string, javascript: string}} */
export function snippetsOf(sample) {
  return { curl: curl(sample), python: python(sample), javascript: javascript(sample) };
}

/** The extension of the pictures' files. @param {Record<string, any>} fields */
export function extensionOf(fields) {
  return { jpeg: "jpg", webp: "webp" }[fields.output_format] ?? "png";
}

function curl({ origin, kind, fields, files, needsKey }) {
  const parts = [`curl --fail-with-body ${shell(`${origin}/openai/v1/images/${kind}`)}`];
  if (needsKey) parts.push(`--header "Authorization: Bearer $${KEY}"`);
  if (kind === "edits") {
    for (const [name, file] of Object.entries(files)) parts.push(`--form ${name}=@${file}`);
    for (const [name, value] of Object.entries(asked(fields))) parts.push(`--form-string ${shell(`${name}=${value}`)}`);
  } else {
    parts.push("--header 'Content-Type: application/json'", `--data ${shell(json(asked(fields)))}`);
  }
  parts.push("--output answer.json");
  const name = `picture.${extensionOf(fields)}`;
  return `${parts.join(" \\\n  ")}\njq --raw-output '.data[0].b64_json' answer.json | base64 --decode > ${name}\n`;
}

function python({ origin, kind, fields, files, needsKey }) {
  const known = OF_OPENAI.filter((name) => name in fields);
  const others = Object.keys(fields).filter((name) => !OF_OPENAI.includes(name));
  const lines = known.map((name) => `    ${name}=${literal(fields[name])},`);
  for (const [name, file] of Object.entries(files)) lines.push(`    ${name}=open(${literal(file)}, "rb"),`);
  lines.push(`    response_format="b64_json",`);
  if (others.length) {
    lines.push(
      "    extra_body={",
      ...others.map((name) => `        ${literal(name)}: ${literal(fields[name])},`),
      "    },",
    );
  }
  const key = needsKey ? `os.environ["${KEY}"]` : `"none needed"`;
  return `import base64
${needsKey ? "import os\n" : ""}
from openai import OpenAI

client = OpenAI(base_url=${literal(`${origin}/openai/v1`)}, api_key=${key})
answer = client.images.${kind === "edits" ? "edit" : "generate"}(
${lines.join("\n")}
)
for number, picture in enumerate(answer.data):
    with open(f"picture-{number}.${extensionOf(fields)}", "wb") as file:
        file.write(base64.b64decode(picture.b64_json))
`;
}

function javascript({ origin, kind, fields, files, needsKey }) {
  const key = needsKey ? "Authorization: `Bearer ${process.env." + KEY + "}`" : "";
  const reads = kind === "edits" ? "readFile, writeFile" : "writeFile";
  const headers = [kind === "edits" ? "" : `"Content-Type": "application/json"`, key].filter(Boolean).join(", ");
  const body = kind === "edits" ? "form" : `JSON.stringify(${json(asked(fields)).replaceAll("\n", "\n  ")})`;
  const address = JSON.stringify(`${origin}/openai/v1/images/${kind}`);
  return `import { ${reads} } from "node:fs/promises";

${kind === "edits" ? form(fields, files) : ""}const response = await fetch(${address}, {
  method: "POST",${headers ? `\n  headers: { ${headers} },` : ""}
  body: ${body},
});
const answer = await response.json();
if (!response.ok) throw new Error(answer.error.message);
for (const [number, picture] of answer.data.entries()) {
  await writeFile(\`picture-\${number}.${extensionOf(fields)}\`, Buffer.from(picture.b64_json, "base64"));
}
`;
}

function form(fields, files) {
  const lines = ["const form = new FormData();"];
  for (const [name, value] of Object.entries(asked(fields))) {
    lines.push(`form.append(${JSON.stringify(name)}, ${JSON.stringify(String(value))});`);
  }
  for (const [name, file] of Object.entries(files)) {
    const [quoted, path] = [JSON.stringify(name), JSON.stringify(file)];
    lines.push(`form.append(${quoted}, new Blob([await readFile(${path})]), ${path});`);
  }
  return `${lines.join("\n")}\n`;
}

function asked(fields) {
  return { ...fields, response_format: "b64_json" };
}

function json(value) {
  return JSON.stringify(value, null, 2);
}

/** In single quotes, as a POSIX shell reads them. */
function shell(text) {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** A value in Python, whose texts, numbers, lists and mappings are written as JSON's; True, False and None are not. */
function literal(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value)
      .map(([name, each]) => `${literal(name)}: ${literal(each)}`)
      .join(", ")}}`;
  }
  return JSON.stringify(value);
}
