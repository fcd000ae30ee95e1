/** From a press on Enter to a run: collects what was chosen and what is in the editors, and starts it. */

import { ServiceError } from "./logic/errors.js";
import { chosenMode, chosenModel, needsMask } from "./logic/models.js";
import { FIRST_CHOICES, fieldsOf } from "./logic/orders.js";
import { parseSize, problemOf } from "./logic/sizes.js";
import { choices } from "./state/choices.js";
import { fieldOf, forget, problems } from "./state/problems.js";
import { start } from "./state/runs.js";
import { service } from "./state/service_state.js";
import { editors, picture } from "./state/source.js";

/** Starts what is chosen now; says at the field what is missing. */
export async function ask() {
  const models = service.value.models ?? [];
  const chosen = { ...choices.value, mode: chosenMode(choices.value.mode, models) };
  const model = chosenModel(chosen.mode, chosen.model, models);
  if (!model) return;
  problems.set({});
  const failure = await attempt(chosen, model);
  const field = failure && fieldOf(failure);
  if (!field || isChanged(field, chosen)) return;
  problems.set({ [field]: failure.message });
  requestAnimationFrame(() => document.getElementById(field)?.focus()); // when it is shown
}

/** Whether a field has another value than the one that was asked with; what is in an editor is not compared. */
function isChanged(field, chosen) {
  return field in FIRST_CHOICES && choices.value[field] !== chosen[field];
}

/** @returns {Promise<import("./logic/errors.js").Failure | null>} */
async function attempt(chosen, model) {
  try {
    const { order, shape } = await orderOf(chosen, model);
    const run = start(chosen, order, shape);
    showRun();
    return (await run).failure;
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    return error.failure;
  }
}

/**
 * Changes what is chosen; what was wrong with it is forgotten.
 *
 * @param {Partial<import("./logic/orders.js").Choices>} changes
 */
export function change(changes) {
  choices.change(changes);
  forget(Object.keys(changes));
}

/** On a phone the form is above what comes of it. */
function showRun() {
  requestAnimationFrame(() => {
    const run = document.querySelector(".run");
    if (run && run.getBoundingClientRect().top > innerHeight / 2)
      run.scrollIntoView({ behavior: "smooth", block: "start" });
  });
}

async function orderOf(chosen, model) {
  if (!chosen.prompt.trim()) throw wrong("prompt", "Say what the picture shall show.");
  if (chosen.mode === "edit") return editOf(chosen, model);
  const size = parseSize(chosen.size === "auto" ? model.limits.default_size : chosen.size);
  const problem = problemOf(size, model.limits);
  if (problem) throw wrong("size", problem);
  const fields = fieldsOf(chosen, model);
  if (chosen.mode === "pose") {
    const { pose } = editors.pose;
    if (!pose?.people?.length) throw wrong("keypoints", "Begin with a photo or the standing figure.");
    fields.size = `${size.width}x${size.height}`; // else the pose's canvas would decide
    fields.keypoints = pose;
  }
  return { order: { kind: "generations", fields, files: {} }, shape: size };
}

async function editOf(chosen, model) {
  if (!picture.value) throw wrong("image", "Choose the picture to edit.");
  const { image, mask, width, height } = await editors.edit.result().catch((error) => {
    throw wrong("image", error.message);
  });
  if (!mask && needsMask(model))
    throw wrong("mask", "Paint over what shall change: this model repaints parts of a picture.");
  const fields = fieldsOf(chosen, model);
  const files = mask ? { image, mask } : { image };
  return { order: { kind: "edits", fields, files }, shape: { width, height } };
}

function wrong(param, message) {
  return new ServiceError({ status: 400, code: "invalid_value", message, param, retryAfter: null });
}
