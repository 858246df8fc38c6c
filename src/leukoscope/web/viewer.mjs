// A field or a slide: its tiles, the cells at their places, a scale bar, an overview. Mouse, fingers and keys.
import { el } from "./dom.mjs";
import { barLength, fitted, zoomOfTiles, zoomedAt } from "./places.mjs";

const MOST_TILES = 160, AT_ONCE = 6, MOST_ZOOM = 8;
const ZONES = { monolayer: "#18a55833", thick: "#7a1f1f44", unread: "#000a" };

export class Viewer {
  /**
   * @param {{map: any, tile: (z: number, x: number, y: number) => string, cells: any[], words: string,
   *   mark: (cell: any) => {colour: string, dash: number[], read: boolean}, pick: (cell: any) => void}} how
   *   `map`: as the server tells it; `mark`: how a cell is drawn; `pick`: a cell was chosen.
   */
  constructor(how) {
    this.how = how;
    this.map = how.map;
    this.tiles = new Map();  // by "z/x/y", the last used last
    this.loading = 0;
    this.view = null;  // middle in pixels of the full level, and how many pixels of the screen one of them is
    this.fingers = new Map();
    this.canvas = /** @type {HTMLCanvasElement} */ (el("canvas", { class: "field", tabindex: 0, role: "application", "aria-label": how.words, "aria-describedby": "field-keys" }));
    this.over = /** @type {HTMLCanvasElement} */ (el("canvas", { class: "overview", "aria-hidden": true }));
    this.box = el("div", { class: "stage" }, this.canvas, this.over,
      el("p", { id: "field-keys", class: "unseen" }, "Arrows move, plus and minus zoom, Home shows the whole, Escape leads back to the cells."));
    this.watch = new ResizeObserver(() => this.later());
    this.watch.observe(this.box);
    const { canvas, over } = this;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.moved(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.up(/** @type {PointerEvent} */ (event)));
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.zoomAt(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.offsetX, event.offsetY); }, { passive: false });
    canvas.addEventListener("dblclick", (event) => this.zoomAt(2, event.offsetX, event.offsetY));
    const jump = (event) => { if (event.buttons) this.go((event.offsetX / over.clientWidth) * this.map.width, (event.offsetY / over.clientHeight) * this.map.height); };
    over.addEventListener("pointerdown", (event) => { over.setPointerCapture(event.pointerId); jump(event); });
    over.addEventListener("pointermove", jump);
  }

  get size() { return [this.canvas.clientWidth, this.canvas.clientHeight]; }

  /** Keys that mean something here; whether this was one. */
  key(name) {
    const [w, h] = this.size;
    const acts = {
      ArrowLeft: () => this.shift(w / 4, 0), ArrowRight: () => this.shift(-w / 4, 0), ArrowUp: () => this.shift(0, h / 4), ArrowDown: () => this.shift(0, -h / 4),
      "+": () => this.zoomAt(1.6, w / 2, h / 2), "=": () => this.zoomAt(1.6, w / 2, h / 2), "-": () => this.zoomAt(1 / 1.6, w / 2, h / 2), Home: () => this.whole(),
    };
    acts[name]?.();
    return Boolean(acts[name]);
  }

  whole() { this.view = fitted(this.map, ...this.size); this.later(); }

  go(x, y, zoom = this.view?.zoom) {
    if (!this.view) this.view = fitted(this.map, ...this.size);
    this.view = { x, y, zoom: zoom || this.view.zoom };
    this.later();
  }

  /** Show a cell: as large as a hand's width where it was not in sight, else where it is. */
  show(cell) {
    this.current = cell;
    const [x, y, w, h] = cell.box, [width, height] = this.size;
    if (!width) { this.pending = cell; return; }  // shown before it is laid out
    const [left, top] = this.view ? this.at(x + w / 2, y + h / 2) : [-1, -1];
    const near = this.view && Math.max(w, h) * this.view.zoom > 24 && left > 0.1 * width && left < 0.9 * width && top > 0.1 * height && top < 0.9 * height;
    if (!near) this.go(x + w / 2, y + h / 2, this.view && Math.max(w, h) * this.view.zoom > 24 ? this.view.zoom : Math.min(MOST_ZOOM, 120 / Math.max(w, h)));
    this.later();
  }

  /** Where a place of the picture is on the screen. */
  at(x, y) { const { view } = this, [w, h] = this.size; return [(x - view.x) * view.zoom + w / 2, (y - view.y) * view.zoom + h / 2]; }

  shift(dx, dy) { const { x, y, zoom } = this.view; this.go(x - dx / zoom, y - dy / zoom); }

  zoomAt(by, left, top) { this.view = zoomedAt(this.view, by, left, top, this.size, [fitted(this.map, ...this.size).zoom / 2, MOST_ZOOM]); this.later(); }

  down(event) {
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
    this.still = this.fingers.size === 1;
  }

  moved(event) {
    const last = this.fingers.get(event.pointerId);
    if (!last) return;
    const here = [event.offsetX, event.offsetY];
    if (this.still && Math.hypot(here[0] - last[0], here[1] - last[1]) < 4) return;
    this.still = false;
    const others = [...this.fingers].filter(([id]) => id !== event.pointerId);
    if (others.length) {
      const [, other] = others[0];
      const distance = (point) => Math.max(8, Math.hypot(point[0] - other[0], point[1] - other[1]));
      this.zoomAt(distance(here) / distance(last), (here[0] + other[0]) / 2, (here[1] + other[1]) / 2);
      this.shift((here[0] - last[0]) / 2, (here[1] - last[1]) / 2);
    } else this.shift(here[0] - last[0], here[1] - last[1]);
    this.fingers.set(event.pointerId, here);
  }

  up(event) {
    this.fingers.delete(event.pointerId);
    if (event.type !== "pointerup" || !this.still) return;
    this.still = false;
    const reach = 8 / this.view.zoom, [w, h] = this.size;
    const x = (event.offsetX - w / 2) / this.view.zoom + this.view.x, y = (event.offsetY - h / 2) / this.view.zoom + this.view.y;
    const away = ([left, top, width, height]) => Math.hypot(left + width / 2 - x, top + height / 2 - y);
    const hit = this.how.cells.filter(({ box: [left, top, width, height] }) => x > left - reach && x < left + width + reach && y > top - reach && y < top + height + reach)
      .sort((a, b) => away(a.box) - away(b.box))[0];
    if (hit) { this.current = hit; this.how.pick(hit); this.later(); }
  }

  later() {
    this.box.dataset.state = "loading";  // what it says of its place is older than what was asked for
    this.asked ||= requestAnimationFrame(() => { this.asked = 0; this.paint(); });
  }

  /** A tile that is there; else it is asked for, a few at a time. */
  tile(z, x, y, wanted) {
    const name = `${z}/${x}/${y}`, found = this.tiles.get(name);
    if (found) { this.tiles.delete(name); this.tiles.set(name, found); return found.state === "there" ? found.image : found.state === "broken" ? "broken" : null; }
    wanted.push([name, z, x, y]);
    return null;
  }

  load(wanted) {
    for (const [name, z, x, y] of wanted) {
      if (this.loading >= AT_ONCE) return;
      this.loading += 1;
      const made = { image: new Image(), state: "coming" };
      const ended = (state) => { this.loading -= 1; made.state = state; this.later(); };
      made.image.onload = () => ended("there");
      made.image.onerror = () => { ended("broken"); setTimeout(() => { this.tiles.delete(name); if (!this.closed && made.state === "broken") this.later(); }, 15_000); };
      made.image.src = this.how.tile(z, x, y);
      this.tiles.set(name, made);
    }
    for (const [name, { state }] of this.tiles) {  // the longest unused go
      if (this.tiles.size <= MOST_TILES) break;
      if (state === "there") this.tiles.delete(name);
    }
  }

  paint() {
    const [w, h] = this.size, dense = window.devicePixelRatio || 1;
    if (!w || !h || this.closed) return;
    if (this.pending) { const cell = this.pending; this.pending = null; this.show(cell); }
    if (!this.view) this.view = fitted(this.map, w, h);
    const pen = sized(this.canvas, w, h, dense);
    pen.fillStyle = "#e9e7e4";
    pen.fillRect(0, 0, w, h);
    const wanted = [], left = this.drawTiles(pen, w, h, dense, wanted);
    const [a, b] = this.at(0, 0), [c, d] = this.at(this.map.width, this.map.height);
    this.over.hidden = a > -2 && b > -2 && c < w + 2 && d < h + 2;  // where all is in sight there is nothing to lead to
    if (this.over.hidden) { pen.save(); pen.translate(a, b); this.drawZones(pen, this.view.zoom); pen.restore(); }
    else this.drawOverview(dense, wanted);
    this.drawCells(pen, w, h);
    this.drawBar(pen, h);
    this.load(wanted);
    const { x, y, zoom } = this.view;
    Object.assign(this.box.dataset, { state: left ? "loading" : "ready", x: Math.round(x), y: Math.round(y), zoom: zoom.toFixed(4) });
  }

  /** How many tiles in sight are still to come. */
  drawTiles(pen, w, h, dense, wanted) {
    const { map, view } = this, z = zoomOfTiles(map.zooms, view.zoom * dense), side = map.tile * 2 ** (map.zooms - 1 - z);
    const from = (middle, half) => Math.max(0, Math.floor((middle - half / view.zoom) / side)), to = (middle, half, end) => Math.min(Math.ceil(end / side) - 1, Math.floor((middle + half / view.zoom) / side));
    let left = 0;
    const places = [];
    for (let y = from(view.y, h / 2); y <= to(view.y, h / 2, map.height); y += 1) for (let x = from(view.x, w / 2); x <= to(view.x, w / 2, map.width); x += 1) places.push([x, y]);
    places.sort((a, b) => Math.hypot((a[0] + 0.5) * side - view.x, (a[1] + 0.5) * side - view.y) - Math.hypot((b[0] + 0.5) * side - view.x, (b[1] + 0.5) * side - view.y));
    pen.imageSmoothingEnabled = view.zoom * dense < 3;
    for (const [x, y] of places) {
      const [a, b] = this.at(x * side, y * side), [c, d] = this.at(Math.min(map.width, (x + 1) * side), Math.min(map.height, (y + 1) * side));
      const image = this.tile(z, x, y, wanted);
      if (image && image !== "broken") { pen.drawImage(image, a, b, c - a, d - b); continue; }
      if (!image) left += 1;
      this.drawCoarser(pen, z, x, y, [a, b, c - a, d - b]);
      if (image === "broken") crossed(pen, a, b, c - a, d - b);
    }
    return left;
  }

  /** Until a tile is there, the part of a coarser one that is. */
  drawCoarser(pen, z, x, y, [a, b, width, height]) {
    for (let up = 1; z - up >= 0; up += 1) {
      const found = this.tiles.get(`${z - up}/${x >> up}/${y >> up}`);
      if (found?.state !== "there") continue;
      const part = this.map.tile / 2 ** up, across = x - ((x >> up) << up), down = y - ((y >> up) << up);
      const sw = Math.min(part, found.image.width - across * part), sh = Math.min(part, found.image.height - down * part);
      if (sw > 0 && sh > 0) pen.drawImage(found.image, across * part, down * part, sw, sh, a, b, width, height);
      return;
    }
  }

  drawCells(pen, w, h) {
    const { zoom } = this.view;
    for (const cell of this.how.cells) {
      const [x, y, width, height] = cell.box, [a, b] = this.at(x, y), c = width * zoom, d = height * zoom;
      if (a + c < 0 || b + d < 0 || a > w || b > h) continue;
      const { colour, dash, read } = this.how.mark(cell), here = cell === this.current;
      if (Math.max(c, d) < 14) {  // too small for an outline: a dot, hollow where only suggested
        pen.beginPath();
        pen.arc(a + c / 2, b + d / 2, here ? 6 : 3.5, 0, 7);
        pen.lineWidth = here ? 3 : 1.8;
        pen.strokeStyle = here ? "#0b7285" : colour;
        if (read) { pen.fillStyle = colour; pen.fill(); }
        pen.stroke();
        continue;
      }
      for (const [line, ink, pattern] of [[here ? 7 : 4, "#fffc", []], [here ? 4 : 2.2, colour, dash]]) {
        pen.lineWidth = line;
        pen.strokeStyle = ink;
        pen.setLineDash(pattern);
        pen.strokeRect(a - 3, b - 3, c + 6, d + 6);
      }
      pen.setLineDash([]);
    }
  }

  drawBar(pen, h) {
    const { um_per_px: um } = this.map, { zoom } = this.view;
    const { length, words } = um ? barLength(um / zoom) : { length: 0, words: "scale not known" };
    pen.font = "600 13px system-ui, sans-serif";
    const wide = Math.max(length, pen.measureText(words).width);
    pen.fillStyle = "#fffd";
    pen.fillRect(8, h - 40, wide + 16, 32);
    pen.fillStyle = "#111";
    pen.fillText(words, 16, h - 24);
    if (length) pen.fillRect(16, h - 17, length, 4);
    this.box.dataset.bar = words;
  }

  /** What lies in the windows of a slide, over a picture of this scale. */
  drawZones(pen, scale) {
    for (const [x, y, width, height, zone] of this.map.windows) {
      if (zone === "empty") continue;
      pen.fillStyle = ZONES[zone || "unread"];
      pen.fillRect(x * scale, y * scale, width * scale, height * scale);
    }
  }

  drawOverview(dense, wanted) {
    const { map, over, view } = this, most = Math.min(180, 0.3 * this.size[0]), scale = Math.min(most / map.width, (0.78 * most) / map.height), w = Math.round(map.width * scale), h = Math.round(map.height * scale);
    Object.assign(over.style, { width: `${w}px`, height: `${h}px` });
    const pen = sized(over, w, h, dense), whole = this.tile(0, 0, 0, wanted);
    pen.fillStyle = "#ddd";
    pen.fillRect(0, 0, w, h);
    if (whole && whole !== "broken") pen.drawImage(whole, 0, 0, w, h);
    this.drawZones(pen, scale);
    for (const cell of this.how.cells) {
      pen.fillStyle = this.how.mark(cell).colour;
      pen.fillRect((cell.box[0] + cell.box[2] / 2) * scale - 1, (cell.box[1] + cell.box[3] / 2) * scale - 1, 2, 2);
    }
    const [wide, high] = this.size.map((side) => side / view.zoom);
    pen.strokeStyle = "#d00";
    pen.lineWidth = 2;
    pen.strokeRect((view.x - wide / 2) * scale, (view.y - high / 2) * scale, Math.max(4, wide * scale), Math.max(4, high * scale));
  }

  close() { this.closed = true; this.watch.disconnect(); cancelAnimationFrame(this.asked || 0); for (const { image } of this.tiles.values()) image.src = ""; this.tiles.clear(); }
}

function sized(canvas, w, h, dense) {
  const [across, down] = [Math.round(w * dense), Math.round(h * dense)];
  if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
  const pen = canvas.getContext("2d");
  pen.setTransform(dense, 0, 0, dense, 0, 0);
  return pen;
}

/** A part that cannot be shown. */
function crossed(pen, x, y, w, h) {
  Object.assign(pen, { strokeStyle: "#b3261e", lineWidth: 1.5, fillStyle: "#b3261e", font: "13px system-ui, sans-serif" });
  pen.strokeRect(x, y, w, h);
  pen.fillText("cannot be read", x + 8, y + 20);
}
