// Quantities as text. Absent ones are a dash: the page never shows a number that nobody measured.

export const ABSENT = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const significant = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const calendar = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });

const known = (value) => typeof value === "number" && Number.isFinite(value);
const number = (value) => (Math.abs(value) >= 100 ? whole : significant).format(value);

export const count = (value) => (known(value) ? whole.format(value) : ABSENT);
export const ratio = (value) => (known(value) ? percent.format(value).replace("%", "\u00a0%") : ABSENT);
export const rate = (value) => (known(value) ? `${number(value)}/s` : ABSENT);

export function duration(seconds) {
  if (!known(seconds)) return ABSENT;
  if (seconds === 0) return "0\u00a0s";
  if (seconds < 1e-3) return `${significant.format(seconds * 1e6)}\u00a0µs`;
  if (seconds < 1) return `${significant.format(seconds * 1e3)}\u00a0ms`;
  if (seconds < 120) return `${significant.format(seconds)}\u00a0s`;
  if (seconds < 7200) return `${whole.format(seconds / 60)}\u00a0min`;
  return `${whole.format(seconds / 3600)}\u00a0h`;
}

/** How long ago, in whole seconds at the finest: it is shown anew every second. */
export function ago(seconds) {
  if (!known(seconds)) return "never";
  return seconds < 1 ? "just now" : `${duration(Math.floor(seconds))} ago`;
}

/** `replicas × slots`. */
export function product(allocation) {
  return allocation ? `${count(allocation.replicas)} × ${count(allocation.slots)}` : ABSENT;
}

export const plural = (amount, one, many) => `${count(amount)} ${amount === 1 ? one : many}`;
export const timeOfDay = (seconds) => (known(seconds) ? clock.format(seconds * 1000) : ABSENT);
export const date = (seconds) => (known(seconds) ? calendar.format(seconds * 1000) : ABSENT);
export const isoTime = (seconds) => (known(seconds) ? new Date(seconds * 1000).toISOString() : null);
