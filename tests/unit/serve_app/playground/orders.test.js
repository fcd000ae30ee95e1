import assert from "node:assert/strict";
import { test } from "node:test";
import {
  chosenMode,
  chosenModel,
  modelsFor,
  modesOf,
  needsMask,
  takes,
  titleOf,
} from "../../../../serve_app/playground/static/scripts/logic/models.js";
import { fieldsOf, FIRST_CHOICES } from "../../../../serve_app/playground/static/scripts/logic/orders.js";

const limits = { max_steps: 8, default_size: "256x256" };
const SDXL = {
  id: "s/sdxl",
  is_default: true,
  capabilities: ["text-to-image", "image-to-image", "inpainting"],
  ignored_parameters: [],
  limits,
};
const SCHNELL = {
  id: "b/schnell",
  is_default: false,
  capabilities: ["text-to-image"],
  ignored_parameters: ["guidance_scale", "negative_prompt"],
  limits,
};
const FILL = {
  id: "b/fill",
  is_default: false,
  capabilities: ["inpainting"],
  ignored_parameters: ["negative_prompt"],
  limits,
};
const POSE = {
  id: "e/pose",
  is_default: false,
  capabilities: ["text-to-image", "pose"],
  ignored_parameters: [],
  limits,
};
const ALL = [SCHNELL, SDXL, FILL, POSE];

test("a mode offers the models that can do it", () => {
  assert.deepEqual(modelsFor("text", ALL), [SCHNELL, SDXL]);
  assert.deepEqual(modelsFor("edit", ALL), [SDXL, FILL]);
  assert.deepEqual(modelsFor("pose", ALL), [POSE]);
  assert.deepEqual(modesOf(ALL), ["text", "edit", "pose"]);
  assert.deepEqual(modesOf([SCHNELL]), ["text"]);
  assert.deepEqual(modesOf([]), []);
  assert.equal(chosenMode("pose", ALL), "pose");
  assert.equal(chosenMode("pose", [SCHNELL]), "text");
  assert.equal(chosenMode("text", [FILL]), "edit");
});

test("the model that was chosen stays while it serves, else it is the default", () => {
  assert.equal(chosenModel("text", "b/schnell", ALL), SCHNELL);
  assert.equal(chosenModel("text", null, ALL), SDXL);
  assert.equal(chosenModel("edit", "b/schnell", ALL), SDXL);
  assert.equal(chosenModel("edit", null, [SCHNELL, FILL]), FILL);
  assert.equal(chosenModel("pose", null, [SDXL]), null);
});

test("what a model does not take is neither offered nor sent", () => {
  assert.ok(takes("guidance_scale", SDXL, "text"));
  assert.ok(!takes("guidance_scale", SCHNELL, "text"));
  assert.ok(takes("strength", SDXL, "edit") && !takes("strength", SDXL, "text"));
  assert.ok(needsMask(FILL) && !needsMask(SDXL));
  const chosen = { ...FIRST_CHOICES, guidance: 7, negative: "blurry", steps: 50, strength: 0.4, poseStrength: 0.5 };
  assert.deepEqual(fieldsOf(chosen, SCHNELL), { model: "b/schnell", prompt: FIRST_CHOICES.prompt, num_steps: 8 });
});

test("what is as the service does it is left out", () => {
  assert.deepEqual(fieldsOf({ ...FIRST_CHOICES, prompt: "  otter \n" }, SDXL), { model: "s/sdxl", prompt: "otter" });
});

test("all that was chosen is sent", () => {
  const chosen = {
    ...FIRST_CHOICES,
    size: "512x256",
    count: 3,
    seed: 0,
    quality: "hd",
    steps: 5,
    guidance: 0,
    negative: " blurry ",
  };
  const sent = fieldsOf({ ...chosen, format: "webp", compression: 0 }, SDXL);
  const { model: _model, prompt: _prompt, ...rest } = sent;
  assert.deepEqual(rest, {
    size: "512x256",
    n: 3,
    seed: 0,
    quality: "hd",
    num_steps: 5,
    guidance_scale: 0,
    negative_prompt: "blurry",
    output_format: "webp",
    output_compression: 0,
  });
  const edited = fieldsOf({ ...FIRST_CHOICES, mode: "edit", strength: 0.4 }, SDXL);
  assert.equal(edited.strength, 0.4);
  const posed = fieldsOf({ ...FIRST_CHOICES, mode: "pose", poseStrength: 0.5, poseEnd: 0.75 }, POSE);
  assert.deepEqual([posed.pose_strength, posed.pose_end], [0.5, 0.75]);
});

test("an edit names no size, which may be none that the model makes", () => {
  assert.ok(!("size" in fieldsOf({ ...FIRST_CHOICES, mode: "edit", size: "512x256" }, SDXL)));
});

test("models have titles", () => {
  assert.equal(titleOf("stabilityai/stable-diffusion-xl-base-1.0"), "Stable Diffusion XL base 1.0");
  assert.equal(titleOf("black-forest-labs/FLUX.1-Fill-dev"), "FLUX.1 Fill dev");
  assert.equal(titleOf("small"), "Small");
});
