// The panel of a place: what the server's /point knows about it, in words and as a chart.

import { eventSentences, pointsOf, stateSentence } from "./place_words.js";
import { seriesChart } from "./series_chart.js";
import { L } from "./leaflet.js";

const WORTH_A_CHART = 0.05; // mm/h, or the probability: below it a chart is an empty frame

export class Place {
  #map;
  #panel;
  #nameOf;
  #marker = null;
  #asked = 0;

  /** @param nameOf returns the name of a larger place nearby, or null */
  constructor(map, panel, nameOf) {
    this.#map = map;
    this.#panel = panel;
    this.#nameOf = nameOf;
    panel.querySelector(".close").addEventListener("click", () => this.close());
  }

  get isOpen() {
    return this.#marker !== null;
  }

  open(latlng) {
    this.#marker?.remove();
    const point = latlng.wrap();
    this.#marker = L.circleMarker(point, { radius: 7, className: "chosen", interactive: false }).addTo(this.#map);
    this.#panel.hidden = false;
    this.name();
    this.#part(".coordinates").textContent = coordinates(point);
    this.#show(["Asking …"]);
    return this.refresh();
  }

  /** Show the name of a larger place nearby. Names may be loaded after the place was opened. */
  name() {
    if (!this.#marker) return;
    const name = this.#nameOf(this.#marker.getLatLng());
    this.#part("h2").textContent = name ? `Near ${name}` : "This place";
  }

  close() {
    this.#marker?.remove();
    this.#marker = null;
    this.#panel.hidden = true;
  }

  /** Ask the server again, for a new issue. */
  async refresh() {
    if (!this.#marker) return;
    const { lat, lng } = this.#marker.getLatLng();
    const number = ++this.#asked;
    let answer;
    try {
      const response = await fetch(`point?lat=${lat.toFixed(4)}&lon=${lng.toFixed(4)}`);
      answer = response.status === 404 ? null : response.ok ? await response.json() : undefined;
    } catch {
      answer = undefined;
    }
    if (number !== this.#asked || !this.#marker) return; // a later question was asked meanwhile
    if (answer === null) this.#show(["Outside the radar's area."]);
    else if (answer === undefined) this.#show(["The server did not answer. It is asked again with the next frame."]);
    else this.#answer(answer.properties);
  }

  #answer(properties) {
    const points = pointsOf(properties);
    const wet = points.some(({ rate, high, extrapolation, probabilities }) =>
      [rate, high, extrapolation, ...Object.values(probabilities)].some((value) => value >= WORTH_A_CHART),
    );
    const words = [stateSentence(properties), ...eventSentences(properties)];
    this.#show(words, wet ? seriesChart(points, new Date(properties.meta.issue)) : []);
  }

  #show(sentences, chart = []) {
    const paragraphs = sentences.map((text) => Object.assign(document.createElement("p"), { textContent: text }));
    this.#part(".words").replaceChildren(...paragraphs);
    this.#part(".chart").replaceChildren(...chart);
  }

  #part(selector) {
    return this.#panel.querySelector(selector);
  }
}

function coordinates({ lat, lng }) {
  const text = (value, positive, negative) => `${Math.abs(value).toFixed(3)}° ${value < 0 ? negative : positive}`;
  return `${text(lat, "N", "S")}, ${text(lng, "E", "W")}`;
}
