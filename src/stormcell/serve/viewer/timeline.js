// The slider: a tick for each frame, labels at round times, and a mark at now.

import { clock, fromNow, minuteOfDay } from "./times.js";

const ROUND = [5, 10, 15, 30, 60, 120, 180, 360, 720];
const ROOM = 56; // pixels that a label needs

export class Timeline {
  #slider;
  #ticks;
  #frames = [];
  #now = 0;

  constructor(slider, ticks, moved) {
    this.#slider = slider;
    this.#ticks = ticks;
    slider.addEventListener("input", () => moved(Number(slider.value)));
    new ResizeObserver(() => this.#draw()).observe(ticks);
  }

  set(frames, now) {
    this.#frames = frames;
    this.#now = now;
    this.#slider.max = Math.max(frames.length - 1, 0);
    this.#draw();
  }

  show(index) {
    const frame = this.#frames[index];
    this.#slider.value = index;
    this.#slider.setAttribute("aria-valuetext", frame ? this.#describe(frame) : "no frame");
  }

  /** Mark the frames that have come. */
  mark(ready) {
    for (const tick of this.#ticks.querySelectorAll(".tick")) {
      tick.classList.toggle("loaded", ready(Number(tick.dataset.index)));
    }
  }

  #describe(frame) {
    const kind = frame.observed ? "observed" : "forecast";
    return `${clock(frame.time)}, ${kind}, ${fromNow(frame.time, this.#frames[this.#now].time)}`;
  }

  #draw() {
    const frames = this.#frames;
    const loaded = new Set([...this.#ticks.querySelectorAll(".loaded")].map((tick) => tick.dataset.index));
    this.#ticks.replaceChildren();
    if (frames.length < 2) return;
    const width = this.#ticks.clientWidth;
    const minutes = (frames.at(-1).time - frames[0].time) / 60000;
    const every = ROUND.find((step) => (width * step) / minutes >= ROOM) ?? 1440;
    frames.forEach((frame, index) => {
      const tick = element("i", `tick ${frame.observed ? "observed" : "forecast"}`);
      tick.dataset.index = index;
      tick.classList.toggle("loaded", loaded.has(String(index)));
      this.#place(tick, index);
      const nearNow = Math.abs(index - this.#now) * (width / frames.length) < ROOM / 1.5;
      if (index === this.#now) this.#place(element("b", "now", "now"), index);
      else if (minuteOfDay(frame.time) % every === 0 && !nearNow) {
        this.#place(element("span", "label", clock(frame.time)), index);
      }
    });
  }

  #place(mark, index) {
    mark.style.left = `${(100 * index) / (this.#frames.length - 1)}%`;
    this.#ticks.append(mark);
  }
}

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}
