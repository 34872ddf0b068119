// The rain on the map: one canvas, painted anew for each frame. There is always exactly one frame to see, because
// painting is one step for the browser, and no picture has to be decoded while the animation runs.

import { NOT_OBSERVED } from "./values.js";
import { L } from "./leaflet.js";

const WORLD = 2 * Math.PI * 6378137; // metres around the map

const CanvasOverlay = L.ImageOverlay.extend({
  _initImage() {
    this._image = this._url;
    this._image.classList.add("leaflet-image-layer");
    if (this._zoomAnimated) this._image.classList.add("leaflet-zoom-animated");
  },

  // Leaflet rounds both corners to whole pixels, which adds up to more than a pixel in between.
  _reset() {
    const at = (corner) => this._map.project(corner, this._map.getZoom()).subtract(this._map.getPixelOrigin());
    const start = at(this._bounds.getNorthWest());
    const size = at(this._bounds.getSouthEast()).subtract(start);
    L.DomUtil.setPosition(this._image, start);
    this._image.style.width = `${size.x}px`;
    this._image.style.height = `${size.y}px`;
    this._image.classList.toggle("magnified", size.x >= this._image.width);
  },
});

export class Rain {
  #map;
  #canvas = document.createElement("canvas");
  #overlay = null;
  #raster = null;
  #outline = [];
  #grid = null;
  #picture = null;

  constructor(map) {
    this.#map = map;
    this.#canvas.className = "rain";
    this.#canvas.setAttribute("aria-hidden", "true");
  }

  /** Place the canvas where a manifest's raster is. */
  place({ raster, grid }, opacity) {
    if (JSON.stringify(raster) === JSON.stringify(this.#raster)) return;
    this.#raster = raster;
    this.#outline = grid.outline ?? [];
    this.#grid = null;
    this.#overlay?.remove();
    this.#overlay = new CanvasOverlay(this.#canvas, boundsOf(raster), { pane: "rain", opacity }).addTo(this.#map);
  }

  setOpacity(opacity) {
    this.#overlay?.setOpacity(opacity);
  }

  show(picture, colours, frame) {
    const { width, height, levels } = picture;
    if (this.#canvas.width !== width || this.#canvas.height !== height) {
      this.#canvas.width = width;
      this.#canvas.height = height;
      this.#grid = null;
      this.#overlay.setBounds(this.#overlay.getBounds());
    }
    const context = this.#canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let index = 0; index < levels.length; index++) pixels[index] = colours[levels[index]];
    context.putImageData(image, 0, 0);
    this.#picture = picture;
    this.#grid ??= this.#gridPath(width, height);
    context.globalCompositeOperation = "destination-in"; // the corners beyond the grid are not part of it
    context.fill(this.#grid);
    this.#canvas.dataset.frame = frame;
  }

  /** Whether the picture in view has all of the raster's pixels. */
  get isWhole() {
    return this.#picture?.width === this.#raster?.shape[1];
  }

  /** Return the level of the frame in view at a place; null outside the grid. */
  levelAt(place) {
    return this.#grid && this.levelIn(this.#picture, place);
  }

  /** Return the level of a picture at a place; null outside the grid. */
  levelIn(picture, place) {
    const { width, height, levels } = picture;
    const [column, row] = this.#pixel(L.latLng(place), width, height).map(Math.floor);
    if (column < 0 || row < 0 || column >= width || row >= height) return null;
    const [x, y] = [column + 0.5, row + 0.5].map((at) => (at * this.#canvas.width) / width);
    if (this.#grid && !this.#canvas.getContext("2d").isPointInPath(this.#grid, x, y)) return null;
    return levels[row * width + column];
  }

  /** Return column and row of a place. Rasters across the 180th meridian continue to the east of it. */
  #pixel(latlng, width, height) {
    const [left, bottom, right, top] = this.#raster.bounds;
    const { x, y } = L.CRS.EPSG3857.project(latlng);
    const east = x < left - 1 && x + WORLD <= right + 1 ? x + WORLD : x;
    return [((east - left) / (right - left)) * width, ((top - y) / (top - bottom)) * height];
  }

  /** The outline of the radar's grid in pixels of the picture; all of the picture if it is not known. */
  #gridPath(width, height) {
    const path = new Path2D();
    for (const [lon, lat] of this.#outline) path.lineTo(...this.#pixel(L.latLng(lat, lon), width, height));
    if (!this.#outline.length) path.rect(0, 0, width, height);
    return path;
  }

  /** Whether a pixel of the picture is larger than one of the screen. It is shown as a square then. */
  get magnified() {
    return this.#canvas.classList.contains("magnified");
  }
}

export function boundsOf({ bounds: [left, bottom, right, top] }) {
  const corner = (x, y) => L.CRS.EPSG3857.unproject(L.point(x, y));
  return L.latLngBounds(corner(left, bottom), corner(right, top));
}

/** Return the bounds of what a picture observed; those of its raster if it observed nothing. */
export function seenBoundsOf(raster, { width, height, levels }) {
  let [west, north, east, south] = [width, height, 0, 0];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      if (levels[row * width + column] === NOT_OBSERVED) continue;
      west = Math.min(west, column);
      east = Math.max(east, column + 1);
      north = Math.min(north, row);
      south = row + 1;
    }
  }
  if (!south) return boundsOf(raster);
  const [left, bottom, right, top] = raster.bounds;
  const x = (column) => left + (column / width) * (right - left);
  const y = (row) => top - (row / height) * (top - bottom);
  return boundsOf({ bounds: [x(west), y(south), x(east), y(north)] });
}
