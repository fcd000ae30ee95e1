/** What went wrong and what to do; where the service said when to ask again, the seconds until then. */

import { html, useEffect, useState } from "../../vendor/preact.js";
import { adviceFor } from "../logic/errors.js";
import { Action, Icon } from "./basics.js";

/** `since`: when it failed, in milliseconds since 1970. */
export function FailureCard({ failure, since, onRetry, onKey, onClose }) {
  const advice = adviceFor(failure);
  const left = useSecondsUntil(since + 1000 * advice.wait);
  return html`<div class="failure" role="alert">
    <${Icon} name="alert" />
    <div class="failure-text">
      <p class="failure-title">${advice.title}</p>
      <p>${advice.text}</p>
    </div>
    <div class="failure-actions">
      ${advice.action === "key" && html`<${Action} icon="key" label="Enter a key" onClick=${onKey} />`}
      ${
        advice.action === "retry" &&
        html`<${Action} icon="again" disabled=${left > 0} onClick=${onRetry}
        label=${left > 0 ? `Try again in ${left} s` : "Try again"} />`
      }
      ${onClose && html`<${Action} icon="close" label="Dismiss" kind="quiet" onClick=${onClose} />`}
    </div>
  </div>`;
}

function useSecondsUntil(time) {
  const secondsLeft = () => Math.max(0, Math.ceil((time - Date.now()) / 1000));
  const [left, setLeft] = useState(secondsLeft);
  useEffect(() => {
    setLeft(secondsLeft());
    const timer = setInterval(() => setLeft(secondsLeft()), 250);
    return () => clearInterval(timer);
  }, [time]);
  return left;
}
