/** What can be done with a finished picture. */

import { html, useState } from "../../vendor/preact.js";
import { change } from "../ask.js";
import { modelsFor } from "../logic/models.js";
import { extensionOf } from "../logic/snippets.js";
import { urlOf } from "../state/gallery.js";
import { service } from "../state/service_state.js";
import { picture as pictureToEdit, pose } from "../state/source.js";
import { useStore } from "../state/store.js";
import { Action, Icon } from "./basics.js";
import { SnippetDialog } from "./snippet_dialog.js";

/** `onDone`: told when the page below is wanted again, as to edit. */
export function PictureActions({ picture, onDone = () => {}, children }) {
  const [showsCode, setShowsCode] = useState(false);
  const { models } = useStore(service);
  const canEdit = modelsFor("edit", models ?? []).length > 0;
  return html`<div class="picture-actions">
    <${Download} picture=${picture} />
    <${Action} icon="again" label="Use again" onClick=${() => {
      again(picture);
      onDone();
    }} />
    ${
      canEdit &&
      html`<${Action} icon="brush" label="Edit" onClick=${() => {
        edit(picture);
        onDone();
      }} />`
    }
    <${Action} icon="code" label="Code" onClick=${() => setShowsCode(true)} />
    ${children}
    ${showsCode && html`<${SnippetDialog} picture=${picture} onClose=${() => setShowsCode(false)} />`}
  </div>`;
}

function Download({ picture }) {
  return html`<a class="action" href=${urlOf(picture.picture)} download=${nameOf(picture)}><${Icon} name="download" />
    <span>Save</span></a>`;
}

/** A file's name: the first words of the prompt, and the seed. @param {import("../state/gallery.js").Kept} kept */
function nameOf({ fields, seed }) {
  const words = fields.prompt.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ["picture"];
  return `${words.slice(0, 6).join("-")}-${seed}.${extensionOf(fields)}`;
}

/** Chooses all that made the picture: its seed, its mask and its pose included. */
function again(picture) {
  change({ ...picture.choices, seed: picture.seed, count: 1 });
  if (picture.kind === "edits") pictureToEdit.set({ ...picture.files });
  if (picture.fields.keypoints) pose(picture.fields.keypoints);
  requestAnimationFrame(() => document.getElementById("prompt")?.focus()); // when no dialog holds it any more
}

function edit(picture) {
  change({ mode: "edit" });
  pictureToEdit.set({ image: picture.picture });
  scrollTo({ top: 0, behavior: "instant" });
}
