// The address of a view: #lat/lon/zoom/time/layer. The time is "now" or, for example, 20261128T0325Z.

import { fromName, nameOf } from "./times.js";

export function read(hash = location.hash) {
  const [lat, lon, zoom, time, layer] = hash.replace(/^#/, "").split("/");
  const place = [lat, lon, zoom].map((text) => (text ? Number(text) : NaN));
  return {
    place: place.every(Number.isFinite) ? { lat: place[0], lon: place[1], zoom: place[2] } : null,
    time: fromName(time),
    layer: layer ? decodeURIComponent(layer) : null,
  };
}

export function text({ lat, lon, zoom, time, layer }) {
  const digits = Math.max(2, Math.ceil(zoom / 3));
  return `#${lat.toFixed(digits)}/${lon.toFixed(digits)}/${zoom}/${time ? nameOf(time) : "now"}/${layer}`;
}

/** Replace the address; a view is not a page to go back to. */
export function write(view) {
  const hash = text(view);
  if (hash !== location.hash) history.replaceState(null, "", hash);
  return hash;
}
