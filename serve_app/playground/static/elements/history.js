// What was done to a picture, in order, to be undone and done again. Nothing here draws.
//
// An operation is {kind: "stroke", erases, radius, points: [{x, y}, …]}, {kind: "invert"} or {kind: "clear"}, all of
// the mask, or {kind: "frame", frame}; places and radius are in pixels of the picture. Operations are never changed
// once they are done, but for the stroke that is being drawn.

export class History {
  #done = [];
  #undone = [];

  /** Those in force, the first one first. */
  get operations() {
    return this.#done;
  }

  get canUndo() {
    return this.#done.length > 0;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  /** The frame in force; null: the picture as it is. */
  get frame() {
    return this.#done.findLast(({ kind }) => kind === "frame")?.frame ?? null;
  }

  /** Whether anything was done to the mask. */
  get touchesMask() {
    return this.#done.some(({ kind }) => kind !== "frame");
  }

  add(operation) {
    this.#done.push(operation);
    this.#undone = [];
  }

  /** Takes the last operation back; returns it, or undefined where there is none. */
  undo() {
    const operation = this.#done.pop();
    if (operation) {
      this.#undone.push(operation);
    }
    return operation;
  }

  /** Does what was undone last again; returns it, or undefined where there is none. */
  redo() {
    const operation = this.#undone.pop();
    if (operation) {
      this.#done.push(operation);
    }
    return operation;
  }

  /** Takes the last operation back for good: a stroke that was not meant. */
  drop() {
    this.#done.pop();
  }
}
