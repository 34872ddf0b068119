// Which pictures a layer shows, and their loading: the one in view first, then outwards in time.

import { decode } from "./png.js";
import { nameOf } from "./times.js";

const AT_ONCE = 4;
const LARGEST = 2048; // pixels of a side

/** List a layer's frames: the observed ones, then its forecasts. */
export function framesOf(latest, manifest, layer) {
  const { issue, run } = manifest;
  const coarse = overviewOf(manifest.raster);
  const here = productOf(manifest, "observed").times.map((time) => ({ time, issue, run }));
  const seen = new Map([...latest.observed, ...here].map((frame) => [Date.parse(frame.time), frame]));
  const observed = [...seen.entries()]
    .sort(([one], [other]) => one - other)
    .map(([time, frame]) => ({
      time: new Date(time),
      kind: "rate",
      observed: true,
      ...addresses(frame.issue, frame.run, "observed", time, coarse),
    }));
  const { name, kind, times } = productOf(manifest, layer);
  const forecast = times
    .filter((time) => name !== "observed" && Date.parse(time) > Date.parse(issue))
    .map((time) => ({
      time: new Date(time),
      kind,
      observed: false,
      ...addresses(issue, run, name, time, coarse),
    }));
  return [...observed, ...forecast];
}

const productOf = (manifest, wanted) => manifest.products.find(({ name }) => name === wanted) ?? { times: [] };

/** Return the picture to animate, and the one with all pixels. */
function addresses(issue, run, product, valid, coarse) {
  const path = `frames/${nameOf(new Date(issue))}/${run}/${product}/${nameOf(new Date(valid))}`;
  return { url: coarse > 1 ? `${path}-${coarse}.png` : `${path}.png`, whole: `${path}.png` };
}

/** Return which of the smaller pictures an animation can have in memory many times. */
function overviewOf({ shape, overviews }) {
  return [1, ...overviews].find((n) => Math.max(...shape) / n <= LARGEST) ?? overviews.at(-1);
}

/** Index of the newest observed frame, or of the first frame. */
export function nowIn(frames) {
  return Math.max(0, frames.findLastIndex(({ observed }) => observed));
}

/** The pictures of the frames. Each is fetched once; those that no frame needs any more are dropped. */
export class Pictures {
  #pictures = new Map();
  #waiting = [];
  #active = 0;
  #loaded;

  /** @param {(url: string) => void} loaded is called whenever a picture has come */
  constructor(loaded) {
    this.#loaded = loaded;
  }

  get(url) {
    return this.#pictures.get(url);
  }

  /** Whether all pictures that were wanted have come, or cannot. */
  get complete() {
    return this.#active === 0 && this.#waiting.length === 0;
  }

  /** Load the pictures of these frames, the one at an index first, and forget all others. */
  want(frames, first) {
    const nearest = [...frames.keys()].sort((a, b) => Math.abs(a - first) - Math.abs(b - first));
    const urls = nearest.map((index) => frames[index].url);
    const needed = new Set(urls);
    for (const url of this.#pictures.keys()) if (!needed.has(url)) this.#pictures.delete(url);
    this.#waiting = urls.filter((url) => !this.#pictures.has(url));
    this.#next();
  }

  /** Load one picture before all others. */
  async load(url) {
    if (url && !this.#pictures.has(url)) this.#pictures.set(url, await this.fetch(url));
  }

  /** Fetch one picture, with a palette if one is named. */
  async fetch(url, palette = null) {
    const response = await fetch(palette ? `${url}?palette=${palette}` : url);
    if (!response.ok) throw new Error(`${url}: ${response.status}`);
    return decode(await response.arrayBuffer());
  }

  async #next() {
    if (this.#active >= AT_ONCE || !this.#waiting.length) return;
    const url = this.#waiting.shift();
    this.#active++;
    this.#next();
    // A frame without a picture stays empty on the timeline. It is asked for again with the next issue.
    await this.load(url).catch(() => null);
    this.#active--;
    this.#loaded(url);
    this.#next();
  }
}
