// The chart of a place: the rain rate with its range, and the probabilities below it.

import { path, roundSteps, scale, svg } from "./svg.js";
import { percentText, rateText } from "./values.js";
import { clock } from "./times.js";

const WIDTH = 320;
const LEFT = 40;
const RIGHT = 10;
const TOP = 10;
const HEIGHT = 112; // of the part with the rates
const ROW = 26; // height of a probability's part
const LEAST = 1; // mm/h at the top of the axis, so that drizzle does not look like a storm

/**
 * Draw a series.
 *
 * @param points {time, rate, low, high, probabilities: {threshold: share}}, ascending; null where not known
 * @param now time of the newest observation
 */
export function seriesChart(points, now) {
  const thresholds = Object.keys(points.at(-1)?.probabilities ?? {});
  const bottom = TOP + HEIGHT;
  const height = bottom + 18 + thresholds.length * ROW;
  const x = scale(points[0].time, points.at(-1).time, LEFT, WIDTH - RIGHT);
  const highest = Math.max(LEAST, ...points.flatMap(({ rate, high }) => [rate ?? 0, high ?? 0]));
  const steps = roundSteps(highest);
  const y = scale(0, steps.at(-1), bottom, TOP);
  const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": summary(points) });
  for (const value of steps) {
    chart.append(
      svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { class: "axis end", x: LEFT - 5, y: y(value) + 3.5 }, String(value)),
    );
  }
  const known = points.filter(({ low, high }) => low !== null && high !== null);
  if (known.length > 1) {
    const outline = [
      ...known.map(({ time, high }) => [x(time), y(high)]),
      ...known.map(({ time, low }) => [x(time), y(low)]).reverse(),
    ];
    chart.append(svg("path", { class: "band", d: `${path(outline)}Z` }));
  }
  chart.append(
    svg("path", { class: "rate", d: path(points.map(({ time, rate }) => rate !== null && [x(time), y(rate)])) }),
  );
  thresholds.forEach((threshold, row) => {
    chart.append(...probabilityRow(points, threshold, x, bottom + 18 + row * ROW));
  });
  if (now >= points[0].time) {
    chart.append(svg("line", { class: "now", x1: x(now), x2: x(now), y1: TOP - 4, y2: bottom }));
  }
  for (const time of labelled(points)) {
    chart.append(svg("text", { class: "axis middle", x: Math.min(x(time), WIDTH - 18), y: bottom + 13 }, clock(time)));
  }
  return chart;
}

function probabilityRow(points, threshold, x, top) {
  const height = ROW - 8;
  const width = Math.max(2, (WIDTH - LEFT - RIGHT) / points.length - 3);
  const bars = points
    .filter(({ probabilities }) => probabilities[threshold] !== undefined && probabilities[threshold] !== null)
    .map(({ time, probabilities }) => {
      const size = Math.max(1, height * probabilities[threshold]);
      const bar = { class: "chance", x: x(time) - width / 2, y: top + 6 + height - size, width, height: size };
      const text = `${clock(time)}: ${percentText(probabilities[threshold])} chance of ${threshold} mm/h or more`;
      return svg("rect", bar, svg("title", {}, text));
    });
  return [
    svg("text", { class: "axis end", x: LEFT - 5, y: top + height + 4 }, `≥ ${Number(threshold)}`),
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: top + 6 + height, y2: top + 6 + height }),
    ...bars,
  ];
}

function labelled(points) {
  const every = Math.max(1, Math.round(points.length / 4));
  return points.filter((_, index) => index % every === 0).map(({ time }) => time);
}

function summary(points) {
  const best = points.reduce((peak, point) => ((point.rate ?? -1) > (peak.rate ?? -1) ? point : peak));
  const from = clock(points[0].time);
  const to = clock(points.at(-1).time);
  if (best.rate === null) return `Rain from ${from} to ${to}: not known`;
  if (best.rate === 0) return `Rain from ${from} to ${to}: none`;
  return `Rain from ${from} to ${to}: up to ${rateText(best.rate)} mm/h at ${clock(best.time)}`;
}
