/** Where a picture is dropped or picked; pasting works everywhere on the page. */

import { html, useState } from "../../vendor/preact.js";
import { ACCEPT, REFUSAL, pictureAmong } from "../state/source.js";
import { Icon } from "./basics.js";

export function Dropzone({ id, title, hint, problem, isCompact = false, onPicture, children }) {
  const [isOver, setOver] = useState(false);
  const [isRefused, setRefused] = useState(false);
  const take = (files) => {
    const file = pictureAmong(files);
    setRefused(!file);
    if (file) onPicture(file);
  };
  const drop = (event) => {
    event.preventDefault();
    event.stopPropagation();
    setOver(false);
    take(event.dataTransfer.files);
  };
  const over = (event) => {
    event.preventDefault();
    setOver(true);
  };
  const wrong = isRefused ? REFUSAL : problem;
  return html`<div class="dropzone ${isOver ? "is-over" : ""} ${isCompact ? "is-compact" : ""}" onDragOver=${over}
    onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <${Icon} name="picture" />
    <p class="dropzone-title">${title}</p>
    <p class="hint" id="${id}-hint">${hint}</p>
    <div class="dropzone-actions">
      <label class="action strong"><input id=${id} class="hidden-input" type="file" accept=${ACCEPT}
        aria-describedby="${id}-hint ${id}-problem"
        onChange=${(event) => {
          take(event.target.files);
          event.target.value = "";
        }} /><${Icon} name="plus" /><span>Choose a file</span></label>
      ${children}
    </div>
    <p class="problem" id="${id}-problem" aria-live="polite">${wrong && html`<${Icon} name="alert" />${wrong}`}</p>
  </div>`;
}
