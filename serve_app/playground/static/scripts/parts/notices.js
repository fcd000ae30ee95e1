/** What stands between a person and the pictures: no answer, a key that is missing, models that are still starting. */

import { html } from "../../vendor/preact.js";
import { titleOf } from "../logic/models.js";
import { look, notReady, service } from "../state/service_state.js";
import { useStore } from "../state/store.js";
import { key } from "../state/key.js";
import { Icon } from "./basics.js";
import { FailureCard } from "./failure_card.js";
import { KeyForm } from "./key_form.js";

export function Notices() {
  const { models, states, failure } = useStore(service);
  if (failure?.status === 401) return html`<${Locked} />`;
  if (failure) return html`<${FailureCard} failure=${failure} since=${0} onRetry=${look} />`;
  if (models && !models.length) {
    return html`<p class="notice"><${Icon}
      name="alert" />There is no model here for you. Ask whoever runs this service.</p>`;
  }
  const starting = notReady(states).filter((name) => models?.some((model) => model.id === name));
  if (!starting.length) return null;
  return html`<p class="notice" role="status"><span class="dot is-waiting"></span>
    ${starting.map(titleOf).join(", ")} ${
      starting.length > 1 ? "are" : "is"
    } not ready yet. You can ask already; it waits.</p>`;
}

function Locked() {
  return html`<section class="locked" aria-labelledby="locked-title">
    <div class="empty-canvas"><${Icon} name="key" /></div>
    <h2 id="locked-title">This service asks for a key</h2>
    <p role="alert">${
      key.value
        ? "The key that you gave is not known here. Look for a typing mistake."
        : "You have it from whoever runs the service."
    }</p>
    <${KeyForm} />
  </section>`;
}
