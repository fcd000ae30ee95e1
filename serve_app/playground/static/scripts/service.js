/**
 * The service over HTTP: every request that the page makes starts here, by an address relative to the page.
 *
 * Invariant: what goes wrong is thrown as a ServiceError, but for AbortError, which says that a person stopped it.
 */

import { ServiceError, failureOf, statusOfType } from "./logic/errors.js";
import { EventReader, progressOf } from "./logic/sse.js";
import { key } from "./state/key.js";

/** Where the service is, without a final slash. */
export const ORIGIN = new URL(".", document.baseURI).href.replace(/\/$/, "");

/** The header that carries the key, if there is one. @returns {Record<string, string>} */
export function keyHeaders() {
  return key.value ? { Authorization: `Bearer ${key.value}` } : {};
}

/** @returns {Promise<import("./logic/models.js").Model[]>} */
export async function fetchModels() {
  const answer = await ask("v1/models", { headers: keyHeaders() });
  const { data } = await whole(answer.json());
  if (!Array.isArray(data)) throw interrupted();
  return data;
}

/**
 * The state of each model by its name, in words; none where that is not told now.
 *
 * @returns {Promise<Record<string, string>>}
 */
export async function fetchStates() {
  const answer = await fetch(address("readyz"), { cache: "no-store" });
  return (await answer.json()).models ?? {};
}

/**
 * @typedef {object} Order
 * @property {"generations" | "edits"} kind
 * @property {Record<string, any>} fields
 * @property {Record<string, Blob>} files - of an edit, by field
 *
 * @typedef {object} Listener
 * @property {(progress: import("./logic/sse.js").Progress) => void} onProgress
 * @property {(index: number, picture: Blob) => void} onPreview
 * @property {(index: number, picture: Blob, event: any) => void} onPicture
 */

/**
 * Makes pictures, telling `listener` while they form. Aborting `signal` ends the work of the service too.
 *
 * @param {Order} order
 * @param {Listener} listener
 * @param {AbortSignal} signal
 */
export async function makePictures(order, listener, signal) {
  const answer = await ask(`openai/v1/images/${order.kind}`, { method: "POST", signal, ...bodyOf(order) });
  const wanted = order.fields.n ?? 1;
  let made = 0;
  try {
    for await (const told of events(answer.body)) {
      if ("comment" in told) {
        const progress = progressOf(told.comment);
        if (progress) listener.onProgress(progress);
        continue;
      }
      const event = JSON.parse(told.data);
      if (told.event === "error") throw streamError(event.error);
      const picture = pictureOf(event.b64_json, event.output_format);
      if (told.event.endsWith(".partial_image")) listener.onPreview(event.index, picture);
      if (told.event.endsWith(".completed")) {
        made += 1;
        listener.onPicture(event.index, picture, event);
      }
    }
  } catch (error) {
    throw error instanceof ServiceError || error.name === "AbortError" ? error : interrupted();
  }
  if (made < wanted) throw interrupted();
}

function address(path) {
  return new URL(path, document.baseURI);
}

/** @param {string} path @param {RequestInit} options */
async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(address(path), { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError({ status: 0, code: "unreachable", message: "No answer.", param: null, retryAfter: null });
  }
  if (answer.ok) return answer;
  throw new ServiceError(failureOf(answer.status, await whole(answer.text()), answer.headers.get("Retry-After")));
}

/**
 * What is read of an answer, which may break off, or come from something in front of the service.
 *
 * @param {Promise<any>} body
 */
async function whole(body) {
  try {
    return (await body) ?? {};
  } catch (error) {
    throw error.name === "AbortError" ? error : interrupted();
  }
}

/** @param {Order} order */
function bodyOf({ kind, fields, files }) {
  const all = { ...fields, stream: true, partial_images: 3 };
  if (kind === "generations") {
    return { headers: { "Content-Type": "application/json", ...keyHeaders() }, body: JSON.stringify(all) };
  }
  const form = new FormData();
  for (const [name, value] of Object.entries(all)) form.append(name, String(value));
  for (const [name, file] of Object.entries(files)) form.append(name, file, `${name}.${file.type.split("/")[1]}`);
  return { headers: keyHeaders(), body: form };
}

/** @param {ReadableStream<Uint8Array>} stream */
async function* events(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  const told = new EventReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* told.read(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => {}); // it may have been aborted
  }
}

function pictureOf(base64, format) {
  return new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))], { type: `image/${format}` });
}

function streamError({ code, message, param, type }) {
  return new ServiceError({ status: statusOfType(type), code, message, param, retryAfter: null });
}

function interrupted() {
  return new ServiceError({
    status: 0,
    code: "interrupted",
    message: "The connection was lost.",
    param: null,
    retryAfter: null,
  });
}
