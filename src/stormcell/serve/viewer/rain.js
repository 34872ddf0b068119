// The rain on the map: one canvas, painted anew for each frame. There is always exactly one frame to see, because
// painting is one step for the browser, and no picture has to be decoded while the animation runs.

import { NOT_OBSERVED } from "./values.js";
import { L } from "./leaflet.js";

const CanvasOverlay = L.ImageOverlay.extend({
  _initImage() {
    this._image = this._url;
    this._image.classList.add("leaflet-image-layer");
    if (this._zoomAnimated) this._image.classList.add("leaflet-zoom-animated");
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
    map.on("zoomend", () => this.#sharpen());
  }

  /** Place the canvas where a manifest's raster is. */
  place({ raster, grid }, opacity) {
    if (JSON.stringify(raster) === JSON.stringify(this.#raster)) return;
    this.#raster = raster;
    this.#outline = grid.outline ?? [];
    this.#grid = null;
    this.#overlay?.remove();
    this.#overlay = new CanvasOverlay(this.#canvas, boundsOf(raster), { pane: "rain", opacity }).addTo(this.#map);
    this.#sharpen();
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
      this.#sharpen();
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

  /** Return the level of the frame in view at a place; null outside the grid. */
  levelAt(latlng) {
    if (!this.#picture) return null;
    const [left, bottom, right, top] = this.#raster.bounds;
    const { x, y } = L.CRS.EPSG3857.project(latlng);
    const { width, height, levels } = this.#picture;
    const column = Math.floor(((x - left) / (right - left)) * width);
    const row = Math.floor(((top - y) / (top - bottom)) * height);
    if (column < 0 || row < 0 || column >= width || row >= height) return null;
    if (!this.#canvas.getContext("2d").isPointInPath(this.#grid, column + 0.5, row + 0.5)) return null;
    return levels[row * width + column];
  }

  /** The outline of the radar's grid in pixels of the picture; all of the picture if it is not known. */
  #gridPath(width, height) {
    const [left, bottom, right, top] = this.#raster.bounds;
    const path = new Path2D();
    for (const [lon, lat] of this.#outline) {
      const { x, y } = L.CRS.EPSG3857.project(L.latLng(lat, lon));
      path.lineTo(((x - left) / (right - left)) * width, ((top - y) / (top - bottom)) * height);
    }
    if (!this.#outline.length) path.rect(0, 0, width, height);
    return path;
  }

  /** Show a pixel as a square where it is larger than one of the screen, and smooth where it is smaller. */
  #sharpen() {
    const shown = parseFloat(this.#canvas.style.width) || 0;
    this.#canvas.classList.toggle("magnified", shown >= this.#canvas.width);
  }
}

export function boundsOf(raster) {
  const [left, bottom, right, top] = raster.bounds;
  const corner = (x, y) => L.CRS.EPSG3857.unproject(L.point(x, y));
  return L.latLngBounds(corner(left, bottom), corner(right, top));
}

/** Share of the pixels that other pictures observed and this one did not. */
export function blindShare(picture, others) {
  const { levels } = picture;
  const usual = others.filter((other) => other.levels.length === levels.length);
  let seen = 0;
  let blind = 0;
  for (let index = 0; index < levels.length; index++) {
    if (!usual.some((other) => other.levels[index] !== NOT_OBSERVED)) continue;
    seen++;
    if (levels[index] === NOT_OBSERVED) blind++;
  }
  return seen ? blind / seen : 0;
}
