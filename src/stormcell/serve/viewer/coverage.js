// What the radar sees, by the observed pictures.

import { NOT_OBSERVED } from "./values.js";

const SAMPLES = 24; // places in each direction of a view

/** Return which share of the pixels that earlier pictures observed the last one did not. */
export function blindShare(pictures) {
  if (!pictures.length) return 0;
  const { levels } = pictures.at(-1);
  const usual = pictures.slice(0, -1).filter((other) => other.levels.length === levels.length);
  let seen = 0;
  let blind = 0;
  for (let index = 0; index < levels.length; index++) {
    if (!usual.some((other) => other.levels[index] !== NOT_OBSERVED)) continue;
    seen++;
    if (levels[index] === NOT_OBSERVED) blind++;
  }
  return seen ? blind / seen : 0;
}

/** Whether no picture observed any part of a view. */
export function isBeyond(view, rain, pictures) {
  if (!pictures.length) return false;
  const [west, south, east, north] = [view.getWest(), view.getSouth(), view.getEast(), view.getNorth()];
  for (let row = 0; row <= SAMPLES; row++) {
    for (let column = 0; column <= SAMPLES; column++) {
      const place = [south + ((north - south) * row) / SAMPLES, west + ((east - west) * column) / SAMPLES];
      if (pictures.some((picture) => (rain.levelIn(picture, place) ?? NOT_OBSERVED) !== NOT_OBSERVED)) return false;
    }
  }
  return true;
}
