/** One picture as large as the window, with all that made it; the arrow keys go from picture to picture. */

import { html, useState } from "../../vendor/preact.js";
import { titleOf } from "../logic/models.js";
import { partsOf } from "../logic/words.js";
import { gallery, remove, urlOf } from "../state/gallery.js";
import { useStore } from "../state/store.js";
import { Action, IconButton } from "./basics.js";
import { Compare } from "./compare.js";
import { Dialog } from "./dialog.js";
import { PictureActions } from "./picture_actions.js";

export function Viewer({ picture, onShow, onClose }) {
  const all = useStore(gallery);
  const at = all.findIndex((each) => each.id === picture.id);
  const go = (by) => all[at + by] && onShow(all[at + by]);
  const onKeyDown = (event) => {
    if (event.target.closest("input, textarea, picture-compare, .snippet")) return;
    if (event.key === "ArrowLeft") go(-1);
    if (event.key === "ArrowRight") go(1);
    if (event.key === "Delete") erase();
  };
  const erase = () => {
    const next = all[at + 1] ?? all[at - 1];
    remove(picture);
    if (next) onShow(next);
    else onClose();
  };
  const prompt = picture.fields.prompt;
  return html`<${Dialog} title="Picture ${at + 1} of ${all.length}" kind="viewer" onClose=${onClose}
    onKeyDown=${onKeyDown}>
    <div class="viewer-stage">
      <${IconButton} icon="left" label="Newer picture" kind="viewer-turn" disabled=${at <= 0} onClick=${() => go(-1)} />
      <${Canvas} key=${picture.id} picture=${picture} />
      <${IconButton} icon="right" label="Older picture" kind="viewer-turn" disabled=${at >= all.length - 1}
        onClick=${() => go(1)} />
    </div>
    <div class="viewer-words">
      <p class="viewer-prompt">${prompt}</p>
      <dl class="facts">${partsOf(picture, titleOf(picture.fields.model)).map(
        ([name, value]) => html`<div key=${name}>
        <dt>${name}</dt><dd>${value}</dd></div>`,
      )}</dl>
      <${PictureActions} picture=${picture} onDone=${onClose}>
        <${Action} icon="trash" label="Delete" kind="quiet" onClick=${erase} />
      <//>
    </div>
  <//>`;
}

function Canvas({ picture }) {
  const [isCompared, setCompared] = useState(false);
  const { width, height, fields, files } = picture;
  const frame = { aspectRatio: `${width} / ${height}`, "--ratio": String(width / height) };
  return html`<div class="viewer-canvas">
    <div class="viewer-picture" style=${frame}>${
      isCompared
        ? html`<${Compare} before=${files.image} after=${picture.picture} name=${fields.prompt} />`
        : html`<img src=${urlOf(picture.picture)} alt=${fields.prompt} />`
    }</div>
    ${
      files.image &&
      html`<label class="switch"><input type="checkbox" checked=${isCompared}
      onChange=${(event) => setCompared(event.target.checked)} />Compare with before</label>`
    }
  </div>`;
}
