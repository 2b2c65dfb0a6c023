// One farm: a line with its figures that opens to everything else. What is inside exists only
// while it is open, so that a hundred farms cost what is looked at.

import { Charts } from "./charts.js";
import { Decisions } from "./decisions.js";
import { badge, element, setText } from "./dom.js";
import * as format from "./format.js";

const UNSEEN = "not observed";
const of = (text) => (text === format.ABSENT ? "" : ` of ${text}`);
const deadlineTarget = ({ last, settings }) => format.ratio(last?.target_qos_ratio ?? settings.target_qos_ratio);

// Each figure: its name, then from a farm its value and what is said beside it in small.
const FIGURES = [
  ["QoS", (farm, seen) => [format.ratio(seen?.qos_ratio), of(deadlineTarget(farm))]],
  ["Backlog", (_, seen) => [format.count(seen?.backlog_tasks)]],
  ["Arrivals", (_, seen) => [format.rate(seen?.arrival_rate_per_second)]],
  ["Workers", ({ last }, seen) => [format.count(seen?.available_parallelism), of(format.count(last?.target_parallelism))]],
];

const TILES = [
  ["QoS", (farm, seen) => [
    format.ratio(seen?.qos_ratio),
    `target ${deadlineTarget(farm)}, deadline ${format.duration(farm.last?.deadline_seconds ?? farm.settings.deadline_seconds)}`,
  ]],
  ["Backlog", (_, seen) => [
    format.count(seen?.backlog_tasks),
    seen ? `waiting; ${format.count(seen.in_flight_tasks)} in flight` : UNSEEN,
  ]],
  ["Arrivals", (_, seen) => [format.rate(seen?.arrival_rate_per_second), seen ? "tasks submitted" : UNSEEN]],
  ["Service time", (_, seen) => [
    format.duration(seen?.service_seconds_mean),
    seen
      ? `longest ${format.duration(seen.service_seconds_max)}; with the wait ${format.duration(seen.sojourn_seconds_mean)}`
      : UNSEEN,
  ]],
  ["Parallelism", ({ last }, seen) => [
    `${format.count(last?.wanted_parallelism)} → ${format.count(last?.target_parallelism)}`,
    seen
      ? `wanted → target; ${format.count(seen.available_parallelism)} available, ${format.count(seen.busy_parallelism)} busy`
      : "wanted → target",
  ]],
  ["Replicas × slots", ({ last }, seen) => [
    format.product(last?.allocation ?? seen),
    seen ? `${format.count(seen.available_replicas)} of ${format.count(seen.replicas)} replicas available` : UNSEEN,
  ]],
];

/** The policy and its limits, those that are set. */
function rule({ policy, settings }) {
  const { interval_seconds, min, max, replicas_max, slots_max } = settings;
  const limits = [
    interval_seconds != null && `every ${format.duration(interval_seconds)}`,
    max != null && `${format.count(min)} to ${format.count(max)} workers`,
    replicas_max != null && `at most ${format.plural(replicas_max, "replica", "replicas")}`,
    slots_max != null && `at most ${format.plural(slots_max, "slot", "slots")} each`,
  ].filter(Boolean);
  return `Policy ${policy || "unknown"}${limits.length ? `: ${limits.join(", ")}` : ""}.`;
}

function decider({ last, policy }, nowSeconds) {
  if (!last) return "No decision has been made about this farm yet.";
  const standIn = last.policy === policy ? "" : `, where ${last.policy} stood in for ${policy}`;
  return `Decision ${format.count(last.sequence)} by ${last.decided_by}, ${format.ago(nowSeconds - last.at_seconds)}${standIn}.`;
}

/** Since when the farm needs attention, and why; null if it does not. */
function notice(farm, state) {
  if (state.name === "problem") return `${state.word}: ${farm.problem}`;
  const { last, history } = farm;
  if (!state.attention) return null;
  if (state.name === "stale") return `${state.word}: no decision since ${format.timeOfDay(last.at_seconds)}.`;
  let first = history.length - 1;
  while (first > 0 && history[first - 1].outcome === last.outcome) first -= 1;
  const reason = last.error ?? (last.reasons ?? []).join(" ");
  return `${state.word} since ${format.timeOfDay(history[first].at_seconds)}: ${reason || "no reason given."}`;
}

