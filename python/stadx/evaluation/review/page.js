"use strict";
// The review itself: list, decisions, undo, keys, and what is kept in the browser and saved as JSON.

const review = JSON.parse(document.getElementById("review").textContent);
const $ = (id) => document.getElementById(id);
const key = (name) => `stadx-review ${review.id} ${name}`; // in the browser, of an image's number or else
const DECISIONS = ["good", "defect", "unsure"];

const images = review.images;
const judged = images.map((_, index) => kept(index)); // null, or decision, threshold and mask
const changes = []; // of changes: which image, and what it was before
const rows = images.map(row);
let current = -1;
let unsaved = stored("unsaved") ?? 0; // changes since the last save
const view = new View($("stage"), review.colours, () => paint());

function stored(name) {
  try {
    return JSON.parse(localStorage.getItem(key(name)));
  } catch {
    return null;
  }
}

function kept(index) {
  const found = stored(index);
  return DECISIONS.includes(found?.decision) ? found : null;
}

function store(name, value) {
  try {
    if (value) localStorage.setItem(key(name), JSON.stringify(value));
    else localStorage.removeItem(key(name));
  } catch {
    trouble("This browser keeps no more decisions: save before you close the page.");
    window.onbeforeunload = (event) => { if (unsaved) event.preventDefault(); };
  }
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

function titleOf(image) {
  return image.page ? `${image.path}, page ${image.page}` : image.path;
}

function row(image, index) {
  const button = document.createElement("button");
  const text = document.createElement("span");
  const thumbnail = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
  const [name, score, mark] = ["b", "small", "i"].map((tag) => document.createElement(tag));
  name.textContent = titleOf(image);
  score.textContent = `score ${image.score.toPrecision(4)}${image.flagged ? ", flagged" : ""}`;
  score.classList.toggle("flagged", image.flagged);
  text.append(name, score, mark);
  button.append(thumbnail, text);
  button.addEventListener("click", () => go(index));
  const item = document.createElement("li");
  item.append(button);
  $("list").append(item);
  return { item, button, thumbnail, mark, index };
}

// Thumbnails are drawn when they come into sight, one after the other.
let drawing = Promise.resolve();
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    watcher.unobserve(entry.target);
    drawing = drawing.then(() => drawThumbnail(entry.target)).catch((error) => trouble(error.message));
  }
}, { root: $("list"), rootMargin: "200px" });

async function drawThumbnail(button) {
  const { index, thumbnail } = rows.find((one) => one.button === button);
  const picture = await decoded((await shownOf(images[index].data, review.beside)).picture);
  const scale = 128 / Math.max(picture.naturalWidth, picture.naturalHeight);
  thumbnail.width = Math.max(1, Math.round(picture.naturalWidth * scale));
  thumbnail.height = Math.max(1, Math.round(picture.naturalHeight * scale));
  thumbnail.getContext("2d").drawImage(picture, 0, 0, thumbnail.width, thumbnail.height);
}

function isShown(index) {
  const filter = $("filter").value;
  const decision = judged[index]?.decision;
  return filter === "all" || (filter === "undecided" && !decision) || (filter === "flagged" && images[index].flagged) || filter === decision;
}

function refresh() {
  let shown = 0;
  rows.forEach(({ item, button, mark }, index) => {
    const decision = judged[index]?.decision ?? "";
    mark.textContent = decision + (judged[index]?.mask ? " + mask" : "");
    mark.className = decision;
    item.hidden = !isShown(index);
    shown += !item.hidden;
    button.setAttribute("aria-current", index === current);
  });
  $("none").hidden = shown > 0;
  for (const decision of DECISIONS) $(decision).classList.toggle("is", judged[current]?.decision === decision);
  const count = (decision) => judged.filter((one) => (one?.decision ?? "undecided") === decision).length;
  const told = [...DECISIONS, "undecided"].map((name) => [name, count(name)]);
  told.push(["flagged", images.filter((image) => image.flagged).length], ["images", images.length]);
  $("counts").replaceChildren(...told.flatMap(([name, number]) => {
    const span = document.createElement("span");
    const figure = document.createElement("b");
    figure.textContent = number;
    span.append(figure, ` ${name}`);
    return [span, " "];
  }));
  $("saved").textContent = unsaved ? `${unsaved} ${unsaved > 1 ? "changes" : "change"} since the last save` : "";
}

async function go(index) {
  view.finish();
  current = index;
  const image = images[index];
  const [height, width] = image.size;
  const [h, w] = image.shown;
  const reduced = h < height ? `, shown reduced to ${w}×${h}; masks have that size too` : "";
  $("name").textContent = titleOf(image);
  $("about").textContent = `${width}×${height} pixels${reduced} · score ${image.score.toPrecision(4)}, ${image.flagged ? "above" : "not above"} the image threshold ${review.head.image_threshold.toPrecision(4)}`;
  refresh();
  rows[index].button.scrollIntoView({ block: "nearest" });
  try {
    await view.show(shownOf(image.data, review.beside), image.shown, judged[index]?.mask, cut());
  } catch (error) {
    trouble(error.message);
  }
}

