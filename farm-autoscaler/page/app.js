// The live page of the autoscaler: what it sees of each farm, what it decides, and why.

import { Card } from "./card.js";
import { setText } from "./dom.js";
import * as format from "./format.js";
import { Board } from "./model.js";
import { Stream } from "./stream.js";

/** Up to so many farms are open from the start. */
const OPEN_FARMS = 3;
/** From so many farms on, there is something to search. */
const FILTER_FARMS = 8;
/** A stream that is back within this time is not worth a word to a screen reader. */
const ANNOUNCED_LOSS_SECONDS = 5;
/** Of more farms than this, only the number is announced. */
const ANNOUNCED_FARMS = 3;

const find = (id) => document.getElementById(id);
const board = new Board();
const cards = new Map();
const changed = new Set();
const heard = { states: new Map(), connection: "live", leader: null };
let isFirst = true;

const stream = new Stream({
  snapshot: takeFarms,
  farms: takeFarms,
  decision: (event) => board.decide(event).forEach(showSoon),
});

function takeFarms(message) {
  board.take(message);
  for (const [key, card] of cards) {
    if (board.farms.has(key)) continue;
    card.remove();
    cards.delete(key);
    heard.states.delete(key);
  }
  placeCards();
  for (const key of cards.keys()) showSoon(key);
  if (isFirst) openFew();
  isFirst = false;
  showPage();
}

/** Makes the cards that are missing and puts all in the order of the board, moving few. */
function placeCards() {
  let next = find("farms").firstElementChild;
  for (const [key, farm] of board.farms) {
    if (!cards.has(key)) addCard(key, farm);
    const { node } = cards.get(key);
    if (node === next) next = node.nextElementSibling;
    else find("farms").insertBefore(node, next);
  }
}

function addCard(key, farm) {
  const card = new Card(key, farm);
  card.node.addEventListener("opened", () => showSoon(key));
  cards.set(key, card);
}

function openFew() {
  if (cards.size > OPEN_FARMS) return;
  for (const card of cards.values()) card.node.open = true;
}

/** Gathers what comes between two frames: a burst of decisions is drawn once. */
function showSoon(key) {
  if (changed.size === 0) requestAnimationFrame(showChanged);
  changed.add(key);
}

function showChanged() {
  const now = newsSeconds();
  for (const key of changed) cards.get(key)?.show(now);
  changed.clear();
  showPage();
  announce();
}

/**
 * The time by which farms are judged: while nothing comes through, that of the last news. That
 * this page hears nothing does not make a farm silent.
 */
function newsSeconds() {
  const now = board.nowSeconds();
  return stream.state === "live" ? now : now - (stream.silentSeconds ?? 0);
}

function tick() {
  const intervals = [...board.farms.values()].map((farm) => farm.settings.interval_seconds ?? 0);
  stream.tick(intervals.length ? Math.max(45, 3 * Math.min(...intervals)) : Infinity);
  const now = newsSeconds();
  for (const card of cards.values()) card.showAge(now);
  showPage();
  announce();
}

function showPage() {
  showConnection();
  setText(find("leader"), leaderText());
  const attention = [...cards.values()].filter((card) => card.state?.attention).length;
  document.title = `${attention ? `(${attention}) ` : ""}Farm autoscaler`;
  find("overview").hidden = isFirst;
  setText(find("count"), countText(attention));
  find("filters").hidden = cards.size < FILTER_FARMS;
  filter();
}

function countText(attention) {
  if (cards.size === 0) return "No farms. A function becomes one by the annotation farm.name.";
  const farms = format.plural(cards.size, "farm", "farms");
  if (attention === 0) return `${farms}, none needs attention.`;
  return `${farms}, ${format.plural(attention, "needs", "need")} attention.`;
}

function leaderText() {
  if (!board.replica) return "";
  if (board.leads) return `${board.replica} leads.`;
  if (board.leader) return `${board.replica} stands by, ${board.leader} leads.`;
  return `${board.replica} stands by, and none leads: no farm is scaled.`;
}

function connectionText() {
  const { state, silentSeconds } = stream;
  const last = silentSeconds === null ? "" : ` last update ${format.ago(silentSeconds)}`;
  if (state === "live") return `live,${last}`;
  if (state === "polling") return `no stream, asking every few seconds,${last}`;
  return `${state}…${last}`;
}

function showConnection() {
  find("connection").dataset.state = stream.state;
  setText(find("connection-text"), connectionText());
}

function filter() {
  const words = find("filter").value.trim().toLowerCase();
  const onlyAttention = find("attention").checked;
  for (const { node, farm, state } of cards.values()) {
    const name = `${farm.name} ${farm.function}`.toLowerCase();
    const matches = name.includes(words) && (!onlyAttention || state?.attention);
    // What somebody is reading with the keyboard does not vanish.
    node.hidden = cards.size >= FILTER_FARMS && !matches && !node.contains(document.activeElement);
  }
}

/** Tells a screen reader which states changed, and nothing else: numbers change all the time. */
function announce() {
  const sentences = [...connectionNews(), ...leaderNews(), ...farmNews()];
  if (sentences.length) setText(find("announcements"), sentences.join(" "));
}

function connectionNews() {
  const isBack = stream.state === "live";
  const isGone = stream.lostSeconds > ANNOUNCED_LOSS_SECONDS;
  if (isBack && heard.connection !== "live") {
    heard.connection = "live";
    return ["Connected again."];
  }
  if (isGone && heard.connection === "live") {
    heard.connection = "lost";
    return ["Connection to the autoscaler lost. The numbers are those of the last update."];
  }
  return [];
}

function leaderNews() {
  const before = heard.leader;
  heard.leader = leaderText();
  return before && before !== heard.leader ? [heard.leader] : [];
}

function farmNews() {
  const news = [];
  for (const [key, { state, farm, notice }] of cards) {
    const before = heard.states.get(key);
    if (!state || before === state) continue;
    heard.states.set(key, state);
    if (before && (before.attention || state.attention)) {
      news.push(`${farm.name}: ${notice ?? `${state.word}.`}`);
    }
  }
  return news.length > ANNOUNCED_FARMS ? [`${news.length} farms changed their state.`] : news;
}

find("filter").addEventListener("input", filter);
find("attention").addEventListener("change", filter);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const card of cards.values()) card.redraw();
});
find("not-loaded").hidden = true;
showPage();
setInterval(tick, 1000);
