/**
 * From what was chosen on the page to a request's fields, which leave out whatever has no meaning. No DOM.
 */

import { takes } from "./models.js";

/**
 * @typedef {object} Choices - what a person has chosen; null: as the service does by itself
 * @property {import("./models.js").Mode} mode
 * @property {string | null} model
 * @property {string} prompt
 * @property {string} size - WIDTHxHEIGHT or auto
 * @property {string} quality
 * @property {number | null} steps
 * @property {number | null} guidance
 * @property {number | null} seed
 * @property {string} negative
 * @property {number} count
 * @property {string} format - png, jpeg or webp
 * @property {number} compression - 0 to 100
 * @property {number | null} strength - of an edit
 * @property {number} poseStrength
 * @property {number} poseEnd
 */

/** @type {Choices} */
export const FIRST_CHOICES = {
  mode: "text",
  model: null,
  prompt: "a red circle on a blue background",
  size: "auto",
  quality: "smooth",
  steps: null,
  guidance: null,
  seed: null,
  negative: "",
  count: 1,
  format: "png",
  compression: 90,
  strength: null,
  poseStrength: 1,
  poseEnd: 1,
};

/** Presets that are offered: OpenAI's `medium` and `high` are others' names of `standard` and `hd`. */
export const QUALITIES = [
  { value: "low", title: "Draft" },
  { value: "standard", title: "Quick" },
  { value: "smooth", title: "Smooth" },
  { value: "hd", title: "Fine" },
];

/**
 * The fields of `/openai/v1/images/…`, without files and without what is only about streaming.
 *
 * @param {Choices} choices
 * @param {import("./models.js").Model} model
 * @returns {Record<string, any>}
 */
export function fieldsOf(choices, model) {
  const fields = { model: model.id, prompt: choices.prompt.trim() };
  // An edit has its picture's size, whatever its sides: one that is named would be fitted to what the model makes.
  if (choices.size !== "auto" && choices.mode !== "edit") fields.size = choices.size;
  if (choices.count > 1) fields.n = choices.count;
  if (choices.seed !== null) fields.seed = choices.seed;
  if (choices.quality !== "smooth") fields.quality = choices.quality;
  if (choices.steps !== null) fields.num_steps = Math.min(choices.steps, model.limits.max_steps);
  if (choices.guidance !== null && takes("guidance_scale", model, choices.mode))
    fields.guidance_scale = choices.guidance;
  if (choices.negative.trim() && takes("negative_prompt", model, choices.mode)) {
    fields.negative_prompt = choices.negative.trim();
  }
  if (choices.strength !== null && takes("strength", model, choices.mode)) fields.strength = choices.strength;
  if (takes("pose_strength", model, choices.mode)) {
    if (choices.poseStrength !== 1) fields.pose_strength = choices.poseStrength;
    if (choices.poseEnd !== 1) fields.pose_end = choices.poseEnd;
  }
  if (choices.format !== "png") {
    fields.output_format = choices.format;
    fields.output_compression = choices.compression;
  }
  return fields;
}

/** A seed, as the service draws one. */
export function drawnSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

/** @type {Record<string, string>} by which a person finds the field that an error names */
export const PARAMETERS = {
  prompt: "prompt",
  model: "model",
  size: "size",
  n: "count",
  seed: "seed",
  num_steps: "steps",
  guidance_scale: "guidance",
  negative_prompt: "negative",
  strength: "strength",
  pose_strength: "poseStrength",
  pose_end: "poseEnd",
  output_compression: "compression",
  image: "picture",
  mask: "picture",
  keypoints: "pose",
};
