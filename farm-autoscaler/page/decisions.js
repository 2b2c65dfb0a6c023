// The table of a farm's decisions, the newest first.

import { badge, element } from "./dom.js";
import * as format from "./format.js";
import { outcomeState } from "./model.js";

const COLUMNS = ["Time", "Outcome", "Seen", "Wanted → target", "Replicas × slots", "Why"];
let tables = 0;

function seen(observed) {
  if (!observed) return "nothing: the farm could not be observed";
  return [
    `backlog ${format.count(observed.backlog_tasks)}`,
    `${format.count(observed.in_flight_tasks)} in flight`,
    `arrivals ${format.rate(observed.arrival_rate_per_second)}`,
    `service ${format.duration(observed.service_seconds_mean)}`,
    `QoS ${format.ratio(observed.qos_ratio)}`,
    `${format.count(observed.busy_parallelism)} of ${format.count(observed.available_parallelism)} busy`,
  ].join(" · ");
}

function why(event) {
  const { error, reasons = [] } = event;
  const saysError = (reason) => Boolean(error) && reason.includes(error);
  const sentences = reasons.map((reason) => element("p", { class: saysError(reason) ? "error" : null }, reason));
  if (error && !reasons.some(saysError)) sentences.push(element("p", { class: "error" }, `Error: ${error}`));
  return sentences;
}

function time(event) {
  const took = event.observe_seconds + event.decide_seconds + event.act_seconds;
  return [
    element(
      "time",
      { datetime: format.isoTime(event.at_seconds), title: format.date(event.at_seconds) },
      format.timeOfDay(event.at_seconds),
    ),
    element("span", { class: "aside" }, `took ${format.duration(took)}`),
  ];
}

function row(event) {
  const outcome = badge();
  const state = outcomeState(event);
  outcome.show(state);
  const cells = [
    time(event),
    [outcome.node],
    [seen(event.observed)],
    [`${format.count(event.wanted_parallelism)} → ${format.count(event.target_parallelism)}`],
    [format.product(event.allocation)],
    why(event),
  ];
  // The roles say again what the elements are: on a phone they are not laid out as a table.
  return element(
    "tr",
    { role: "row", "data-state": state.name },
    ...cells.map((content, index) =>
      element("td", { role: "cell", "data-column": COLUMNS[index] }, ...content),
    ),
  );
}

export class Decisions {
  #shown = [];
  #body = element("tbody", { role: "rowgroup" });

  constructor(farmName) {
    const heading = `decisions-${(tables += 1)}`;
    const all = element("input", { type: "checkbox" });
    const head = COLUMNS.map((name) => element("th", { role: "columnheader", scope: "col" }, name));
    const table = element(
      "table",
      { role: "table", "aria-labelledby": heading },
      element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...head)),
      this.#body,
    );
    const region = element("div", { class: "scroll", role: "region", "aria-labelledby": heading, tabindex: 0 }, table);
    all.addEventListener("change", () => table.classList.toggle("without-steady", all.checked));
    this.node = element(
      "div",
      { class: "decisions" },
      element("h3", { id: heading }, "Decisions", element("span", { class: "unseen" }, ` about ${farmName}`)),
      element("label", {}, all, " Only changes and trouble"),
      region,
    );
  }

  /** Adds the rows that are new and drops those that are too old. */
  show(history) {
    const kept = this.#shown.slice(this.#shown.indexOf(history[0]));
    const isContinued = kept.length > 0 && kept.every((event, index) => event === history[index]);
    if (isContinued) {
      this.#body.prepend(...history.slice(kept.length).reverse().map(row));
      while (this.#body.rows.length > history.length) this.#body.lastElementChild.remove();
    } else {
      // A decision that came late belongs between the others.
      this.#body.replaceChildren(...history.map(row).reverse());
    }
    this.#shown = [...history];
  }
}
