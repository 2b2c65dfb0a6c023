// What the page knows: the farms and the last decisions about each.

/** Decisions kept of each farm: as many as the autoscaler itself keeps. */
export const HISTORY_EVENTS = 300;

const STATES = {
  problem: { name: "problem", symbol: "!", word: "Misconfigured", attention: true },
  failed: { name: "failed", symbol: "✕", word: "Failed", attention: true },
  held: { name: "held", symbol: "‖", word: "Held", attention: true },
  stale: { name: "stale", symbol: "?", word: "Silent", attention: true },
  applied: { name: "applied", symbol: "↕", word: "Changed", attention: false },
  unchanged: { name: "unchanged", symbol: "✓", word: "Steady", attention: false },
  waiting: { name: "waiting", symbol: "…", word: "No decision yet", attention: false },
};

/** How the page names the outcome of a decision. */
export const outcomeState = (event) => STATES[event.outcome] ?? STATES.unchanged;

const isSame = (a, b) =>
  a.at_seconds === b.at_seconds && a.sequence === b.sequence && a.decided_by === b.decided_by;

export class Farm {
  constructor(description) {
    this.history = [];
    this.describe(description);
  }

  describe({ farm, function: name, namespace, policy, settings, problem, warnings }) {
    Object.assign(this, { name: farm, function: name, namespace, policy, problem });
    this.settings = settings ?? {};
    this.warnings = warnings ?? [];
  }

  get last() {
    return this.history.at(-1);
  }

  /** Files a decision by its time. False if it is known already, or older than all that is kept. */
  add(event) {
    let place = this.history.length;
    while (place > 0 && this.history[place - 1].at_seconds >= event.at_seconds) {
      place -= 1;
      if (isSame(this.history[place], event)) return false;
    }
    if (place === 0 && this.history.length >= HISTORY_EVENTS) return false;
    this.history.splice(place, 0, event);
    if (this.history.length > HISTORY_EVENTS) this.history.shift();
    return true;
  }

  state(nowSeconds) {
    if (this.problem) return STATES.problem;
    if (!this.last) return STATES.waiting;
    const patience = Math.max(10, 3 * (this.settings.interval_seconds ?? 0));
    if (nowSeconds - this.last.at_seconds > patience) return STATES.stale;
    return outcomeState(this.last);
  }
}

const keyOf = ({ farm, function: name, namespace }) => JSON.stringify([farm, name, namespace]);
const order = new Intl.Collator("en", { numeric: true });

export class Board {
  farms = new Map();
  replica = null;
  leader = null;
  leads = false;
  #clockAheadSeconds = 0;

  /** The autoscaler's clock, so that ages are right on a machine whose own clock is not. */
  nowSeconds() {
    return Date.now() / 1000 + this.#clockAheadSeconds;
  }

  /**
   * Takes over which farms there are. Decisions that are known stay: the autoscaler that sends
   * the snapshot may have started a moment ago and remember fewer.
   */
  take(snapshot) {
    if (!Array.isArray(snapshot?.farms)) return;
    this.replica = snapshot.this_replica;
    this.leader = snapshot.leader;
    this.leads = snapshot.leads === true;
    if (Number.isFinite(snapshot.at_seconds)) {
      this.#clockAheadSeconds = snapshot.at_seconds - Date.now() / 1000;
    }
    const known = this.farms;
    const described = snapshot.farms.map((description) => [keyOf(description), description]);
    described.sort(([a], [b]) => order.compare(a, b));
    this.farms = new Map();
    for (const [key, description] of described) {
      const farm = known.get(key) ?? new Farm(description);
      farm.describe(description);
      for (const event of description.history ?? []) farm.add(event);
      this.farms.set(key, farm);
    }
  }

  /** Files a decision; answers the keys of the farms it is about. */
  decide(event) {
    const about = [...this.farms].filter(
      ([, farm]) => farm.name === event?.farm && farm.function === event?.function,
    );
    return about.filter(([, farm]) => farm.add(event)).map(([key]) => key);
  }
}
