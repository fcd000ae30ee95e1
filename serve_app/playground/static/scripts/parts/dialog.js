/** A dialog of the browser's own: it holds the focus, and Escape or a press beside it ends it. */

import { html, useLayoutEffect, useRef } from "../../vendor/preact.js";
import { IconButton } from "./basics.js";

export function Dialog({ title, kind = "", onClose, onKeyDown, children }) {
  const dialog = useRef(null);
  // Before it is painted, so that keys that are pressed at once are already its own.
  useLayoutEffect(() => {
    const opener = document.activeElement;
    dialog.current.showModal();
    return () => opener?.focus?.();
  }, []);
  const close = (event) => {
    event.stopPropagation(); // of a dialog within another
    onClose();
  };
  return html`<dialog ref=${dialog} class="dialog ${kind}" aria-label=${title} onClose=${close} onKeyDown=${onKeyDown}
    onClick=${(event) => event.target === dialog.current && dialog.current.close()}>
    <div class="dialog-body">
      <div class="dialog-head">
        <h2>${title}</h2>
        <${IconButton} icon="close" label="Close" onClick=${() => dialog.current.close()} />
      </div>
      ${children}
    </div>
  </dialog>`;
}
