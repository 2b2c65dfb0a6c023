// The connection to the autoscaler: its stream of events, opened anew whenever it ends, and plain
// requests while no stream gets through. A gateway cuts every stream after its write timeout, so
// losing it is ordinary.

const POLL_SECONDS = 5;
const REOPEN_SECONDS = [1, 2, 4, 8];

export class Stream {
  /** `live`, `polling`, `reconnecting` or `connecting`. */
  state = "connecting";
  #source = null;
  #handlers;
  #heardAt = 0;
  #lostAt = performance.now();
  #askedAt = performance.now();
  #attempts = 0;

  /**
   * `handlers`: `snapshot`, `farms` and `decision`, each called with the message.
   */
  constructor(handlers) {
    this.#handlers = handlers;
    this.#open();
  }

  /** How long ago the last news came; null if none did. */
  get silentSeconds() {
    return this.#heardAt ? (performance.now() - this.#heardAt) / 1000 : null;
  }

  /** How long there has been no stream. */
  get lostSeconds() {
    return this.state === "live" ? 0 : (performance.now() - this.#lostAt) / 1000;
  }

  /**
   * To be called about once per second. A stream that is silent for longer than `patienceSeconds`
   * is taken for dead: not every proxy closes what it has lost.
   */
  tick(patienceSeconds) {
    if (this.state === "live") {
      if (this.silentSeconds > patienceSeconds) this.#reopen();
      return;
    }
    const askedSeconds = (performance.now() - this.#askedAt) / 1000;
    if (this.lostSeconds >= POLL_SECONDS && askedSeconds >= POLL_SECONDS) this.#poll();
  }

  #open() {
    const source = new EventSource("events");
    for (const name of Object.keys(this.#handlers)) {
      source.addEventListener(name, (message) => this.#heard(name, message.data, "live"));
    }
    source.addEventListener("error", () => this.#lost());
    this.#source = source;
  }

  #heard(name, text, state) {
    let message;
    try {
      message = JSON.parse(text);
    } catch (error) {
      console.warn(`not readable as JSON, left out: event ${name}:`, error.message);
      return;
    }
    this.state = state;
    this.#heardAt = performance.now();
    if (state === "live") this.#attempts = 0;
    this.#handlers[name](message);
  }

  #lost() {
    if (this.state === "live") this.#lostAt = performance.now();
    if (this.state !== "polling") this.state = this.#heardAt ? "reconnecting" : "connecting";
    // The browser tries again by itself, unless the answer was an error such as 502.
    if (this.#source.readyState === EventSource.CLOSED) {
      const seconds = REOPEN_SECONDS[Math.min(this.#attempts, REOPEN_SECONDS.length - 1)];
      this.#attempts += 1;
      setTimeout(() => this.#open(), seconds * 1000);
    }
  }

  #reopen() {
    this.#source.close();
    this.#lostAt = performance.now();
    this.state = "reconnecting";
    this.#open();
  }

  async #poll() {
    this.#askedAt = performance.now();
    try {
      const answer = await fetch("farms", { signal: AbortSignal.timeout(POLL_SECONDS * 1000) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const text = await answer.text();
      if (this.state !== "live") this.#heard("snapshot", text, "polling");
    } catch {
      if (this.state === "polling") this.state = "reconnecting";
    }
  }
}
