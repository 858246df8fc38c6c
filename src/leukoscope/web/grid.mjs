// A grid that draws only what is in sight: ten thousand cells cost as much as sixty.
import { el } from "./dom.mjs";
import { rowsInSight } from "./orders.mjs";

export class Grid {
  /**
   * @param {{draw: (item: any) => HTMLElement, refresh: (tile: HTMLElement, item: any, at: number) => void,
   *          pick: (at: number, event: MouseEvent) => void}} how
   */
  constructor(how) {
    this.how = how;
    this.items = [];
    this.current = -1;
    this.size = 104;
    /** @type {Map<string, HTMLElement>} */
    this.tiles = new Map();
    this.space = el("div", { class: "space" });
    this.box = el("div", { class: "grid", tabindex: 0, role: "listbox", "aria-label": "cells", "aria-multiselectable": "true" }, this.space);
    this.box.addEventListener("scroll", () => this.later(), { passive: true });
    this.space.addEventListener("click", (event) => {
      const tile = /** @type {HTMLElement} */ (event.target).closest("[data-at]");
      if (tile) this.how.pick(Number(/** @type {HTMLElement} */ (tile).dataset.at), /** @type {MouseEvent} */ (event));
    });
    this.watch = new ResizeObserver(() => this.later());
    this.watch.observe(this.box);
  }

  get columns() { return Math.max(1, Math.floor(this.box.clientWidth / this.size)); }

  show(items) {
    this.items = items;
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
    this.paint();
  }

  later() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => { this.asked = 0; this.paint(); });
  }

  /** Draw what is in sight; take away what is not. */
  paint() {
    const { columns, size, items } = this;
    const { first, last, rows } = rowsInSight(this.box.scrollTop, this.box.clientHeight, size, items.length, columns);
    const height = `${rows * size}px`;
    if (this.space.style.height !== height) this.space.style.height = height;
    const wanted = new Set();
    for (let at = first * columns; at < Math.min(items.length, last * columns); at += 1) {
      const item = items[at];
      wanted.add(item.id);
      let tile = this.tiles.get(item.id);
      if (!tile) {
        tile = this.how.draw(item);
        tile.id = `cell-${item.id}`;
        this.tiles.set(item.id, tile);
        this.space.append(tile);
      }
      const where = `${at} ${columns} ${size} ${items.length}`;
      if (tile.dataset.where !== where) {  // what has not moved costs nothing
        tile.dataset.where = where;
        tile.dataset.at = String(at);
        tile.style.transform = `translate(${(at % columns) * size}px, ${Math.floor(at / columns) * size}px)`;
        tile.style.width = tile.style.height = `${size}px`;
        tile.setAttribute("aria-setsize", String(items.length));
        tile.setAttribute("aria-posinset", String(at + 1));
      }
      this.how.refresh(tile, item, at);
    }
    for (const [id, tile] of this.tiles) if (!wanted.has(id)) { tile.remove(); this.tiles.delete(id); }
    const here = items[this.current];
    if (here && this.tiles.has(here.id)) this.box.setAttribute("aria-activedescendant", `cell-${here.id}`);
    else this.box.removeAttribute("aria-activedescendant");
  }

  /** Items in sight, whole rows only. */
  inSight() {
    const { columns, size } = this;
    const first = Math.ceil(this.box.scrollTop / size - 0.3), last = Math.floor((this.box.scrollTop + this.box.clientHeight) / size + 0.3);
    return this.items.slice(first * columns, Math.max(first + 1, last) * columns);
  }

  /** Make an item the current one, and bring it into sight. */
  go(at) {
    if (!this.items.length) return;
    this.current = Math.max(0, Math.min(this.items.length - 1, at));
    const top = Math.floor(this.current / this.columns) * this.size;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + this.size > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top + this.size - this.box.clientHeight;
    this.paint();
  }

  resize(size) {
    this.size = Math.max(56, Math.min(240, size));
    this.paint();
    this.go(this.current);
  }

  close() { this.watch.disconnect(); cancelAnimationFrame(this.asked || 0); }
}
