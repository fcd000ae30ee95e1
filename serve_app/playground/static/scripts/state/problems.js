/** What is wrong with which field, by its name in the choices: the service said so, and it was not changed since. */

import { PARAMETERS } from "../logic/orders.js";
import { Store } from "./store.js";

/** @type {Store<Record<string, string>>} */
export const problems = new Store({});

/** @param {import("../logic/errors.js").Failure} failure */
export function tellOf(failure) {
  const name = PARAMETERS[failure.param?.split(".")[0] ?? ""];
  if (name) problems.set({ [name]: failure.message });
}

/** @param {Iterable<string>} names - of fields that were changed */
export function forget(names) {
  const left = { ...problems.value };
  for (const name of names) delete left[name];
  problems.set(left);
}
