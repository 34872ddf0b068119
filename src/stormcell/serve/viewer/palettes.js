// The colours of the levels. The server has them: they are read from a picture in the wanted palette.

import { isDark, settings } from "./settings.js";

const OF_PICTURES = "rain";

export class Palettes {
  #colours = new Map();

  get name() {
    if (settings.palette !== "auto") return settings.palette;
    return isDark() ? "dark" : OF_PICTURES;
  }

  /** Learn the colours of the palette in use; without an answer, pictures keep their own. */
  async prepare(pictures, frame) {
    const { name } = this;
    if (name === OF_PICTURES || this.#colours.has(name) || !frame) return;
    try {
      this.#colours.set(name, (await pictures.fetch(frame.url, name)).colours);
    } catch {
      // Nothing depends on the colours but their look.
    }
  }

  of(picture) {
    return this.#colours.get(this.name) ?? picture.colours;
  }
}
