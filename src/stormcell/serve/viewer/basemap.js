// Land, coasts, borders and places around the radar, from the cells of vendor/basemap (see tools/basemap.py). A site
// can have the tiles of another basemap instead.

import { L } from "./leaflet.js";

const FOLDER = "viewer/vendor/basemap/";

export class Basemap {
  #map;
  #land;
  #lines;
  #drawn = [];
  #loaded = new Set();
  places = [];

  constructor(map) {
    this.#map = map;
    this.#land = L.canvas({ pane: "land", padding: 0.5 });
    this.#lines = L.canvas({ pane: "lines", padding: 0.5 });
  }

  /** Use the tiles of another basemap. */
  useTiles(address) {
    L.tileLayer(address, { pane: "tiles" }).addTo(this.#map);
  }

  /** Draw what is in view, now and whenever the map has moved; drawn is called when something was added. */
  async follow(drawn) {
    const index = await (await fetch(`${FOLDER}index.json`)).json();
    const cover = async () => {
      const added = this.#cellsIn(this.#map.getBounds().pad(0.1), index);
      if (!added.length) return;
      await Promise.all(added.map(([name, shift]) => this.#load(name, index.scale, shift)));
      this.places.sort((one, other) => other.population - one.population);
      drawn();
    };
    this.#map.on("moveend", cover);
    return cover();
  }

  /** List the cells in a box that are not loaded. Across the 180th meridian, the world is continued. */
  #cellsIn(bounds, { cells, size }) {
    const all = [-360, 0, 360].flatMap((shift) => cells.map((name) => [name, shift]));
    return all.filter(([name, shift]) => {
      const [west, south] = name.split("_").map(Number);
      const box = [
        [south, west + shift],
        [south + size, west + shift + size],
      ];
      return bounds.intersects(box) && !this.#loaded.has(`${name} ${shift}`);
    });
  }

  async #load(name, scale, shift) {
    this.#loaded.add(`${name} ${shift}`);
    const cell = await (await fetch(`${FOLDER}${name}.json`)).json();
    const rings = cell.land.map((ring) => points(ring, scale, shift));
    const [west, south, east, north] = extent(rings);
    const coasts = rings.flatMap((ring) => withoutSides(ring, west, south, east, north));
    this.#draw(L.polygon(rings, { ...this.#options("land"), stroke: false, fill: true, fillOpacity: 1 }), "land");
    this.#draw(L.polyline(coasts, { ...this.#options("coast"), weight: 1 }), "coast");
    const borders = cell.borders.map((line) => points(line, scale, shift));
    this.#draw(L.polyline(borders, { ...this.#options("border"), weight: 1, dashArray: "4 3" }), "border");
    for (const [name, lon, lat, population] of cell.places) {
      this.places.push({ name, lat, lon: lon + shift, population });
    }
  }

  #options(kind) {
    const renderer = kind === "land" ? this.#land : this.#lines;
    return { renderer, interactive: false, smoothFactor: 1.2, ...colour(kind) };
  }

  #draw(layer, kind) {
    this.#drawn.push({ layer, kind });
    layer.addTo(this.#map);
  }

  /** Take the colours of the page's theme. */
  restyle() {
    for (const { layer, kind } of this.#drawn) layer.setStyle(colour(kind));
  }
}

function colour(kind) {
  const value = getComputedStyle(document.documentElement).getPropertyValue(`--${kind}`).trim();
  return kind === "land" ? { fillColor: value } : { color: value };
}

/** Unpack a line: the first point, then differences, in units of 1 / scale degrees. */
function points(packed, scale, shift) {
  let x = shift * scale;
  let y = 0;
  const line = [];
  for (let index = 0; index < packed.length; index += 2) {
    x += packed[index];
    y += packed[index + 1];
    line.push([y / scale, x / scale]);
  }
  return line;
}

function extent(rings) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const ring of rings) {
    for (const [y, x] of ring) {
      box[0] = Math.min(box[0], x);
      box[1] = Math.min(box[1], y);
      box[2] = Math.max(box[2], x);
      box[3] = Math.max(box[3], y);
    }
  }
  return box;
}

/** Cut a closed ring into lines, without what runs along the sides of its cell. */
function withoutSides(ring, west, south, east, north) {
  const lines = [];
  let line = [ring[0]];
  for (let index = 1; index <= ring.length; index++) {
    const [[y0, x0], end] = [ring[index - 1], ring[index % ring.length]];
    const [y1, x1] = end;
    const along = (x0 === x1 && (x0 === west || x0 === east)) || (y0 === y1 && (y0 === south || y0 === north));
    if (!along) {
      line.push(end);
      continue;
    }
    if (line.length > 1) lines.push(line);
    line = [end];
  }
  if (line.length > 1) lines.push(line);
  return lines;
}
