/** What is wrong with which field, by its name in the choices: the service said so, and it was not changed since. */

import { PARAMETERS } from "../logic/orders.js";
import { Store } from "./store.js";

/** @type {Store<Record<string, string>>} */
export const problems = new Store({});

/** The name of the field that is at fault, if one is. @param {import("../logic/errors.js").Failure} failure */
export function fieldOf(failure) {
  return PARAMETERS[failure.param?.split(".")[0] ?? ""] ?? null;
}

/** @param {Iterable<string>} names - of fields that were changed */
export function forget(names) {
  const left = { ...problems.value };
  for (const name of names) delete left[name];
  problems.set(left);
}
