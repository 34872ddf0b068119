// Which frame is in view, and the animation.

const HOLD = 4; // frames; the last one stays for as long, so that the eye finds the end

export class Player {
  frames = [];
  index = 0;
  playing = false;
  speed = 6;
  #ready;
  #changed;
  #timer = null;

  /**
   * @param {(index: number) => boolean} ready whether a frame can be shown
   * @param {() => void} changed is called when another frame is in view, and at play and pause
   */
  constructor(ready, changed) {
    this.#ready = ready;
    this.#changed = changed;
  }

  get frame() {
    return this.frames[this.index];
  }

  set(frames, index) {
    this.frames = frames;
    this.go(index);
  }

  go(index) {
    this.index = Math.min(Math.max(index, 0), Math.max(this.frames.length - 1, 0));
    this.#changed();
  }

  step(count) {
    this.pause();
    this.go(this.index + count);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (this.playing || this.frames.length < 2) return;
    this.playing = true;
    this.#changed();
    this.#wait();
  }

  pause() {
    clearTimeout(this.#timer);
    if (!this.playing) return;
    this.playing = false;
    this.#changed();
  }

  #wait() {
    const last = this.index === this.frames.length - 1;
    this.#timer = setTimeout(() => this.#advance(), ((last ? HOLD : 1) * 1000) / this.speed);
  }

  /** Show the next frame that has come. A frame that is still on its way is not shown as a hole. */
  #advance() {
    const count = this.frames.length;
    for (let step = 1; step <= count; step++) {
      const next = (this.index + step) % count;
      if (this.#ready(next)) {
        this.go(next);
        break;
      }
    }
    this.#wait();
  }
}
