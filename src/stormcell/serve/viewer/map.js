// The Leaflet map: its panes, and which part of it is in view.

import { calm, embedded } from "./settings.js";
import { L } from "./leaflet.js";

// From the bottom to the top. Coasts and names lie above the rain, so that one can see where it rains.
const PANES = { tiles: 150, land: 200, rain: 300, lines: 350, alerts: 355, labels: 360 };

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
export function fit(map, bounds, above, below) {
  const { x, y } = map.getSize();
  const card = above.getBoundingClientRect();
  const top = card.width > x / 2 ? card.bottom : 0; // a narrow one may lie on the corner
  map.fitBounds(bounds, {
    paddingTopLeft: [8, top + 8],
    paddingBottomRight: [8, y - below.getBoundingClientRect().top + 8],
  });
}

/** Move the map until no panel covers a place. */
export function reveal(map, latlng, panel) {
  const { left, top, width } = panel.getBoundingClientRect();
  const { x, y } = map.getSize();
  const below = width > x / 2;
  map.panInside(latlng, { padding: [24, 24], paddingBottomRight: below ? [24, y - top + 24] : [x - left + 24, 24] });
}
