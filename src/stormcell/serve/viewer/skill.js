// How good the forecasts have been: the critical success index by lead time, beside extrapolation.

import { path, scale, svg } from "./svg.js";
import { clock, day } from "./times.js";

const WIDTH = 420;
const HEIGHT = 200;
const LEFT = 34;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 34;
const PERIODS = { "24h": "the last 24 hours", "7d": "the last 7 days" };

export class Skill {
  #dialog;
  #periods = [];

  constructor(dialog) {
    this.#dialog = dialog;
    for (const name of ["period", "threshold"]) this.#select(name).addEventListener("change", () => this.#draw());
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  }

  #select(name) {
    return this.#dialog.querySelector(`select[name=${name}]`);
  }

  /** Show what scores.json has; null where it does not exist. */
  open(scores) {
    this.#periods = (scores ?? []).filter(({ forecasters }) => Object.keys(forecasters).length);
    const periods = this.#periods.map(({ period }) => [period, PERIODS[period] ?? period]);
    options(this.#select("period"), periods);
    const csi = Object.values(this.#periods[0]?.forecasters ?? {})[0]?.csi ?? {};
    options(
      this.#select("threshold"),
      Object.keys(csi).map((threshold) => [threshold, `${Number(threshold)} mm/h or more`]),
    );
    this.#draw();
    this.#dialog.showModal();
  }

  #draw() {
    const content = this.#dialog.querySelector(".content");
    const scores = this.#periods.find(({ period }) => period === this.#select("period").value) ?? this.#periods[0];
    this.#dialog.querySelector("form").hidden = !scores;
    if (!scores) {
      const text = "Nothing is scored yet. Each new radar frame scores the forecasts that were made for its time.";
      content.replaceChildren(paragraph(text));
      return;
    }
    const threshold = this.#select("threshold").value;
    const names = Object.keys(scores.forecasters);
    const count = Math.max(...names.map((name) => scores.forecasters[name].n_forecasts?.[0] ?? 0));
    const [start, end] = [scores.start, scores.end].map((text) => new Date(text));
    const period = `${day(start)} ${clock(start)} to ${day(end)} ${clock(end)}`;
    content.replaceChildren(
      paragraph("How well forecast rain and observed rain coincide, by lead time: 1 is perfect, 0 is no hit at all."),
      chart(scores, names, threshold),
      legend(names),
      table(scores, names, threshold),
      paragraph(`Critical success index, ${period}, ${count} forecasts.`, "small"),
    );
  }
}

function options(select, entries) {
  const before = select.value;
  select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
  if (entries.some(([value]) => value === before)) select.value = before;
}

function paragraph(text, className = "") {
  const element = document.createElement("p");
  element.textContent = text;
  element.className = className;
  return element;
}

function chart({ lead_minutes: leads, forecasters }, names, threshold) {
  const x = scale(0, leads.at(-1), LEFT, WIDTH - RIGHT);
  const y = scale(0, 1, HEIGHT - BOTTOM, TOP);
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
  for (const value of [0, 0.25, 0.5, 0.75, 1]) {
    drawing.append(
      svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { class: "axis end", x: LEFT - 6, y: y(value) + 3.5 }, String(value)),
    );
  }
  const every = [5, 10, 15, 30, 60].find((minutes) => leads.at(-1) / minutes <= 6) ?? 120;
  for (const lead of leads.filter((lead) => lead % every === 0)) {
    drawing.append(svg("text", { class: "axis middle", x: x(lead), y: HEIGHT - BOTTOM + 14 }, `${lead}`));
  }
  const title = svg("text", { class: "axis middle", x: (LEFT + WIDTH) / 2, y: HEIGHT - 3 }, "minutes ahead");
  drawing.append(title);
  names.forEach((name, index) => {
    const values = forecasters[name].csi?.[threshold] ?? [];
    const points = leads.map((lead, at) => typeof values[at] === "number" && [x(lead), y(values[at])]);
    drawing.append(svg("path", { class: `forecaster-${index}`, d: path(points) }));
  });
  return drawing;
}

function legend(names) {
  const list = document.createElement("ul");
  list.className = "keys";
  names.forEach((name, index) => {
    const entry = document.createElement("li");
    entry.className = `forecaster-${index}`;
    entry.textContent = name;
    list.append(entry);
  });
  return list;
}

function table({ lead_minutes: leads, forecasters }, names, threshold) {
  const chosen = leads.map((lead, index) => ({ lead, index })).filter(({ lead }) => [10, 30, 60].includes(lead));
  const made = document.createElement("table");
  const head = made.createTHead().insertRow();
  head.append(heading(""), ...chosen.map(({ lead }) => heading(`${lead} min`, "col")));
  const body = made.createTBody();
  for (const name of names) {
    const row = body.insertRow();
    row.append(heading(name, "row"));
    for (const { index } of chosen) {
      const value = forecasters[name].csi?.[threshold]?.[index];
      row.insertCell().textContent = typeof value === "number" ? value.toFixed(2) : "–";
    }
  }
  return made;
}

function heading(text, scope) {
  const cell = document.createElement(scope ? "th" : "td");
  if (scope) cell.scope = scope;
  cell.textContent = text;
  return cell;
}
