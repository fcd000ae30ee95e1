// The part of the editor where the picture is: pointers and keys on it to strokes and frames, and all of it drawn.
//
// The stage is as wide as the editor and takes its shape from the picture when that is opened, so that nothing on the
// page moves while one works.

import { make } from "./dom.js";
import { outline } from "./frame.js";
import { FrameDrag } from "./frame_drag.js";
import { FAST, FrameHandles } from "./frame_handles.js";
import { watchGestures } from "./gestures.js";
import { Painter } from "./painter.js";
import { watchKeys } from "./stage_keys.js";
import { Viewport } from "./viewport.js";

const MARGIN = { mask: 12, frame: 36 }; // CSS pixels around the picture; a frame needs room to go out
const SHAPES = [0.85, 16 / 9]; // the stage's narrowest and widest
const STEP = { slow: 0.5, fast: 2 }; // of the crosshair, in radii of the brush
const ZOOM = 1.5;

export class Stage {
  mode = "mask";
  #edited = null;
  #viewport = new Viewport();
  #painter;
  #drag;
  #handles;
  #brush;
  #notify;
  #cursor = null; // {x, y, isCross} in pixels of the picture
  #isScheduled = false;
  #size = { width: 0, height: 0 };

  /** Calls of `notify`: progress(), something looks otherwise; change(), something is done; say(text), for the ear. */
  constructor(brush, notify) {
    this.#brush = brush;
    this.#notify = notify;
    this.canvas = make("canvas", {
      className: "mask-editor__canvas",
      tabIndex: 0,
      role: "application",
      "aria-roledescription": "picture editor",
    });
    this.#painter = new Painter(this.canvas);
    const drag = new FrameDrag(this.#viewport, {
      progress: () => {
        this.redraw();
        notify.progress();
      },
      change: () => {
        this.fit();
        notify.change();
      },
    });
    this.#drag = drag;
    this.#handles = new FrameHandles({
      start: () => drag.begin(),
      move: (handle, dx, dy) => drag.resize(handle, dx, dy),
      end: () => drag.end(),
      step: (handle, across, down) => drag.step(handle, across, down),
    });
    this.element = make("div", { className: "mask-editor__stage" }, this.canvas, this.#handles.element);
    watchGestures(this.canvas, this.#gestures());
    watchKeys(this.canvas, this.#keys());
    new ResizeObserver(() => this.#resize()).observe(this.element);
  }

  /** `edited`: an EditedPicture, or null. */
  show(edited) {
    this.#edited = edited;
    this.#cursor = null;
    this.#drag.of(edited);
    if (edited) {
      const { width, height } = edited.picture;
      this.element.style.aspectRatio = String(Math.max(SHAPES[0], Math.min(width / height, SHAPES[1])));
    }
    this.fit();
  }

  /** Those of the model, which frames keep to. */
  set limits(limits) {
    this.#drag.limits = limits;
  }

  /** Shows all of the picture and the frame. */
  fit() {
    if (this.#edited) {
      this.#viewport.fit(this.#size, outline(this.#edited.picture, this.#edited.frame), MARGIN[this.mode]);
    }
    this.redraw();
  }

  get zooms() {
    return { isFitted: this.#viewport.isFitted, isClosest: this.#viewport.isClosest };
  }

  zoom(direction) {
    this.#viewport.zoom(ZOOM ** direction, this.#cursor?.isCross ? this.#viewport.toScreen(this.#cursor) : undefined);
    this.redraw();
  }

  redraw() {
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      requestAnimationFrame(() => this.#draw());
    }
  }

  #draw() {
    this.#isScheduled = false;
    const edited = this.#edited;
    if (!edited || !this.#size.width) {
      return;
    }
    const { frame, picture } = edited;
    const { x, y, width, height } = frame ?? { x: 0, y: 0, width: picture.width, height: picture.height };
    const corner = this.#viewport.toScreen({ x, y });
    const { scale } = this.#viewport;
    this.#handles.place({ ...corner, width: width * scale, height: height * scale });
    this.element.dataset.mode = this.mode;
    this.element.dataset.framed = String(frame !== null);
    const brush = this.mode === "mask" && this.#cursor;
    this.#painter.draw({
      viewport: this.#viewport,
      picture: edited.shown,
      mask: edited.mask,
      size: picture,
      frame,
      brush: brush ? { ...this.#cursor, radius: this.#brush.radius(picture) } : null,
    });
  }

  #resize() {
    this.#size = { width: this.element.clientWidth, height: this.element.clientHeight };
    this.#painter.resize(this.#size, window.devicePixelRatio);
    this.fit();
  }

  #gestures() {
    const place = (at) => this.#viewport.toPicture(at);
    return {
      start: (at) => {
        if (this.mode === "frame") {
          this.#drag.begin(place(at));
        } else {
          this.#beginStroke(place(at));
        }
      },
      move: (all) => {
        if (this.#drag.isOn) {
          this.#drag.moveTo(place(all.at(-1)));
        } else {
          this.#edited?.extendStroke(all.map(place));
          this.redraw();
        }
      },
      end: () => {
        this.#drag.end();
        this.#endStroke();
      },
      cancel: () => {
        this.#drag.cancel();
        this.#edited?.cancelStroke();
        this.redraw();
      },
      hover: (at) => {
        this.#cursor = at && { ...place(at), isCross: false };
        this.redraw();
      },
      zoom: (factor, at) => this.#look(() => this.#viewport.zoom(factor, at)),
      pan: (dx, dy) => this.#look(() => this.#viewport.pan(dx, dy)),
    };
  }

  /** Whether that moved anything. */
  #look(act) {
    const { x, y, scale } = this.#viewport;
    act();
    this.redraw();
    this.#notify.progress();
    return x !== this.#viewport.x || y !== this.#viewport.y || scale !== this.#viewport.scale;
  }

  #keys() {
    return {
      focus: () => this.#placeCross(0, 0),
      blur: () => {
        this.#cursor = null;
        this.redraw();
      },
      move: (across, down, isFast) => {
        if (this.mode === "frame") {
          const steps = isFast ? FAST : 1;
          this.#drag.step(null, across * steps, down * steps);
          return;
        }
        const step = this.#brush.radius(this.#edited.picture) * (isFast ? STEP.fast : STEP.slow);
        this.#placeCross(across * step, down * step);
        this.#edited.extendStroke([this.#cursor]);
      },
      press: () => {
        if (this.mode === "mask") {
          this.#placeCross(0, 0);
          this.#beginStroke(this.#cursor);
        }
      },
      release: () => this.#endStroke(),
    };
  }

  #placeCross(dx, dy) {
    const { width, height } = this.#edited.picture;
    const { x, y } = this.#cursor ?? { x: width / 2, y: height / 2 };
    const within = (value, most) => Math.max(0, Math.min(value, most));
    this.#cursor = { x: within(x + dx, width), y: within(y + dy, height), isCross: true };
    this.#viewport.reveal(this.#cursor);
    if (this.mode === "mask") {
      const share = (value, all) => `${Math.round((100 * value) / all)} %`;
      this.#notify.say(`${share(this.#cursor.x, width)} across, ${share(this.#cursor.y, height)} down`);
    }
    this.redraw();
  }

  #beginStroke({ x, y }) {
    if (!this.#edited.isBusy) {
      this.#edited.beginStroke({ x, y }, this.#brush.radius(this.#edited.picture), this.#brush.erases);
      this.redraw();
    }
  }

  #endStroke() {
    if (this.#edited?.isBusy) {
      this.#edited.endStroke();
      this.redraw();
      this.#notify.change();
    }
  }
}
