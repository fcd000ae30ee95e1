/** What stands where pictures will be, before there is one. */

import { html } from "../../vendor/preact.js";
import { ask, change } from "../ask.js";
import { Icon } from "./basics.js";

const EXAMPLES = [
  "a red circle on a blue background",
  "a (purple:1.4) star on a white background",
  "a woman in green on an orange background, flat style",
];

export function Empty({ canAsk }) {
  const begin = (prompt) => {
    change({ prompt });
    ask();
  };
  return html`<section class="empty">
    <div class="empty-canvas"><${Icon} name="easel" /></div>
    <h2>Say what you want to see</h2>
    <p>Type it, press <kbd>Enter</kbd>, and watch the picture form. Or begin with one of these:</p>
    <ul class="examples">
      ${EXAMPLES.map(
        (prompt) => html`<li key=${prompt}>
        <button type="button" class="example" disabled=${!canAsk} onClick=${() => begin(prompt)}>${prompt}</button>
          </li>`,
      )}
    </ul>
  </section>`;
}
