// The slider: counts every image at the threshold it stands at, and sorts the cards anew.

const FIRST_CARDS = 12;
const MORE_CARDS = 24;
const NEAREST = 2 ** -24; // of a score to 0 or 1, as in metrics/calibration.py

const data = JSON.parse(document.getElementById("data").textContent);
const slider = document.getElementById("slider");
const store = document.getElementById("store");
const cardOf = new Map(
  [...document.querySelectorAll(".card")]
    .map((node) => ({ node, row: Number(node.dataset.row) }))
    .sort((a, b) => a.row - b.row)
    .map((card) => [card.row, card]),
);
const sections = [...document.querySelectorAll("[data-section]")];
const shownLimit = new Map(sections.map((section) => [section, FIRST_CARDS]));

// At the decided threshold the decisions themselves count; elsewhere a score that reaches it.
function rejectedAt(position) {
  if (position === data.decided) return data.decision;
  const threshold = data.thresholds[position];
  return data.score.map((score) => Number(score >= threshold));
}

function countAt(rejected) {
  const count = { found: 0, misses: 0, alarms: 0, passed: 0 };
  rejected.forEach((decision, row) => {
    if (data.label[row]) count[decision ? "found" : "misses"] += 1;
    else count[decision ? "alarms" : "passed"] += 1;
  });
  return count;
}

// Rounded half up, as words.share does.
function share(count, whole) {
  return whole ? `${(Math.floor((1000 * count) / whole + 0.5) / 10).toFixed(1)}%` : "not defined";
}

function showCounts(position, count) {
  const texts = {
    threshold: data.texts[position],
    recall: share(count.found, count.found + count.misses),
    rate: share(count.alarms, count.alarms + count.passed),
  };
  for (const node of document.querySelectorAll("[data-live]")) {
    const name = node.dataset.live;
    node.textContent = name in texts ? texts[name] : count[name].toLocaleString("en");
    if (name === "misses" || name === "alarms") node.classList.toggle("wrong", count[name] > 0);
  }
  slider.setAttribute("aria-valuetext", data.texts[position]);
  const moved = position !== data.decided;
  document.getElementById("moved").hidden = !moved;
  document.getElementById("back").disabled = !moved;
}

function sectionOf(row, rejected) {
  if (rejected[row] === data.label[row]) return "rest";
  return data.label[row] ? "misses" : "alarms";
}

function logit(score) {
  const inside = Math.min(Math.max(score, NEAREST), 1 - NEAREST);
  return Math.log(inside / (1 - inside));
}

function sortKeys(position) {
  const at = logit(data.thresholds[position]);
  return {
    misses: (card) => data.score[card.row],
    alarms: (card) => -data.score[card.row],
    rest: (card) => Math.abs(logit(data.score[card.row]) - at),
  };
}

function showSection(section, total, members, key) {
  const sorted = members.map((card) => [key(card), card.node]).sort((a, b) => a[0] - b[0]);
  const shown = sorted.slice(0, shownLimit.get(section)).map(([, node]) => node);
  const grid = section.querySelector(".cards");
  store.append(...[...grid.children].filter((node) => !shown.includes(node)));
  grid.replaceChildren(...shown);
  section.querySelector("[data-total]").textContent = total.toLocaleString("en");
  const which = shown.length === total ? "All" : `${shown.length} of ${total.toLocaleString("en")}`;
  const note = section.querySelector("[data-order]");
  note.textContent = total ? `${which}, ${note.dataset.order}.` : "None.";
  const more = section.querySelector(".more");
  more.hidden = shown.length === sorted.length;
  more.textContent = `Show ${Math.min(MORE_CARDS, sorted.length - shown.length)} more`;
}

function showVerdict(card, rejected) {
  const [style, words] = data.verdicts[data.label[card.row]][rejected[card.row]];
  const verdict = card.node.querySelector("[data-verdict]");
  verdict.className = style;
  verdict.firstElementChild.textContent = words;
}

function bySection(rows, rejected) {
  const found = new Map(sections.map((section) => [section.dataset.section, []]));
  for (const row of rows) found.get(sectionOf(row, rejected)).push(row);
  return found;
}

function showGallery(position, rejected) {
  const totals = bySection(data.label.keys(), rejected);
  const members = bySection(cardOf.keys(), rejected);
  const keys = sortKeys(position);
  for (const section of sections) {
    const name = section.dataset.section;
    const found = members.get(name).map((row) => cardOf.get(row));
    showSection(section, totals.get(name).length, found, keys[name]);
  }
  for (const card of cardOf.values()) showVerdict(card, rejected);
}

let waiting = false;

// The counts follow at once, the images with the next frame that the browser draws.
function onMove() {
  const rejected = rejectedAt(Number(slider.value));
  showCounts(Number(slider.value), countAt(rejected));
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    const position = Number(slider.value);
    showGallery(position, rejectedAt(position));
  });
}

function goBack() {
  slider.value = data.decided;
  onMove();
  slider.focus();
}

function showMore(section) {
  const before = section.querySelectorAll(".card").length;
  shownLimit.set(section, shownLimit.get(section) + MORE_CARDS);
  const position = Number(slider.value);
  showGallery(position, rejectedAt(position));
  section.querySelectorAll(".card")[before]?.focus();
}

function start() {
  slider.value = data.decided;
  slider.addEventListener("input", onMove);
  document.getElementById("back").addEventListener("click", goBack);
  for (const section of sections) {
    section.querySelector(".more").addEventListener("click", () => showMore(section));
  }
  document.getElementById("bar").hidden = false;
  showGallery(data.decided, data.decision);
}

start();
