/**
 * What is being made now, and what has just ended: any number side by side, newest first.
 */

import { ServiceError } from "../logic/errors.js";
import { withoutDeleted } from "../logic/slots.js";
import { makePictures } from "../service.js";
import { announce } from "./announcements.js";
import { gallery, keep, release } from "./gallery.js";
import { keyWanted } from "./key.js";
import { look } from "./service_state.js";
import { Store } from "./store.js";

/**
 * @typedef {object} Slot - one picture of a run
 * @property {import("../logic/sse.js").Progress | null} progress
 * @property {Blob | null} preview
 * @property {import("./gallery.js").Kept | null} kept - the picture when it is done
 * @property {boolean} isDeleted - it was done, and is no more
 *
 * @typedef {object} Run
 * @property {string} id
 * @property {"running" | "done" | "failed"} status
 * @property {import("../logic/orders.js").Choices} choices
 * @property {import("../service.js").Order} order
 * @property {{width: number, height: number}} shape - that its pictures are expected to have
 * @property {Slot[]} slots
 * @property {import("../logic/errors.js").Failure | null} failure
 * @property {number} failedAt
 */

/** @type {Store<Run[]>} */
export const runs = new Store([]);

const EMPTY = { progress: null, preview: null, kept: null, isDeleted: false };
const controllers = new Map();

gallery.watch((pictures) => runs.set(withoutDeleted(runs.value, pictures)));

/**
 * @param {import("../logic/orders.js").Choices} choices
 * @param {import("../service.js").Order} order
 * @param {{width: number, height: number}} shape
 * @returns {Promise<Run>} as it ended
 */
export async function start(choices, order, shape) {
  const id = crypto.randomUUID?.() ?? String(Math.random());
  const slots = Array.from({ length: order.fields.n ?? 1 }, () => ({ ...EMPTY }));
  const run = { id, status: "running", choices, order, shape, slots, failure: null, failedAt: 0 };
  runs.value.filter((each) => each.status !== "running").forEach(drop); // what has ended is in the gallery
  runs.set([run, ...runs.value]);
  announce(slots.length > 1 ? `Making ${slots.length} pictures.` : "Making a picture.");
  await follow(run);
  return runs.value.find((each) => each.id === id) ?? run;
}

/** Stops a run: the service stops working on it too, and what was not finished is gone. @param {Run} run */
export function cancel(run) {
  controllers.get(run.id)?.abort();
  drop(run);
  announce("Stopped.");
}

/** Takes a run that has ended off the page. @param {Run} run */
export function drop({ id }) {
  const gone = runs.value.find((each) => each.id === id);
  runs.set(runs.value.filter((each) => each !== gone));
  gone?.slots.forEach(({ preview }) => preview && release(preview));
}

/** Asks for the same again. @param {Run} run */
export function retry(run) {
  drop(run);
  return start(run.choices, run.order, run.shape);
}

/** @param {Run} run */
async function follow({ id, choices, order, slots }) {
  const controller = new AbortController();
  controllers.set(id, controller);
  const startedAt = Date.now();
  const steps = slots.map(() => 0);
  const listener = {
    onProgress(progress) {
      steps[progress.picture] = progress.steps || steps[progress.picture];
      changeSlot(id, progress.picture, { progress });
    },
    onPreview(index, preview) {
      changeSlot(id, index, { preview });
    },
    onPicture(index, picture, event) {
      const [width, height] = event.size.split("x").map(Number);
      const seconds = (Date.now() - startedAt) / 1000;
      const { fields, kind, files } = order;
      const kept = {
        ...{ id: `${id}-${index}`, at: startedAt - index / 100, picture, seed: event.seed, width, height },
        ...{ steps: steps[index], seconds, choices, kind, files, fields },
      };
      changeSlot(id, index, { kept });
      keep(kept);
    },
  };
  try {
    await makePictures(order, listener, controller.signal);
    change(id, { status: "done" });
    runs.set(withoutDeleted(runs.value, gallery.value));
    announce(slots.length > 1 ? "The pictures are ready." : "The picture is ready.");
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof ServiceError)) throw error;
    change(id, { status: "failed", failure: error.failure, failedAt: Date.now() });
    if (error.failure.status === 401) keyWanted.set(true);
    if (error.failure.status === 0 || error.failure.status === 503) look();
  } finally {
    controllers.delete(id);
  }
}

function change(id, changes) {
  runs.set(runs.value.map((run) => (run.id === id ? { ...run, ...changes } : run)));
}

function changeSlot(id, index, changes) {
  const run = runs.value.find((each) => each.id === id);
  if (!run) return;
  const old = run.slots[index].preview;
  change(id, { slots: run.slots.map((slot, at) => (at === index ? { ...slot, ...changes } : slot)) });
  if (old && (changes.preview || changes.kept)) setTimeout(() => release(old), 1000); // when the new one is shown
}
