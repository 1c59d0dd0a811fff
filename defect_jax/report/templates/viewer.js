// The dialog: one card at a time, large. Arrow keys page through the cards that are shown, O hides
// the outlines, Esc closes.

function openViewer(card) {
  const viewer = document.getElementById("viewer");
  if (!viewer.open) viewer.showModal();
  showInViewer(card);
}

function shownCards() {
  return [...document.querySelectorAll(".cards .card")];
}

function showInViewer(card) {
  const cards = shownCards();
  const at = cards.indexOf(card);
  const copy = card.cloneNode(true);
  copy.removeAttribute("tabindex");
  document.getElementById("viewed").replaceChildren(copy);
  document.getElementById("place").textContent = `${at + 1} of ${cards.length} shown`;
  document.getElementById("viewer").shown = card;
}

function page(step) {
  const cards = shownCards();
  const at = cards.indexOf(document.getElementById("viewer").shown);
  showInViewer(cards[(at + step + cards.length) % cards.length]);
}

function toggleOutlines() {
  const hidden = document.getElementById("viewer").classList.toggle("bare");
  document.getElementById("outlines").setAttribute("aria-pressed", String(hidden));
}

function onViewerKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const actions = {
    ArrowLeft: () => page(-1),
    ArrowRight: () => page(1),
    o: toggleOutlines,
    O: toggleOutlines,
  };
  if (!(event.key in actions)) return;
  event.preventDefault();
  actions[event.key]();
}

function makeOpenable(card) {
  const image = card.querySelector("svg");
  card.tabIndex = 0;
  image.classList.add("opens");
  image.addEventListener("click", () => openViewer(card));
  card.addEventListener("keydown", (event) => {
    if (event.target === card && event.key === "Enter") openViewer(card);
  });
}

function startViewer() {
  const viewer = document.getElementById("viewer");
  viewer.addEventListener("keydown", onViewerKey);
  viewer.addEventListener("click", (event) => event.target === viewer && viewer.close());
  viewer.addEventListener("close", () => {
    document.getElementById("viewed").replaceChildren();
    viewer.shown.focus();
  });
  document.getElementById("previous").addEventListener("click", () => page(-1));
  document.getElementById("next").addEventListener("click", () => page(1));
  document.getElementById("outlines").addEventListener("click", toggleOutlines);
  document.getElementById("close").addEventListener("click", () => viewer.close());
  document.querySelectorAll(".card").forEach(makeOpenable);
}

startViewer();
