/** What was before, to go back to it and forth again. Pure: states are kept as they are given and never changed. */

const MOST = 200;

export class History {
  #states;
  #at = 0;
  #step = null;

  constructor(first) {
    this.#states = [first];
  }

  get now() {
    return this.#states[this.#at];
  }

  get canUndo() {
    return this.#at > 0;
  }

  get canRedo() {
    return this.#at < this.#states.length - 1;
  }

  /** Whatever was undone is gone. One that goes on with the same step, as a key held down does, is one with it. */
  push(state, step = null) {
    const goesOn = step !== null && step === this.#step;
    this.#states = [...this.#states.slice(0, goesOn ? this.#at : this.#at + 1), state].slice(-MOST);
    this.#at = this.#states.length - 1;
    this.#step = step;
  }

  undo() {
    this.#go(-1);
  }

  redo() {
    this.#go(1);
  }

  #go(steps) {
    this.#at = Math.min(Math.max(this.#at + steps, 0), this.#states.length - 1);
    this.#step = null;
  }
}
