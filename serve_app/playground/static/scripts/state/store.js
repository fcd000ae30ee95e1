/** A value that parts of the page watch. */

import { useEffect, useState } from "../../vendor/preact.js";

/** @template T */
export class Store {
  #listeners = new Set();
  #value;

  /** @param {T} value */
  constructor(value) {
    this.#value = value;
  }

  get value() {
    return this.#value;
  }

  /** @param {T} value */
  set(value) {
    if (value === this.#value) return;
    this.#value = value;
    for (const listener of [...this.#listeners]) listener(value);
  }

  /** @param {Partial<T>} changes - of an object's properties */
  change(changes) {
    this.set({ ...this.#value, ...changes });
  }

  /** @param {(value: T) => void} listener @returns {() => void} which ends it */
  watch(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/**
 * The value in a component, which is drawn anew whenever it changes.
 *
 * @template T
 * @param {Store<T>} store
 * @returns {T}
 */
export function useStore(store) {
  const [value, setValue] = useState(store.value);
  useEffect(() => {
    setValue(store.value); // it may have changed before this watched
    return store.watch(setValue);
  }, [store]);
  return value;
}

/**
 * A store that outlives the page where the browser lets it; where its storage is shut or full it lasts as long as the
 * page.
 *
 * @template T
 * @param {"localStorage" | "sessionStorage"} storage
 * @param {string} name
 * @param {T} first
 * @returns {Store<T> & {isNew: boolean}} isNew: nothing was kept
 */
export function keptStore(storage, name, first) {
  let kept;
  try {
    kept = JSON.parse(window[storage].getItem(name));
  } catch {
    kept = null; // it is shut, or holds what is none of ours
  }
  const isObject = typeof first === "object";
  const store = new Store(kept === null ? first : isObject ? { ...first, ...kept } : kept);
  store.watch((value) => {
    try {
      window[storage].setItem(name, JSON.stringify(value));
    } catch {
      // it is shut or full
    }
  });
  return Object.assign(store, { isNew: kept === null });
}
