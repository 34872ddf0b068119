// The chart of a place: observed and forecast rates with their range, and the probabilities below them.

import { path, roundSteps, scale, svg } from "./svg.js";
import { percentText, rateText } from "./values.js";
import { clock, minuteOfDay } from "./times.js";

const WIDTH = 320;
const LEFT = 40;
const RIGHT = 10;
const TOP = 10;
const HEIGHT = 112; // of the part with the rates
const ROW = 26; // height of a probability's part
const LABELS = 18; // height of the times
const VISIBLE = 0.05; // probability; thresholds that are less probable at all times are left out
const LEAST_CHANCE = 0.01; // a bar for less would look like a chance
const LEAST = 1; // mm/h at the top of the axis, so that drizzle does not look like a storm

/**
 * Draw a series with its legend.
 *
 * @param points as place_words.js lists them, ascending
 * @param now time of the newest observation
 */
export function seriesChart(points, now) {
  const bottom = TOP + HEIGHT;
  const x = scale(points[0].time, points.at(-1).time, LEFT, WIDTH - RIGHT);
  const rates = points.flatMap(({ rate, extrapolation, high }) => [rate ?? 0, extrapolation ?? 0, high ?? 0]);
  const steps = roundSteps(Math.max(LEAST, ...rates));
  const y = scale(0, steps.at(-1), bottom, TOP);
  const past = points.filter(({ time }) => time <= now);
  const ahead = points.filter(({ time }) => time >= now);
  const thresholds = Object.keys(points.at(-1).probabilities).filter((threshold) =>
    ahead.some(({ probabilities }) => probabilities[threshold] >= VISIBLE),
  );
  const height = bottom + LABELS + thresholds.length * ROW;
  const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": summary(points) });
  for (const value of steps) chart.append(...gridLine(y(value), String(value)));
  chart.append(
    svg("path", { class: "band", d: band(ahead, x, y) }),
    svg("path", { class: "extrapolation", d: line(ahead, "extrapolation", x, y) }),
    svg("path", { class: "rate", d: line(ahead, "rate", x, y) }),
    svg("path", { class: "seen", d: line(past, "rate", x, y) }),
    svg("line", { class: "now", x1: x(now), x2: x(now), y1: TOP - 4, y2: bottom }),
  );
  thresholds.forEach((threshold, row) => {
    chart.append(...chances(ahead, threshold, x, bottom + LABELS + row * ROW));
  });
  for (const time of labelled(points)) {
    chart.append(svg("text", { class: "axis middle", x: Math.min(x(time), WIDTH - 18), y: bottom + 13 }, clock(time)));
  }
  return [chart, legend(points)];
}

function gridLine(y, text) {
  return [
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }),
    svg("text", { class: "axis end", x: LEFT - 6, y: y + 3.5 }, text),
  ];
}

function line(points, name, x, y) {
  return path(points.map((point) => point[name] !== null && [x(point.time), y(point[name])]));
}

function band(points, x, y) {
  const known = points.filter(({ high }) => high !== null);
  if (known.length < 2) return "";
  const above = known.map(({ time, high }) => [x(time), y(high)]);
  const below = known.map(({ time, low }) => [x(time), y(low)]);
  return `${path([...above, ...below.reverse()])}Z`;
}

/** Draw the probabilities of a threshold as bars. */
function chances(points, threshold, x, top) {
  const full = ROW - 8;
  const base = top + 6 + full;
  const width = Math.max(2, (x(points.at(-1).time) - x(points[0].time)) / (points.length - 1) - 2);
  const bars = points
    .filter(({ probabilities }) => (probabilities[threshold] ?? 0) >= LEAST_CHANCE)
    .map(({ time, probabilities }) => {
      const height = Math.max(1, full * probabilities[threshold]);
      const text = `${clock(time)}: ${percentText(probabilities[threshold])} chance of ${threshold} mm/h or more`;
      const left = Math.min(x(time) - width / 2, WIDTH - RIGHT - width / 2);
      return svg("rect", { class: "chance", x: left, y: base - height, width, height }, svg("title", {}, text));
    });
  const name = svg("text", { class: "axis end", x: LEFT - 6, y: base - 3 }, `≥ ${Number(threshold)}`);
  return [name, svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: base, y2: base }), ...bars];
}

function labelled(points) {
  const minutes = (points.at(-1).time - points[0].time) / 60000;
  const every = [5, 10, 15, 30, 60, 120].find((step) => minutes / step <= 5) ?? 360;
  return points.map(({ time }) => time).filter((time) => minuteOfDay(time) % every === 0);
}

function legend(points) {
  const { extrapolation, range, probabilities } = points.at(-1);
  const percent = range?.map((level) => `${Math.round(100 * level)}`);
  const entries = [
    ["seen", "observed"],
    ["rate", "forecast, mm/h"],
    ...(range ? [["band", `${percent[0]} to ${percent[1]} %`]] : []),
    ...(extrapolation === null ? [] : [["extrapolation", "extrapolation"]]),
    ...(Object.keys(probabilities).length ? [["chance", "chance"]] : []),
  ];
  const list = document.createElement("ul");
  list.className = "keys";
  for (const [kind, text] of entries) {
    const entry = document.createElement("li");
    entry.className = kind;
    entry.textContent = text;
    list.append(entry);
  }
  return list;
}

function summary(points) {
  const best = points.reduce((peak, point) => ((point.rate ?? -1) > (peak.rate ?? -1) ? point : peak));
  const [from, to] = [points[0], points.at(-1)].map(({ time }) => clock(time));
  if (best.rate === null) return `Rain from ${from} to ${to}: not known`;
  if (best.rate === 0) return `Rain from ${from} to ${to}: nothing`;
  return `Rain from ${from} to ${to}: up to ${rateText(best.rate)} mm/h at ${clock(best.time)}`;
}
