/** A run: its pictures, while they form and when they are done, in the shape that they will have. */

import { html } from "../../vendor/preact.js";
import { titleOf } from "../logic/models.js";
import { duration, progressText, shareDone } from "../logic/words.js";
import { urlOf } from "../state/gallery.js";
import { cancel, drop, retry } from "../state/runs.js";
import { Action, Icon } from "./basics.js";
import { Compare } from "./compare.js";
import { FailureCard } from "./failure_card.js";
import { PictureActions } from "./picture_actions.js";

export function RunView({ run, isFirst, onShow, onKey }) {
  const { status, slots, choices, order } = run;
  const ratio = run.shape.width / run.shape.height;
  const only = slots.length === 1 ? slots[0].kept : null;
  const left = slots.filter((slot) => !slot.isDeleted);
  return html`<article class="run ${isFirst ? "is-first" : ""}" aria-label="Run: ${choices.prompt}">
    ${
      status === "failed" &&
      html`<${FailureCard} failure=${run.failure} since=${run.failedAt} onKey=${onKey}
      onRetry=${() => retry(run)} onClose=${() => drop(run)} />`
    }
    ${
      (status !== "failed" || slots.some((slot) => slot.kept)) &&
      html`<div class="run-pictures" style=${gridOf(left.length)}>
      ${slots.map(
        (slot, index) =>
          !slot.isDeleted &&
          html`<${SlotView} key=${index} slot=${slot} ratio=${ratio} run=${run} index=${index} onShow=${onShow} />`,
      )}
    </div>`
    }
    <footer class="run-foot">
      <div class="run-words">
        <p class="run-prompt">${choices.prompt}</p>
        <p class="run-facts">${titleOf(order.fields.model)} · ${run.shape.width} × ${run.shape.height}${
          only && ` · ${duration(only.seconds)}`
        }</p>
      </div>
      ${status === "running" && html`<${Action} icon="close" label="Stop" onClick=${() => cancel(run)} />`}
      ${only && html`<${PictureActions} picture=${only} />`}
    </footer>
  </article>`;
}

/** Columns and rows of so many pictures, as square as may be. */
function gridOf(count) {
  const columns = count === 4 ? 2 : Math.min(count, count > 6 ? 4 : 3);
  return { "--columns": String(columns), "--rows": String(Math.ceil(count / columns)) };
}

function SlotView({ slot, ratio, run, index, onShow }) {
  const name = `${run.choices.prompt}${run.slots.length > 1 ? `, picture ${index + 1}` : ""}`;
  const frame = { aspectRatio: String(ratio), "--ratio": String(ratio) };
  if (slot.kept && run.order.files.image && run.slots.length === 1) {
    return html`<div class="slot is-done" style=${frame}>
      <${Compare} before=${run.order.files.image} after=${slot.kept.picture} name=${name} /></div>`;
  }
  if (slot.kept) {
    return html`<button type="button" class="slot is-done" style=${frame} aria-label="Show large: ${name}"
      onClick=${() => onShow(slot.kept)}>
      <img src=${urlOf(slot.kept.picture)} alt=${name} /></button>`;
  }
  const share = shareDone(slot.progress);
  const text = progressText(slot.progress);
  return html`<div class="slot is-forming" style=${frame}>
    ${
      slot.preview
        ? html`<img src=${urlOf(slot.preview)} alt="" class="preview" />`
        : html`<span class="slot-rest"><${Icon} name="easel" /></span>`
    }
    ${
      run.status === "running" &&
      html`<div class="progress">
      <span class="progress-text">${text}</span>
      <div class="progress-bar" role="progressbar" aria-label=${name} aria-valuemin="0" aria-valuemax="100"
        aria-valuenow=${Math.round(100 * share)} aria-valuetext=${text}>
          <span style=${{ transform: `scaleX(${share})` }}></span></div>
    </div>`
    }
  </div>`;
}