function step(direction) {
  for (let index = current + direction; index >= 0 && index < images.length; index += direction) {
    if (isShown(index)) return go(index);
  }
  return refresh();
}

function cut() {
  return Number($("threshold").value);
}

function score(level) { // that a level stands for
  const { base, step: one, steps } = review.levels;
  return level === steps ? review.head.pixel_threshold : base + level * one;
}

function change(index, after) {
  changes.push({ index, before: judged[index] });
  set(index, after);
}

function set(index, after) {
  judged[index] = after;
  unsaved += 1;
  store(index, after);
  store("unsaved", unsaved);
}

function decide(decision) {
  view.finish();
  const mask = decision === "defect" ? (judged[current]?.mask ?? null) : null;
  change(current, { decision, threshold: score(cut()), mask });
  step(1);
  if (!mask && view.ready) view.clear(); // where there is no next one
}

function paint() { // after a stroke, or what is like one
  const mask = view.maskAddress();
  if (mask === (judged[current]?.mask ?? null)) return;
  change(current, { decision: mask ? "defect" : (judged[current]?.decision ?? "defect"), threshold: score(cut()), mask });
  refresh();
}

function undo() {
  view.finish();
  const last = changes.pop();
  if (!last) return;
  set(last.index, last.before);
  go(last.index);
}

function save() {
  view.finish();
  const decisions = images.flatMap(({ path, page, sha256, size, score: found }, index) => judged[index]
    ? [{ path, ...(page ? { page } : {}), sha256, size, decision: judged[index].decision, score: found, threshold: judged[index].threshold, mask: judged[index].mask }]
    : []);
  const content = { ...review.head, saved: new Date().toISOString(), undecided: images.length - decisions.length, images: decisions };
  const address = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }));
  Object.assign(document.createElement("a"), { href: address, download: "review.json" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  unsaved = 0;
  store("unsaved", 0);
  refresh();
}

function recolour() {
  $("cut").textContent = `${score(cut()).toPrecision(4)}${cut() === review.levels.steps ? " (the model's)" : ""}`;
  view.recolour(cut());
}

function shade() {
  const isHidden = $("hide").getAttribute("aria-pressed") === "true";
  view.setOpacity(isHidden ? 0 : Number($("opacity").value) / 100);
}

function press(id, isOn) {
  $(id).setAttribute("aria-pressed", isOn);
}

function choose(tool) {
  view.setTool(view.tool === tool ? null : tool);
  press("brush", view.tool === "brush");
  press("erase", view.tool === "erase");
}

function resize(by) {
  $("width").value = Number($("width").value) + by;
  view.size = Number($("width").value);
}

const actions = {
  good: () => decide("good"), defect: () => decide("defect"), unsure: () => decide("unsure"),
  back: () => step(-1), next: () => step(1), undo, save,
  own: () => { $("threshold").value = review.levels.steps; recolour(); },
  hide: () => { press("hide", $("hide").getAttribute("aria-pressed") !== "true"); shade(); },
  brush: () => choose("brush"), erase: () => choose("erase"),
  fill: () => { if (view.ready) { view.fill(); paint(); } },
  clear: () => { if (view.ready) { view.clear(); paint(); } },
};
const keys = {
  g: "good", d: "defect", u: "unsure", n: "next", ArrowRight: "next", p: "back", ArrowLeft: "back", z: "undo", s: "save", h: "hide",
  b: "brush", e: "erase", f: "fill", c: "clear",
};

for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);
for (const [id, action] of [["threshold", recolour], ["opacity", shade], ["width", () => resize(0)]]) $(id).addEventListener("input", action);
// A slider moved by the mouse would take the arrow keys afterwards.
for (const slider of document.querySelectorAll("input[type=range]")) slider.addEventListener("pointerup", () => slider.blur());
$("filter").addEventListener("change", () => {
  $("filter").blur();
  refresh();
  if (!isShown(current)) {
    const first = images.findIndex((_, index) => isShown(index));
    if (first >= 0) go(first);
  }
});
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.target.matches("select, input")) return;
  const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if ((event.ctrlKey || event.metaKey) && (pressed !== "z" || event.shiftKey)) return;
  const action = keys[pressed];
  if (pressed === "[" || pressed === "]") resize(pressed === "[" ? -5 : 5);
  else if (!Object.hasOwn(keys, pressed)) return;
  else if (!event.repeat || action === "next" || action === "back") actions[action](); // a key held down decides once
  event.preventDefault();
});

for (const { button } of rows) watcher.observe(button);
$("threshold").value = review.levels.steps;
recolour();
shade();
go(Math.max(0, judged.findIndex((one) => !one))); // where the last time ended
