// The heat maps: a button and H hide and show them on all cards, the enlarged one included.

function toggleHeat() {
  const hidden = document.body.classList.toggle("cool");
  for (const button of document.querySelectorAll("[data-heat]")) {
    button.setAttribute("aria-pressed", String(hidden));
  }
}

function onHeatKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "h" || event.key === "H") toggleHeat();
}

for (const button of document.querySelectorAll("[data-heat]")) {
  button.addEventListener("click", toggleHeat);
}
document.addEventListener("keydown", onHeatKey);
