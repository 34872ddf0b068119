// The colour bar: the colours of the picture in view, with the values that they mean.

import { shareOf, valueOf } from "./values.js";

const RATES = [0.1, 0.3, 1, 3, 10, 30, 100];
const SHARES = [0.25, 0.5, 0.75];

export class ColourBar {
  #figure;
  #strip;
  #marks;
  #pointer;
  #title;
  #encoding;

  constructor(figure) {
    this.#figure = figure;
    this.#strip = figure.querySelector("canvas");
    this.#marks = figure.querySelector(".marks");
    this.#pointer = figure.querySelector(".pointer");
    this.#title = figure.querySelector("figcaption");
  }

  show(title, kind, encoding, colours) {
    this.#figure.hidden = false;
    this.#encoding = encoding;
    this.#title.textContent = title;
    this.#strip.width = encoding.levels;
    this.#strip.height = 1;
    const image = new ImageData(encoding.levels, 1);
    new Uint32Array(image.data.buffer).set(colours.subarray(1, 1 + encoding.levels));
    this.#strip.getContext("2d").putImageData(image, 0, 0);
    const values = kind === "rate" ? RATES : SHARES;
    const texts = values.map((value) => (kind === "rate" ? String(value) : `${100 * value} %`));
    this.#strip.setAttribute("aria-label", `Colours from ${texts[0]} to ${texts.at(-1)}`);
    this.#marks.replaceChildren(
      ...values.map((value, index) => {
        const mark = document.createElement("span");
        const share = shareOf(value, encoding);
        mark.textContent = texts[index];
        mark.style.left = `${100 * share}%`;
        mark.classList.toggle("first", share === 0);
        return mark;
      }),
    );
  }

  /** Point at a level, or at nothing. */
  point(level) {
    const value = level === null ? null : valueOf(level, this.#encoding);
    this.#pointer.hidden = !value;
    if (value) this.#pointer.style.left = `${100 * shareOf(value, this.#encoding)}%`;
  }
}