function labelled(list, tags) {
  const parts = list.map(([name, show]) => {
    const value = element("span", { class: "value" });
    const aside = element("span", { class: "aside" });
    const node = element(tags.group, { class: "figure" }, element(tags.name, {}, name), " ", element(tags.value, {}, value, aside));
    const update = (farm) => {
      const [main, note = ""] = show(farm, farm.last?.observed);
      setText(value, main);
      setText(aside, note);
    };
    return { node, update };
  });
  return { nodes: parts.map((part) => part.node), update: (farm) => parts.forEach((part) => part.update(farm)) };
}

/** What is inside an open card. */
class Body {
  #tiles = labelled(TILES, { group: "div", name: "dt", value: "dd" });
  #rule = element("span");
  #decider = element("span");
  #numbers;

  constructor(key, farm) {
    this.charts = new Charts(key);
    this.decisions = new Decisions(farm.name);
    this.#numbers = element(
      "div",
      { class: "numbers" },
      element("dl", { class: "tiles" }, ...this.#tiles.nodes),
      this.charts.node,
      this.decisions.node,
    );
    const about = element("p", { class: "aside" }, this.#rule, " ", this.#decider);
    this.node = element("div", { class: "body" }, about, this.#numbers);
  }

  show(farm) {
    setText(this.#rule, rule(farm));
    this.#numbers.hidden = farm.history.length === 0;
    this.#tiles.update(farm);
    this.charts.show(farm.history);
    this.decisions.show(farm.history);
  }

  showAge(farm, nowSeconds) {
    setText(this.#decider, decider(farm, nowSeconds));
  }
}

export class Card {
  state = null;
  notice = null;
  #badge = badge();
  #name = element("span", { class: "name" });
  #where = element("span", { class: "aside" });
  #figures = labelled(FIGURES, { group: "span", name: "span", value: "span" });
  #notice = element("span", { class: "notice" });
  #warning = element("span", { class: "notice warning" });
  #body = null;

  constructor(key, farm) {
    this.key = key;
    this.farm = farm;
    const summary = element(
      "summary",
      {},
      element("h2", {}, this.#name, " ", this.#where),
      this.#badge.node,
      ...this.#figures.nodes,
      this.#notice,
      this.#warning,
    );
    this.node = element("details", { class: "farm" }, summary);
    this.node.addEventListener("toggle", () => this.#toggle());
  }

  /** Shows the farm as it is now. `nowSeconds`: the time of the newest news. */
  show(nowSeconds) {
    const { farm } = this;
    const place = farm.namespace ? ` in ${farm.namespace}` : "";
    const where = `${farm.policy ? `${farm.policy} · ` : ""}${farm.function}${place}`;
    setText(this.#name, farm.name || farm.function || "unnamed");
    setText(this.#where, where);
    this.#figures.update(farm);
    this.#warning.hidden = farm.warnings.length === 0;
    setText(this.#warning, `Warning: ${farm.warnings.join("; ")}`);
    this.#body?.show(farm);
    this.showAge(nowSeconds);
  }

  /** Shows only what changes by itself as time goes by. */
  showAge(nowSeconds) {
    this.state = this.farm.state(nowSeconds);
    this.notice = notice(this.farm, this.state);
    this.#badge.show(this.state);
    this.node.dataset.state = this.state.name;
    this.#notice.hidden = this.notice === null;
    setText(this.#notice, this.notice ?? "");
    this.#body?.showAge(this.farm, nowSeconds);
  }

  redraw() {
    this.#body?.charts.redraw();
  }

  remove() {
    this.#close();
    this.node.remove();
  }

  #toggle() {
    if (!this.node.open) {
      this.#close();
    } else if (!this.#body) {
      this.#body = new Body(this.key, this.farm);
      this.node.append(this.#body.node);
      this.node.dispatchEvent(new CustomEvent("opened"));
    }
  }

  #close() {
    this.#body?.charts.destroy();
    this.#body?.node.remove();
    this.#body = null;
  }
}
