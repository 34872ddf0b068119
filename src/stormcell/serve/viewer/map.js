// The Leaflet map: its panes, limits and the value under the pointer.

import { calm, embedded } from "./settings.js";
import { L } from "./leaflet.js";

// From the bottom to the top. Coasts and names lie above the rain, so that one can see where it rains.
const PANES = { tiles: 150, land: 200, rain: 300, lines: 350, labels: 360 };

export function createMap(element) {
  const map = L.map(element, {
    attributionControl: false,
    zoomControl: false,
    zoomSnap: 0.25,
    minZoom: 3,
    maxZoom: 13,
    fadeAnimation: !calm,
    zoomAnimation: !calm,
    inertia: !calm,
    scrollWheelZoom: !embedded, // the wheel scrolls the page that the map is part of
    maxBoundsViscosity: 0.8,
  });
  for (const [name, order] of Object.entries(PANES)) {
    const pane = map.createPane(name);
    pane.style.zIndex = order;
    pane.style.pointerEvents = "none";
  }
  L.control.zoom({ position: "bottomright" }).addTo(map);
  L.control.scale({ position: "bottomleft", imperial: false }).addTo(map);
  return map;
}

/** Show a box in the part of the map that no panel covers. */
export function fit(map, bounds) {
  const narrow = map.getSize().x <= 700;
  const below = [8, embedded ? 8 : 100];
  map.fitBounds(bounds, { paddingTopLeft: [8, narrow && !embedded ? 110 : 8], paddingBottomRight: below });
}

/** Move the map until no panel covers a place. */
export function reveal(map, latlng, panel) {
  const { left, top, width } = panel.getBoundingClientRect();
  const { x, y } = map.getSize();
  const below = width > x / 2;
  map.panInside(latlng, { padding: [24, 24], paddingBottomRight: below ? [24, y - top + 24] : [x - left + 24, 24] });
}

/** Say what is under the pointer, in a small label beside it. */
export function followPointer(map, label, describe) {
  const hide = () => (label.hidden = true);
  map.on("mousemove", (event) => {
    const text = describe(event.latlng);
    label.hidden = text === null;
    if (text === null) return;
    label.textContent = text;
    const { x, y } = event.containerPoint;
    const turn = x > map.getSize().x - 140;
    label.style.transform = `translate(${x}px, ${y}px) translate(${turn ? "calc(-100% - 14px)" : "14px"}, -50%)`;
  });
  map.on("mouseout movestart", hide);
}
