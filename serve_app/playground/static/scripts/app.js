/** The page: the form on one side, what comes of it on the other. */

import { html, useEffect, useState } from "../vendor/preact.js";
import "../elements/picture_compare.js";
import { change } from "./ask.js";
import { chosenMode, modelsFor } from "./logic/models.js";
import { useNarrow } from "./parts/basics.js";
import { Composer } from "./parts/composer.js";
import { Empty } from "./parts/empty.js";
import { GalleryView } from "./parts/gallery_view.js";
import { Header } from "./parts/header.js";
import { KeyDialog } from "./parts/key_form.js";
import { Notices } from "./parts/notices.js";
import { RunView } from "./parts/run_view.js";
import { Source } from "./parts/source_view.js";
import { Viewer } from "./parts/viewer.js";
import { announcement } from "./state/announcements.js";
import { choices } from "./state/choices.js";
import { gallery } from "./state/gallery.js";
import { problems } from "./state/problems.js";
import { runs } from "./state/runs.js";
import { service } from "./state/service_state.js";
import { REFUSAL, photo, picture, pictureAmong } from "./state/source.js";
import { useStore } from "./state/store.js";

export function App() {
  const [shown, setShown] = useState(null);
  const [asksForKey, setAsksForKey] = useState(false);
  const askForKey = () => setAsksForKey(true);
  usePicturesFromOutside();
  return html`
    <a class="skip" href="#results">To the pictures</a>
    <${Header} onKey=${askForKey} />
    <main class="layout">
      <${Composer} />
      <${Results} onShow=${setShown} onKey=${askForKey} />
    </main>
    ${shown && html`<${Viewer} picture=${shown} onShow=${setShown} onClose=${() => setShown(null)} />`}
    ${asksForKey && html`<${KeyDialog} onClose=${() => setAsksForKey(false)} />`}
    <${LiveRegion} />`;
}

function Results({ onShow, onKey }) {
  const { mode: wanted } = useStore(choices);
  const isNarrow = useNarrow();
  const { models, failure } = useStore(service);
  const all = useStore(runs);
  const hasPictures = useStore(gallery).length > 0;
  const isEmpty = !all.length && !hasPictures && chosenMode(wanted, models ?? []) === "text" && !failure;
  return html`<div class="results" id="results" tabindex="-1">
    <${Notices} />
    ${!isNarrow && html`<${Source} />`}
    ${isEmpty && html`<${Empty} canAsk=${Boolean(models?.length)} />`}
    ${all.map(
      (run, index) => html`<${RunView} key=${run.id} run=${run} isFirst=${index === 0} onShow=${onShow}
      onKey=${onKey} />`,
    )}
    <${GalleryView} onShow=${onShow} />
  </div>`;
}

/** A picture that is pasted, or dropped beside the place for it, is edited; or gives its pose, in that mode. */
function usePicturesFromOutside() {
  useEffect(() => {
    const take = (file) => {
      const isPose = choices.value.mode === "pose";
      if (!isPose && !modelsFor("edit", service.value.models ?? []).length) return;
      if (!isPose && choices.value.mode !== "edit") change({ mode: "edit" });
      if (!file) problems.set({ [isPose ? "pose" : "picture"]: REFUSAL });
      else if (isPose) photo.set(file);
      else picture.set({ image: file });
    };
    const paste = (event) => {
      const { clipboardData, target } = event;
      const file = pictureAmong(clipboardData.files);
      // A word processor gives what it copies as a picture, too.
      const isText = clipboardData.types.includes("text/plain") && target.closest?.("input, textarea");
      if (file && !isText) {
        event.preventDefault();
        take(file);
      }
    };
    const drop = (event) => {
      if (!event.dataTransfer.files.length) return;
      event.preventDefault(); // lest the browser leave the page for the file
      take(pictureAmong(event.dataTransfer.files));
    };
    const over = (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault();
    addEventListener("paste", paste);
    addEventListener("drop", drop);
    addEventListener("dragover", over);
    return () => {
      removeEventListener("paste", paste);
      removeEventListener("drop", drop);
      removeEventListener("dragover", over);
    };
  }, []);
}

function LiveRegion() {
  const { text, number } = useStore(announcement);
  return html`<p class="hidden" role="status" aria-live="polite">${text}${number % 2 ? "" : "\u00a0"}</p>`;
}
