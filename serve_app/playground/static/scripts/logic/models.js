/**
 * What the models that the service lists can do, in the terms of the page. No DOM.
 *
 * A mode is one way to ask for a picture: from words alone, from a picture, from a pose.
 */

/** @typedef {{id: string, aliases: string[], is_default: boolean, capabilities: string[],
 *             ignored_parameters: string[], limits: import("./sizes.js").Limits}} Model */
/** @typedef {"text" | "edit" | "pose"} Mode */

/** @type {Record<Mode, string[]>} the capabilities of which a model needs one */
const NEEDS = { text: ["text-to-image"], edit: ["image-to-image", "inpainting"], pose: ["pose"] };

/** @param {Mode} mode @param {Model[]} models */
export function modelsFor(mode, models) {
  const able = models.filter((model) => NEEDS[mode].some((capability) => model.capabilities.includes(capability)));
  // Without a pose the pose model is the one that it was made of, so it is offered for poses alone.
  return mode === "text" ? able.filter((model) => !model.capabilities.includes("pose")) : able;
}

/** @param {Model[]} models @returns {Mode[]} those that some model serves */
export function modesOf(models) {
  return /** @type {Mode[]} */ (Object.keys(NEEDS)).filter((mode) => modelsFor(mode, models).length > 0);
}

/** The mode that was chosen while some model serves it, else the first. @returns {Mode} */
export function chosenMode(/** @type {Mode} */ mode, /** @type {Model[]} */ models) {
  const modes = modesOf(models);
  return modes.includes(mode) ? mode : (modes[0] ?? "text");
}

/** The model of that name that serves the mode, else the default one, else the first. @returns {Model | null} */
export function chosenModel(
  /** @type {Mode} */ mode,
  /** @type {string | null} */ name,
  /** @type {Model[]} */ models,
) {
  const able = modelsFor(mode, models);
  return able.find((model) => model.id === name) ?? able.find((model) => model.is_default) ?? able[0] ?? null;
}

/** Whether the model knows a parameter, and the mode has a use for it. @returns {boolean} */
export function takes(/** @type {string} */ parameter, /** @type {Model} */ model, /** @type {Mode} */ mode) {
  if (parameter === "strength") return mode === "edit";
  if (parameter === "pose_strength" || parameter === "pose_end") return mode === "pose";
  return !model.ignored_parameters.includes(parameter);
}

/** Whether a picture without a mask is of no use to the model. @param {Model} model */
export function needsMask(model) {
  return !model.capabilities.includes("image-to-image");
}

/** "stabilityai/stable-diffusion-xl-base-1.0" as a person reads it: "Stable Diffusion XL base 1.0". */
export function titleOf(/** @type {string} */ id) {
  const words = id.slice(id.lastIndexOf("/") + 1).split(/[-_]/);
  const title = words.map((word) => (/^(xl|sdxl|sd)$/i.test(word) ? word.toUpperCase() : word)).join(" ");
  const shown = title.replace(/^stable diffusion/i, "Stable Diffusion");
  return shown.charAt(0).toUpperCase() + shown.slice(1);
}
