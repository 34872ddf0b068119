// What a reader must know before trusting the map, in plain sentences.

import { raisedSentence } from "./alert_words.js";
import { clock, day, span } from "./times.js";

const AHEAD = 120; // seconds by which the clocks of a radar and of the server may differ

/**
 * List the banners as {id, level, text}.
 *
 * @param known {connected, latest, manifest, status, alerts, blind, beyond, now}: what is known; blind is the share of
 *   the usually observed area that the newest frame did not observe, beyond says whether the radar sees nothing of the
 *   view, now is the server's time.
 */
export function bannersFor({ connected, latest, manifest, status, alerts, blind, beyond, now }) {
  const found = [];
  const add = (id, level, text) => found.push({ id, level, text });
  if (!connected) add("connection", "warning", "Connection lost. The map shows what came before; it is trying again.");
  if (!latest) {
    if (connected) add("empty", "note", "Nothing is published yet. The map fills when the first radar frame comes.");
    return found;
  }
  const age = (now - Date.parse(latest.issue)) / 1000;
  const limit = status?.stale_after_seconds ?? 3 * latest.step_seconds;
  if (age > limit) {
    add("stale", "warning", `The newest radar frame is ${span(age)} old, from ${moment(new Date(latest.issue), age)}.`);
  } else if (age < -AHEAD) {
    add("stale", "warning", `The newest radar frame is dated ${span(-age)} ahead of the clock. One of the clocks is wrong.`);
  }
  if (manifest?.degraded) {
    const { used, instead_of: wanted, reason } = manifest.degraded;
    const text = used === "observation" ? "Observation only, without a forecast" : `Forecast by ${used}`;
    add("degraded", "warning", `${text}, instead of ${wanted}: ${sentence(reason)}`);
  }
  if (manifest?.preliminary) add("preliminary", "note", "First forecast of this frame; a better one is on its way.");
  if (manifest?.observed_share === 0) {
    add("blind", "warning", "The radar observed nothing in the newest frame. No rain on the map does not mean dry.");
  } else if (blind >= 0.02) {
    add("blind", "warning", `The newest frame lacks ${Math.round(100 * blind)} % of the area that the radar sees.`);
  }
  if (beyond) add("beyond", "note", "The radar does not see this part of the map.");
  const raised = raisedSentence(alerts?.alerts ?? []);
  if (raised) add("alerts", "alert", raised);
  return found;
}

// The time of day alone would be taken for today's.
const moment = (time, age) => (age < 12 * 3600 ? clock(time) : `${day(time)}, ${clock(time)}`);

const sentence = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);

/** Show banners; those that stay keep their elements, so that a screen reader says only what is new. */
export function showBanners(container, banners) {
  const shown = new Map([...container.children].map((child) => [child.dataset.id, child]));
  for (const { id, level, text } of banners) {
    const element = shown.get(id) ?? document.createElement("p");
    shown.delete(id);
    element.dataset.id = id;
    element.className = `banner ${level}`;
    if (element.textContent !== text) element.textContent = text;
    if (!element.isConnected) container.append(element);
  }
  for (const gone of shown.values()) gone.remove();
}
