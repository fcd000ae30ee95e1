/**
 * What is known of the service: its models, whether they run, whether it answers. Asked again while something is amiss.
 */

import { ServiceError } from "../logic/errors.js";
import { fetchModels, fetchStates } from "../service.js";
import { keyWanted } from "./key.js";
import { Store } from "./store.js";

const RETRY_MILLISECONDS = 3000;

/**
 * `failure`: why the models are not known. `states`: of each model, in the service's words.
 *
 * @type {Store<{models: import("../logic/models.js").Model[] | null, states: Record<string, string>,
 *               failure: import("../logic/errors.js").Failure | null}>}
 */
export const service = new Store({ models: null, states: {}, failure: null });

let timer = 0;
let looks = 0; // the newest alone counts: an older one may have been asked with another key

/** Asks now, and goes on asking while the answer is not as it should be. */
export async function look() {
  clearTimeout(timer);
  const number = (looks += 1);
  const found = await fetchModels().then(
    (models) => ({ models, failure: null }),
    (error) => {
      if (!(error instanceof ServiceError)) throw error;
      return { failure: error.failure };
    },
  );
  if (number !== looks) return;
  if (found.failure?.status === 401) keyWanted.set(true);
  service.change(found);
  const states = await fetchStates().catch(() => ({}));
  if (number !== looks) return;
  service.change({ states });
  const isSettled = found.failure ? found.failure.status === 401 : !notReady(states).length;
  if (!isSettled) timer = setTimeout(look, RETRY_MILLISECONDS);
}

/** The names of those that would not serve a request now. @param {Record<string, string>} states @returns {string[]} */
export function notReady(states) {
  return Object.keys(states).filter((name) => !isReady(states[name]));
}

/** @param {string | undefined} state - undefined: not told */
export function isReady(state) {
  return state === undefined || state.startsWith("running") || state.startsWith("scaled to zero");
}

addEventListener("online", () => look());
addEventListener("offline", () => {
  service.change({
    failure: { status: 0, code: "unreachable", message: "You are offline.", param: null, retryAfter: null },
  });
  looks += 1;
  clearTimeout(timer);
  timer = setTimeout(look, RETRY_MILLISECONDS);
});
