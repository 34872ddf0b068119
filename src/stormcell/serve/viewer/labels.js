// Names of places: the largest in view, as many as fit without touching.

import { L } from "./leaflet.js";

const LINE = 18; // pixels
const MOST = 60;

export class Labels {
  #map;
  #basemap;
  #group;

  constructor(map, basemap) {
    this.#map = map;
    this.#basemap = basemap;
    this.#group = L.layerGroup().addTo(map);
    map.on("moveend", () => this.draw());
  }

  draw() {
    const taken = [];
    this.#group.clearLayers();
    const view = this.#map.getBounds();
    const smallest = 4e6 / 2.6 ** (this.#map.getZoom() - 3); // inhabitants; fewer names on a wide view
    for (const place of this.#basemap.places) {
      if (taken.length >= MOST || place.population < smallest) break;
      if (!view.contains([place.lat, place.lon])) continue;
      const at = this.#map.latLngToContainerPoint([place.lat, place.lon]);
      const box = { left: at.x - 8, right: at.x + 7 * place.name.length + 14, top: at.y - LINE, bottom: at.y + LINE };
      if (taken.some((other) => touch(box, other))) continue;
      taken.push(box);
      this.#group.addLayer(label(place));
    }
  }

  /** Return the name of the nearest larger place within 30 km, or null. */
  near(latlng) {
    let best = null;
    for (const place of this.#basemap.places) {
      const distance = this.#map.distance(latlng, [place.lat, place.lon]);
      if (distance < 30000 && (!best || distance < best.distance)) best = { name: place.name, distance };
    }
    return best?.name ?? null;
  }
}

function touch(one, other) {
  return one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
}

function label(place) {
  const element = document.createElement("span");
  element.textContent = place.name;
  const className = place.population > 5e5 ? "place large" : "place";
  const icon = L.divIcon({ className, html: element, iconSize: null });
  return L.marker([place.lat, place.lon], { icon, pane: "labels", interactive: false, keyboard: false });
}
