// What the server's answer for a place means, in sentences and as points of a chart.

import { clock } from "./times.js";
import { percentText, rateText } from "./values.js";

const at = (text) => clock(new Date(text));

/** Say whether it rains now, or why that is not known. */
export function stateSentence({ meta, stale, raining_now: raining, observed }) {
  if (stale) return `The newest radar frame is from ${at(observed.time)}, not from now. Whether it rains now or later is not known.`;
  if (meta.radar_coverage === "no coverage") return "The radar does not see this place.";
  if (raining === null) {
    const last = meta.last_observed ? ` It was last seen at ${at(meta.last_observed)}.` : "";
    return `The newest radar frame did not observe this place.${last}`;
  }
  return raining ? `Rain at ${at(observed.time)}: ${rateText(observed.rate)} mm/h.` : `Dry at ${at(observed.time)}.`;
}

/** Say when rain starts and stops. An empty list of events means dry only if the server says so. */
export function eventSentences({ meta, stale, events, events_known: known, timeseries }) {
  const sentences = events.map((event) => eventSentence(event, meta.issue));
  if (known && !events.length) return [`No rain until ${at(timeseries.at(-1).time)}.`];
  if (known || stale || meta.radar_coverage === "no coverage") return sentences;
  return [...sentences, events.length ? "Whether more rain comes is not known." : "Whether rain comes is not known."];
}

function eventSentence(event, issue) {
  const began = event.start <= issue;
  const start = began ? `Rain since ${event.start_known ? "" : "before "}${at(event.start)}` : `Rain from ${at(event.start)}`;
  const end = event.end_known ? `until ${at(event.end)}` : `at least until ${at(event.end)}`;
  const peak = `at most ${rateText(event.peak_rate)} mm/h at ${at(event.peak_time)}`;
  const what = began ? "The chance that it goes on" : "Its chance";
  const chance = event.probability === null ? "" : ` ${what} is ${percentText(event.probability)}.`;
  return `${start} ${end}, ${peak}.${chance}`;
}

/**
 * List what the chart draws: time, rate, extrapolation, low and high of the range, and probabilities by threshold.
 * What is not known is null.
 */
export function pointsOf({ meta, observations, timeseries }) {
  const past = observations
    .filter(({ time }) => time < meta.issue)
    .map(({ time, precipitation_rate: rate }) => point(time, { precipitation_rate: rate }));
  const ahead = timeseries.map(({ time, data }) => point(time, data.instant.details));
  return [...past.slice(-ahead.length), ...ahead];
}

function point(time, { precipitation_rate: rate, extrapolation = null, quantiles = {}, probabilities = {} }) {
  const levels = Object.keys(quantiles).sort((one, other) => one - other);
  const [low, high] = levels.length > 1 ? [quantiles[levels[0]], quantiles[levels.at(-1)]] : [null, null];
  const range = levels.length > 1 ? [levels[0], levels.at(-1)] : null;
  return { time: new Date(time), rate, extrapolation, low, high, range, probabilities };
}
