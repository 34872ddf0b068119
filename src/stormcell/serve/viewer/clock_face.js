// The time of the frame in view, in words.

import { clock, day, fromNow, zoneName } from "./times.js";

const part = (id) => document.getElementById(id);

/**
 * @param frame the frame in view
 * @param now time of the newest observed frame
 * @param loaded whether its picture has come
 */
export function showClock(frame, now, loaded) {
  const time = part("time");
  time.textContent = clock(frame.time);
  time.dateTime = frame.time.toISOString();
  time.title = day(frame.time);
  part("zone").textContent = zoneName(frame.time);
  const kind = frame.observed ? "Observed" : "Forecast";
  part("kind").textContent = loaded ? `${kind}, ${fromNow(frame.time, now)}` : "Loading …";
}
