// Keys, buttons and settings.

import { keep, settings } from "./settings.js";

/** @param actions functions by name: back, forward, play, now, compare, close, and centre: open its place */
export function connectKeys(map, actions) {
  const byKey = {
    " ": actions.play,
    ArrowLeft: actions.back,
    ArrowRight: actions.forward,
    ",": actions.back,
    ".": actions.forward,
    n: actions.now,
    e: actions.compare,
    Escape: actions.close,
  };
  const byKeyOnMap = { Enter: actions.centre };
  let tabbed = false; // whether the keyboard, not the pointer, moved the focus last
  // Before Leaflet, which pans by the arrow keys: they do so only where the keyboard brought the focus to the map.
  const handle = (event) => {
    tabbed ||= event.key === "Tab";
    const action = (event.target === map && byKeyOnMap[event.key]) || byKey[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (event.target.closest("input, select, dialog, [popover]")) return;
    if (event.key === " " && event.target.closest("button, a")) return;
    if (event.key.startsWith("Arrow") && event.target === map && tabbed) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  };
  addEventListener("keydown", handle, { capture: true });
  // Leaflet's buttons give the focus to the map.
  addEventListener("pointerdown", () => (tabbed = false), { capture: true });
}

/** Let the settings' inputs show and change what is kept; changed is called with the name of what changed. */
export function connectSettings(form, changed) {
  for (const input of form.querySelectorAll("[name]")) {
    input.value = settings[input.name];
    input.addEventListener("input", () => {
      keep(input.name, input.type === "range" ? Number(input.value) : input.value);
      changed(input.name);
    });
  }
}
