// Sorts and enlarges the pictures of a page.
for (const gallery of document.querySelectorAll("[data-sorted]")) {
  const choice = gallery.querySelector("select"), tiles = gallery.querySelector(".tiles");
  choice?.addEventListener("change", () => {
    const key = choice.value, of = tile => tile.dataset[key.replace("-", "")] ?? "";
    const numbers = [...tiles.children].every(tile => of(tile) !== "" && !isNaN(of(tile)));
    const ordered = [...tiles.children].sort((a, b) => numbers ? of(a) - of(b) : of(a).localeCompare(of(b), undefined, {numeric: true}));
    tiles.append(...(key.startsWith("-") ? ordered.reverse() : ordered));
  });
}
const zoom = document.getElementById("zoom");
for (const picture of document.querySelectorAll(".panels img")) {
  picture.tabIndex = 0; picture.setAttribute("role", "button");
  const open = () => { const shown = zoom.querySelector("img"); shown.src = picture.src; shown.alt = picture.alt; zoom.querySelector("p").textContent = picture.alt; zoom.showModal(); };
  picture.addEventListener("click", open);
  picture.addEventListener("keydown", event => { if (event.key === "Enter") open(); });
}
