/** The entry point: puts the page into the document and begins to look at the service. */

import { html, render } from "../vendor/preact.js";
import { App } from "./app.js";
import { openGallery } from "./state/gallery.js";
import { look } from "./state/service_state.js";

render(html`<${App} />`, document.getElementById("app"));
look();
openGallery();
