// The three charts of a farm, drawn by uPlot. A canvas says nothing to a screen reader: each has a
// summary as its label, and the table of decisions holds the same numbers.

import { element, setText } from "./dom.js";
import * as format from "./format.js";

const HEIGHT_PIXELS = 170;
const WHOLE_STEPS = [0, 1, 2, 3, 4, 5, 6].flatMap((power) => [1, 2, 5].map((step) => step * 10 ** power));
const observed = (name) => (event) => event.observed?.[name];

const CHARTS = [
  {
    title: "Queue",
    lines: [
      { label: "Backlog", unit: "tasks", colour: "--line-1", fill: true, value: observed("backlog_tasks"), show: format.count },
      { label: "Arrivals", unit: "of tasks", colour: "--line-2", scale: "rate", value: observed("arrival_rate_per_second"), show: format.rate },
    ],
    range: (_, high) => [0, Math.max(1, high * 1.1)],
  },
  {
    title: "Parallelism",
    lines: [
      { label: "Available", unit: "workers", colour: "--line-1", fill: true, step: true, value: observed("available_parallelism"), show: format.count },
      { label: "Wanted", unit: "workers", colour: "--line-3", width: 5, step: true, value: (event) => event.wanted_parallelism, show: format.count },
      { label: "Target", unit: "workers", colour: "--line-2", step: true, value: (event) => event.target_parallelism, show: format.count },
    ],
    range: (_, high) => [0, Math.max(1, high * 1.15)],
  },
  {
    title: "QoS",
    lines: [
      { label: "In deadline", unit: "of the tasks", colour: "--line-1", value: observed("qos_ratio"), show: format.ratio },
      { label: "Target", unit: "of the tasks", colour: "--line-2", dash: [6, 4], value: (event) => event.target_qos_ratio, show: format.ratio },
    ],
    range: (low) => [Math.max(0, low - 0.05), 1.005],
  },
];

const colour = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name);
const finite = (value) => (Number.isFinite(value) ? value : null);

/** The numbers of one chart, column by column: time, then each line. */
function columns(lines, history) {
  return [
    history.map((event) => event.at_seconds),
    ...lines.map((line) => history.map((event) => finite(line.value(event)))),
  ];
}

function axis(scale, side, show) {
  return {
    scale,
    side,
    // There is no half task and no half worker.
    incrs: show === format.count ? WHOLE_STEPS : undefined,
    size: 48,
    gap: 4,
    space: 34,
    font: "12px system-ui, sans-serif",
    stroke: colour("--muted"),
    grid: { show: side !== 1, stroke: colour("--grid"), width: 1 },
    ticks: { show: false },
    values: (_, splits) => splits.map((value) => (value == null ? "" : show(value))),
  };
}

function timeAxis() {
  const minutes = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });
  const show = (_, splits, index, space, increment) =>
    splits.map((seconds) => (increment < 60 ? format.timeOfDay(seconds) : minutes.format(seconds * 1000)));
  return { ...axis("x", 2, String), size: 30, space: 76, values: show };
}

function series(line) {
  return {
    label: line.label,
    scale: line.scale ?? "y",
    width: line.width ?? 1.5,
    dash: line.dash,
    stroke: colour(line.colour),
    fill: line.fill && colour(`${line.colour}-fill`),
    paths: line.step ? uPlot.paths.stepped({ align: 1 }) : undefined,
    points: { show: false },
  };
}

function options({ lines, range }, width, group, onCursor) {
  const bounds = (_, low, high) => (low == null ? [0, 1] : range(low, high));
  const first = lines[0];
  const second = lines.find((line) => line.scale);
  const axes = [timeAxis(), axis("y", 3, first.show)];
  const scales = { x: { time: true }, y: { range: bounds } };
  if (second) {
    axes.push(axis(second.scale, 1, second.show));
    scales[second.scale] = { range: bounds };
  }
  return {
    width,
    height: HEIGHT_PIXELS,
    // Without a right axis, room for half of the last time label.
    padding: [8, second ? 0 : 24, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: group }, drag: { x: false, y: false }, points: { size: 6 } },
    scales,
    axes,
    series: [{}, ...lines.map(series)],
    hooks: { setCursor: [onCursor] },
  };
}

