// Leaflet as a module. Its file puts it into the global L.

import "./vendor/leaflet/leaflet.js";

export const L = globalThis.L;
