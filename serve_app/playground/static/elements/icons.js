// The editor's icons, made element by element: the page may hold no markup in a script's text.

const SVG = "http://www.w3.org/2000/svg";
const PATHS = {
  brush: ["M14.5 4.5l5 5L11 18H6v-5z", "M12 7l5 5", "M4 21h7"],
  eraser: [
    "M9 20H20",
    "M4.6 13.4l8.8-8.8a2 2 0 0 1 2.8 0l3.2 3.2a2 2 0 0 1 0 2.8L10 20H8l-3.4-3.8a2 2 0 0 1 0-2.8z",
    "M9 9l6 6",
  ],
  frame: ["M8 8h8v8H8z", "M3 7V3h4", "M17 3h4v4", "M21 17v4h-4", "M7 21H3v-4"],
  undo: ["M8 5L4 9l4 4", "M4 9h10a5.5 5.5 0 0 1 0 11H9"],
  redo: ["M16 5l4 4-4 4", "M20 9H10a5.5 5.5 0 0 0 0 11h5"],
  invert: ["M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17z", "M12 3.5v17", "M15 5v14", "M18 7v10"],
  clear: ["M4 7h16", "M9 7V4h6v3", "M6 7l1 13h10l1-13", "M10 11v5", "M14 11v5"],
  closer: ["M10.5 4a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13z", "M15.5 15.5L21 21", "M7.5 10.5h6", "M10.5 7.5v6"],
  farther: ["M10.5 4a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13z", "M15.5 15.5L21 21", "M7.5 10.5h6"],
  fit: ["M9 3H3v6", "M15 3h6v6", "M21 15v6h-6", "M3 15v6h6", "M3 3l6 6", "M21 3l-6 6", "M21 21l-6-6", "M3 21l6-6"],
};

/** An SVG element that only decorates: what it stands in has a name. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const attributes = { viewBox: "0 0 24 24", width: 20, height: 20, "aria-hidden": "true", focusable: "false" };
  Object.entries(attributes).forEach(([key, value]) => svg.setAttribute(key, value));
  for (const data of PATHS[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", data);
    svg.append(path);
  }
  return svg;
}