class Chart {
  #plot = null;
  #data = null;
  #history = null;
  #values;
  #time = element("span", { class: "cursor-time" });
  #frame = element("div", { class: "plot" });

  constructor(chart, group) {
    this.chart = chart;
    this.group = group;
    this.#values = chart.lines.map(() => element("span", { class: "value" }));
    const keys = chart.lines.map((line, index) =>
      element(
        "li",
        {},
        element("span", { class: `swatch ${line.colour.slice(2)}${line.dash ? " dashed" : line.fill ? " area" : line.width ? " wide" : ""}` }),
        `${line.label} `,
        this.#values[index],
      ),
    );
    const caption = element(
      "figcaption",
      {},
      element("h3", {}, chart.title),
      element("ul", { class: "legend" }, ...keys),
      this.#time,
    );
    this.node = element("figure", {}, caption, this.#frame);
    // In the next frame: a resize during the observation would count as a loop.
    this.resized = new ResizeObserver(() => requestAnimationFrame(() => this.#fit()));
    this.resized.observe(this.#frame);
  }

  show(history) {
    this.#history = history;
    this.#data = columns(this.chart.lines, history);
    if (!this.#plot) this.#create();
    else this.#plot.setData(this.#data);
    this.#showValues();
    this.#describe(history);
  }

  redraw() {
    this.#plot?.redraw(false);
  }

  destroy() {
    this.resized.disconnect();
    this.#plot?.destroy();
  }

  #create() {
    const width = this.#frame.clientWidth;
    if (width === 0) return;
    const onCursor = () => this.#showValues();
    this.#plot = new uPlot(options(this.chart, width, this.group, onCursor), this.#data, this.#frame);
    this.#frame.querySelector("canvas").setAttribute("role", "img");
  }

  #fit() {
    const width = this.#frame.clientWidth;
    if (width === 0 || !this.#history) return;
    if (!this.#plot) this.show(this.#history);
    else if (width !== this.#plot.width) this.#plot.setSize({ width, height: HEIGHT_PIXELS });
  }

  /** The values under the cursor, or the last ones. */
  #showValues() {
    const pointed = this.#plot?.cursor.idx;
    const index = pointed ?? this.#data[0].length - 1;
    this.chart.lines.forEach((line, i) => setText(this.#values[i], line.show(this.#data[i + 1][index])));
    setText(this.#time, pointed == null ? "" : format.timeOfDay(this.#data[0][index]));
  }

  #describe(history) {
    const span = history.length > 1 ? history.at(-1).at_seconds - history[0].at_seconds : 0;
    const lines = this.chart.lines.map((line, index) => {
      const known = this.#data[index + 1].filter((value) => value !== null);
      if (known.length === 0) return `${line.label}: not known`;
      const [low, high] = [Math.min(...known), Math.max(...known)];
      return `${line.label}: ${line.show(known.at(-1))} ${line.unit}, between ${line.show(low)} and ${line.show(high)}`;
    });
    const label = `${this.chart.title} over ${format.duration(span)}. ${lines.join(". ")}.`;
    this.#frame.querySelector("canvas")?.setAttribute("aria-label", label);
  }
}

/** The charts of one farm; their cursors move together. */
export class Charts {
  constructor(group) {
    this.charts = CHARTS.map((chart) => new Chart(chart, group));
    this.node = element("div", { class: "charts" }, ...this.charts.map((chart) => chart.node));
  }

  show(history) {
    for (const chart of this.charts) chart.show(history);
  }

  redraw() {
    for (const chart of this.charts) chart.redraw();
  }

  destroy() {
    for (const chart of this.charts) chart.destroy();
  }
}
