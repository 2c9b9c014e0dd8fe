"use strict";
// What is drawn of one image: the picture, its map recoloured by a threshold, and the mask of a defect under the brush.

const LOADED = 24; // images that stay in memory where they lie beside the page
const MASK_COLOUR = [0, 229, 160];
const STRONGEST = 0.85; // as in the overlays of `stadx predict`

const waiting = new Map(); // number of an image: what to do when its file is loaded
const loaded = new Map();

function stadxShown(number, shown) { // called by images/N.js
  loaded.set(number, shown);
  waiting.get(number)?.(shown);
}

function shownOf(number, isBeside) {
  if (!isBeside) return Promise.resolve(JSON.parse(document.getElementById(`data-${number}`).textContent));
  if (loaded.has(number)) return Promise.resolve(loaded.get(number));
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    const before = waiting.get(number);
    waiting.set(number, (shown) => { before?.(shown); resolve(shown); });
    script.src = `images/${number}.js`;
    script.onload = () => {
      script.remove();
      waiting.delete(number);
      for (const old of loaded.keys()) if (loaded.size > LOADED) loaded.delete(old);
    };
    script.onerror = () => { script.remove(); reject(new Error(`${script.src} is missing; keep the folder images beside this page`)); };
    document.head.append(script);
  });
}

