import assert from "node:assert/strict";
import { test } from "node:test";
import { extensionOf, snippetsOf } from "../../../../serve_app/playground/static/scripts/logic/snippets.js";

const fields = {
  model: "a/b",
  prompt: 'it\'s "red"\n(cat:1.3) $HOME é',
  seed: 7,
  keypoints: { people: [{ pose: [1, null, true] }] },
};
const sample = { origin: "http://here.test/below", kind: "generations", fields, files: {}, needsKey: false };

test("a key is named and never shown", () => {
  for (const text of Object.values(snippetsOf(sample))) assert.ok(!text.includes("EASEL_API_KEY"));
  for (const text of Object.values(snippetsOf({ ...sample, needsKey: true })))
    assert.ok(text.includes("EASEL_API_KEY"));
});

test("a shell reads what was written", () => {
  const { curl } = snippetsOf(sample);
  assert.ok(curl.includes(String.raw`it'\''s`));
  assert.ok(curl.includes("'http://here.test/below/openai/v1/images/generations'"));
});

test("Python has its own words", () => {
  assert.ok(snippetsOf(sample).python.includes('"keypoints": {"people": [{"pose": [1, None, True]}]}'));
});

test("files are sent in forms", () => {
  const edit = { ...sample, kind: "edits", fields: { prompt: "@home", strength: 0.5 }, files: { image: "image.png" } };
  const { curl, python, javascript } = snippetsOf(edit);
  assert.ok(curl.includes("--form image=@image.png") && curl.includes("--form-string 'prompt=@home'"));
  assert.ok(python.includes('image=open("image.png", "rb")') && python.includes("client.images.edit("));
  assert.ok(javascript.includes('form.append("image", new Blob([await readFile("image.png")]), "image.png");'));
});

test("files have the extension of their format", () => {
  assert.deepEqual(
    ["png", "jpeg", "webp", undefined].map((output_format) => extensionOf({ output_format })),
    ["png", "jpg", "webp", "png"],
  );
});
