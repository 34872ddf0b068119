// The value under the pointer, in a small label beside it and on the colour bar.

import { levelText } from "./values.js";

const ROOM = 140; // pixels that the label needs on the right of the pointer

/** @param current returns what is in view: {kind, encoding}, or null */
export function followPointer(map, label, bar, rain, current) {
  map.on("mousemove", ({ latlng, containerPoint: { x, y } }) => {
    const view = current();
    const level = view && rain.levelAt(latlng);
    bar.point(level);
    label.hidden = level === null;
    if (level === null) return;
    label.textContent = described(level, view, rain.isWhole);
    const side = x > map.getSize().x - ROOM ? "calc(-100% - 14px)" : "14px";
    label.style.transform = `translate(${x}px, ${y}px) translate(${side}, -50%)`;
  });
  map.on("mouseout movestart", () => {
    label.hidden = true;
    bar.point(null);
  });
}

/** Describe a level. That of a smaller picture is the highest of the pixels that it stands for. */
function described(level, { kind, encoding }, isWhole) {
  const text = levelText(level, kind, encoding);
  return isWhole || !/\d/.test(text) ? text : `up to ${text}`;
}
