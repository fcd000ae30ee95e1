/** The head of the page: its name, how the service is, the key, the theme. */

import { html, useEffect } from "../../vendor/preact.js";
import { appearance } from "../state/choices.js";
import { key, keyWanted } from "../state/key.js";
import { service } from "../state/service_state.js";
import { useStore } from "../state/store.js";
import { Icon, IconButton } from "./basics.js";

const THEMES = {
  system: { next: "light", icon: "system", label: "Theme: as the system. Change to light" },
  light: { next: "dark", icon: "sun", label: "Theme: light. Change to dark" },
  dark: { next: "system", icon: "moon", label: "Theme: dark. Change to the system's" },
};

export function Header({ onKey }) {
  const { theme } = useStore(appearance);
  const wanted = useStore(keyWanted);
  const hasKey = useStore(key) !== "";
  const isLocked = useStore(service).failure?.status === 401; // then the page asks by itself
  useEffect(() => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }, [theme]);
  return html`<header class="header">
    <h1 class="brand"><${Icon} name="easel" />Easel</h1>
    <${Pulse} />
    <nav class="header-actions" aria-label="Page">
      ${
        wanted &&
        !isLocked &&
        html`<${IconButton} icon="key" label=${hasKey ? "API key: change" : "API key: enter"}
        kind=${hasKey ? "is-set" : ""} onClick=${onKey} />`
      }
      <a class="icon-button" href="docs" aria-label="API documentation" title="API documentation">
        <${Icon} name="book" /></a>
      <${IconButton} icon=${THEMES[theme].icon} label=${THEMES[theme].label}
        onClick=${() => appearance.set({ theme: THEMES[theme].next })} />
    </nav>
  </header>`;
}

/** One dot: whether the service answers, and whether all of it runs. */
function Pulse() {
  const { models, states, failure } = useStore(service);
  if (!models && !failure) return html`<p class="pulse"><span class="dot is-waiting"></span>Connecting…</p>`;
  if (failure && failure.status !== 401) return html`<p class="pulse"><span class="dot is-bad"></span>No answer</p>`;
  if (failure) return html`<p class="pulse"><span class="dot is-waiting"></span>Key needed</p>`;
  const starting = Object.values(states).filter((state) => !/^(running|scaled)/.test(state)).length;
  if (starting) return html`<p class="pulse"><span class="dot is-waiting"></span>${starting} starting</p>`;
  return html`<p class="pulse"><span class="dot is-good"></span>Ready</p>`;
}
