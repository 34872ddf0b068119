// News from the server: by its event stream, and by asking for latest.json where the stream does not come through.

const SOON = 1000; // milliseconds between two questions while a new issue is due, or the connection is lost
const LATER = 15000; // … and while it is not
const REOPEN = 30000;

/** The server's clock: a reader's may be wrong, and the age of a forecast must not depend on it. */
let ahead = 0;
export const serverNow = () => Date.now() + ahead;

export async function getJson(address) {
  const response = await fetch(address, { cache: "no-cache" });
  const date = Date.parse(response.headers.get("Date"));
  if (date) ahead = date - Date.now();
  if (!response.ok) throw Object.assign(new Error(`${address}: ${response.status}`), { status: response.status });
  return response.json();
}

export class Updates {
  #on;
  #source = null;
  #opened = 0;
  #asked = 0;
  #expected = 0;
  #asking = false;
  #lost = false;
  #blocked = false; // whether the event stream does not come through

  /** @param on {latest, status, alerts, connected}: functions that take what has come */
  constructor(on) {
    this.#on = on;
  }

  start() {
    this.#open();
    setInterval(() => this.#tick(), 250);
    document.addEventListener("visibilitychange", () => document.hidden || this.ask());
    addEventListener("online", () => this.ask());
    return this.ask();
  }

  #open() {
    this.#source?.close();
    this.#opened = Date.now();
    this.#source = new EventSource("events");
    this.#source.addEventListener("issue", (event) => this.#took(JSON.parse(event.data)));
    this.#source.addEventListener("status", (event) => this.#on.status(JSON.parse(event.data)));
    this.#source.addEventListener("alerts", (event) => this.#on.alerts(JSON.parse(event.data)));
    this.#source.addEventListener("open", () => (this.#blocked = false));
    this.#source.addEventListener("error", () => {
      this.#blocked = true;
      this.ask();
    });
  }

  #tick() {
    const closed = this.#source.readyState === EventSource.CLOSED;
    if (closed && Date.now() - this.#opened > REOPEN) this.#open();
    const streaming = this.#source.readyState === EventSource.OPEN;
    const due = this.#lost || (serverNow() > this.#expected && !streaming);
    if (Date.now() - this.#asked > (due ? SOON : LATER)) this.ask();
  }

  /** Ask for latest.json and status.json now, and for the alerts if no event brings them. */
  async ask() {
    if (this.#asking) return;
    this.#asking = true;
    this.#asked = Date.now();
    try {
      this.#took(await getJson("latest.json"));
      this.#on.status(await getJson("status.json"));
      if (this.#blocked) this.#on.alerts(await getJson("alerts.json").catch(() => null)); // null: there are no rules
      this.#lost = false;
    } catch (error) {
      this.#lost = error.status !== 503; // which is an answer: the server is there, and has nothing yet
    }
    this.#asking = false;
    this.#on.connected(!this.#lost);
  }

  #took(latest) {
    this.#expected = Date.parse(latest.expected);
    this.#on.latest(latest);
  }
}
