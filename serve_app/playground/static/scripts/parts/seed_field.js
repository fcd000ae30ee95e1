/** The seed: empty is random; the dice draw one, and the lock keeps that of the newest picture. */

import { html } from "../../vendor/preact.js";
import { drawnSeed } from "../logic/orders.js";
import { gallery } from "../state/gallery.js";
import { useStore } from "../state/store.js";
import { IconButton, NumberInput, Problem } from "./basics.js";

const MOST = 2 ** 32 - 1;

export function SeedField({ value, problem, onChange }) {
  const newest = useStore(gallery)[0];
  const isLocked = value !== null;
  const toggle = () => onChange(isLocked ? null : (newest?.seed ?? drawnSeed()));
  const change = (seed) => onChange(Number.isInteger(seed) ? Math.min(MOST, Math.max(0, seed)) : null);
  return html`<div class="field">
    <label class="label" for="seed">Seed</label>
    <div class="seed">
      <${NumberInput} id="seed" min="0" max=${MOST} step="1" value=${value}
        placeholder="random" aria-describedby="seed-hint seed-problem" aria-invalid=${problem ? "true" : undefined}
        onChange=${change} />
      <${IconButton} icon="dice" label="Draw a seed" onClick=${() => onChange(drawnSeed())} />
      <${IconButton} icon=${isLocked ? "lock" : "unlock"}
        label=${isLocked ? "Let the seed be random" : "Keep the last seed"}
        pressed=${String(isLocked)} onClick=${toggle} />
    </div>
    <p class="hint" id="seed-hint">The same seed makes the same picture.</p>
    <${Problem} id="seed" text=${problem} />
  </div>`;
}