async function decoded(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

function pixelsOf(image) {
  const canvas = Object.assign(document.createElement("canvas"), { width: image.naturalWidth, height: image.naturalHeight });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

class View {
  // stage: holds picture, heat and mask; colours: 256 of [r, g, b]; painted: called after each stroke.
  constructor(stage, colours, painted) {
    this.stage = stage;
    [this.picture, this.heat, this.mask] = stage.children;
    this.colours = colours;
    this.painted = painted;
    this.tool = null; // or "brush" or "erase"
    this.size = 20; // of the brush, in thousandths of the picture's longer side
    this.ready = false;
    this.turn = 0;
    this.stroke = null;
    this.mask.addEventListener("pointerdown", (event) => this.begin(event));
    this.mask.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) this.mask.addEventListener(end, () => this.finish());
    new ResizeObserver(() => this.fit()).observe(stage.parentElement);
  }

  // Show an image: its pixels as shown, and its mask or null. False if another was asked for meanwhile.
  async show(loading, [height, width], mask, cut) {
    const turn = ++this.turn;
    this.ready = false;
    const shown = await loading;
    const [picture, map] = await Promise.all([decoded(shown.picture), decoded(shown.levels)]);
    if (turn !== this.turn) return false;
    this.picture.src = picture.src;
    const { data, width: columns, height: rows } = pixelsOf(map);
    this.levels = new Uint16Array(columns * rows);
    for (let i = 0; i < this.levels.length; i++) this.levels[i] = data[4 * i] * 256 + data[4 * i + 1];
    this.block = shown.block;
    Object.assign(this.heat, { width: columns, height: rows });
    this.heat.style.width = `${(100 * columns * shown.block) / width}%`; // the last block may reach beyond the picture
    this.heat.style.height = `${(100 * rows * shown.block) / height}%`;
    Object.assign(this.mask, { width, height });
    this.fit();
    this.recolour(cut);
    await this.setMask(mask);
    if (turn !== this.turn) return false;
    this.ready = true;
    return true;
  }

  fit() { // the picture's own aspect, with the buttons around it in the window
    const { width, height } = this.mask;
    const room = Math.max(240, window.innerHeight - 360);
    const scale = Math.min((this.stage.parentElement.clientWidth - 36) / width, room / height);
    this.stage.style.width = `${width * scale}px`;
    this.stage.style.height = `${height * scale}px`;
  }

  recolour(cut) { // cut: a level; the colours reach twice as far
    if (!this.levels) return;
    this.cut = cut;
    const { width, height } = this.heat;
    const levels = this.levels;
    const context = this.heat.getContext("2d");
    const image = context.createImageData(width, height);
    const out = image.data;
    for (let i = 0; i < levels.length; i++) {
      const level = levels[i];
      const share = Math.min(1, level / (2 * cut));
      const x = i % width;
      const isEdge = level <= cut && ((x > 0 && levels[i - 1] > cut) || (x < width - 1 && levels[i + 1] > cut) || levels[i - width] > cut || levels[i + width] > cut);
      const [r, g, b] = isEdge ? [255, 255, 255] : this.colours[Math.round(255 * share)];
      out[4 * i] = r; out[4 * i + 1] = g; out[4 * i + 2] = b;
      out[4 * i + 3] = isEdge ? 255 : Math.round(255 * STRONGEST * share ** 0.75);
    }
    context.putImageData(image, 0, 0);
  }

  setOpacity(share) {
    this.heat.style.opacity = share;
    this.stage.classList.toggle("hot", share > 0);
  }

  setTool(tool) {
    this.tool = tool;
    this.stage.classList.toggle("painting", tool !== null);
  }

  at(event) {
    const box = this.mask.getBoundingClientRect();
    return [((event.clientX - box.left) * this.mask.width) / box.width, ((event.clientY - box.top) * this.mask.height) / box.height];
  }

  begin(event) {
    if (!this.tool || !this.ready || event.button !== 0) return;
    event.preventDefault();
    this.mask.setPointerCapture(event.pointerId);
    this.stroke = this.at(event);
    this.line(this.stroke);
  }

  move(event) {
    if (!this.stroke) return;
    for (const one of event.getCoalescedEvents?.() ?? [event]) this.line(this.at(one));
  }

  line([x, y]) {
    const context = this.mask.getContext("2d");
    context.globalCompositeOperation = this.tool === "erase" ? "destination-out" : "source-over";
    context.strokeStyle = `rgb(${MASK_COLOUR})`;
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = Math.max(1, (this.size * Math.max(this.mask.width, this.mask.height)) / 1000);
    context.beginPath();
    context.moveTo(...this.stroke);
    context.lineTo(x, y);
    context.stroke();
    this.stroke = [x, y];
  }

  finish() {
    if (!this.stroke) return;
    this.stroke = null;
    this.painted();
  }

  // Paint with a function of each pixel: x, y and whether it is painted.
  paint(isMarked) {
    const { width, height } = this.mask;
    const context = this.mask.getContext("2d");
    const image = context.getImageData(0, 0, width, height);
    for (let i = 0; i < width * height; i++) {
      const marked = isMarked(i % width, Math.floor(i / width), image.data[4 * i + 3] > 127);
      image.data.set(marked ? [...MASK_COLOUR, 255] : [0, 0, 0, 0], 4 * i);
    }
    context.putImageData(image, 0, 0);
  }

  fill() {
    const { width } = this.heat;
    this.paint((x, y, marked) => marked || this.levels[Math.floor(y / this.block) * width + Math.floor(x / this.block)] > this.cut);
  }

  clear() {
    this.mask.getContext("2d").clearRect(0, 0, this.mask.width, this.mask.height);
  }

  async setMask(address) {
    if (!address) return this.clear();
    const turn = this.turn;
    const { data, width } = pixelsOf(await decoded(address));
    if (turn === this.turn) this.paint((x, y) => data[4 * (y * width + x)] > 127);
  }

  // The mask as PNG, white on black; null if nothing is painted.
  maskAddress() {
    const { width, height } = this.mask;
    const image = this.mask.getContext("2d").getImageData(0, 0, width, height);
    let isEmpty = true;
    for (let i = 0; i < image.data.length; i += 4) {
      const value = image.data[i + 3] > 127 ? 255 : 0;
      if (value) isEmpty = false;
      image.data.set([value, value, value, 255], i);
    }
    if (isEmpty) return null;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas.toDataURL("image/png");
  }
}
