// What the server's answer for a place means, in sentences and as points of a chart.

import { clock } from "./times.js";
import { percentText, rateText } from "./values.js";

/** Say whether it rains now, or why that is not known. */
export function stateSentence({ meta, raining_now: raining, observed }) {
  if (meta.radar_coverage === "no coverage") return "The radar does not see this place.";
  if (meta.radar_coverage === "temporarily unavailable") {
    const last = meta.last_observed ? ` It was last seen at ${clock(new Date(meta.last_observed))}.` : "";
    return `The newest radar frame did not observe this place.${last}`;
  }
  const time = observed?.time ? ` at ${clock(new Date(observed.time))}` : "";
  if (raining === null || raining === undefined) return "Whether it rains now is not known.";
  return raining ? `Rain of ${rateText(observed.rate)} mm/h${time}.` : `Dry${time}.`;
}

/** Say when rain starts and stops. Without events, it stays dry only if the whole forecast is known. */
export function eventSentences({ meta, stale, events, timeseries }) {
  if (stale) return ["This forecast is old: when rain starts or stops is not known."];
  if (meta.radar_coverage === "no coverage" || !timeseries.length) return [];
  if (events.length) return events.map(eventSentence);
  const end = clock(new Date(timeseries.at(-1).time));
  const whole = timeseries.every(({ data }) => data.instant.details.precipitation_rate !== null);
  return [whole ? `No rain until ${end}.` : "Whether rain comes is not known."];
}

function eventSentence(event) {
  const [start, end, peak] = [event.start, event.end, event.peak_time].map((text) => text && clock(new Date(text)));
  const when = event.start_known ? `Rain from ${start}` : "Rain";
  const until = event.end_known ? ` until ${end}` : `, still at ${end}`;
  const most = event.peak_rate ? `, at most ${rateText(event.peak_rate)} mm/h at ${peak}` : "";
  const chance = typeof event.probability === "number" ? ` (chance ${percentText(event.probability)})` : "";
  return `${when}${until}${most}${chance}.`;
}

/** List what the chart draws: time, rate, low and high of the range, and probabilities by threshold. */
export function pointsOf({ observed, timeseries }) {
  const seen = observed?.time ? [{ time: new Date(observed.time), rate: observed.rate, low: null, high: null }] : [];
  const forecast = timeseries.map(({ time, data }) => {
    const { precipitation_rate: rate = null, quantiles = {}, probabilities = {} } = data.instant.details;
    const levels = Object.keys(quantiles).sort((one, other) => one - other);
    const [low, high] = levels.length > 1 ? [quantiles[levels[0]], quantiles[levels.at(-1)]] : [null, null];
    return { time: new Date(time), rate, low, high, probabilities };
  });
  return [...seen.map((point) => ({ ...point, probabilities: {} })), ...forecast];
}
