// The review of a case: one key labels and goes on. Everything that is done is in the outbox before it is shown.
import { get, post } from "./api.mjs";
import { choice, dialog, el, field, fill, form, told } from "./dom.mjs";
import { Grid } from "./grid.mjs";
import { Pictures } from "./pictures.mjs";
import { inLane, nextUnread, shareWords, stakesWords, tally } from "./orders.mjs";
import { Viewer } from "./viewer.mjs";

const ORDERS = [
  ["probability", "Most like a blast first"], ["change", "What a review may change"], ["place", "Place in the pictures"],
  ["gate", "Referred by the gate first"], ["disagreement", "Where I differ from the model"],
];

/** How cells are drawn in a field: by colour and by line, as not everybody tells colours apart. */
const INKS = { blast: "#b45309", normal: "#1d62b0", other: "#4a5264" };
const LINES = { blast: [9, 5], normal: [9, 5], refer: [2, 4] };

export class Review {
  constructor(app, id) {
    this.app = app;
    this.id = id;
    this.chosen = new Set();
    this.done = 0;  // acts of this window
    this.lane = "all";
    this.heat = true;
    this.started = performance.now();
    this.keyed = (event) => this.key(event);
    this.grid = new Grid({ draw: (cell) => this.tile(cell), refresh: (tile, cell, at) => this.refresh(tile, cell, at), pick: (at, event) => this.pick(at, event) });
  }

  async open() {
    const [{ labels, keys }, about, acts] = await Promise.all([
      get("/labels"), get(`/cases/${this.id}`), this.app.may("reader") ? get(`/cases/${this.id}/readings`) : { acts: [] },
    ]);
    this.labels = new Map(labels.map((label) => [label.name, label]));
    this.offered = labels.filter((label) => label.offered);
    this.byKey = new Map(this.offered.map((label) => [label.key, label.name]));
    this.keys = keys;
    this.about = about;
    try { await this.load("probability"); } catch (error) {
      if (error.status !== 403) throw error;  // read blind: the order would tell what the model says
      await this.load("place");
    }
    if (this.closed) return;  // nothing is left behind that listens
    this.remember(acts.acts);
    this.seq = acts.acts.at(-1)?.seq || 0;
    this.build();
    this.arrange();
    this.grid.go(Math.max(0, nextUnread(this.grid.items, -1)));
    this.detail();
    document.addEventListener("keydown", this.keyed);
    this.heard = () => this.summarise();
    this.app.outbox.listeners.add(this.heard);
    this.poll = setInterval(() => this.follow(), 5000);
    this.arrivals();
    this.summarise();
  }

  /** What can be undone: every standing reading, with what stood before it. */
  remember(acts) {
    const last = new Map();
    this.stack = [];
    this.earlier = new Map();
    for (const act of standing(acts)) {
      this.stack.push([act.event]);
      this.earlier.set(act.event, last.get(act.cell) || [null, null]);
      last.set(act.cell, [act.label, act.event]);
    }
  }

  close() {
    document.removeEventListener("keydown", this.keyed);
    this.app.outbox.listeners.delete(this.heard);
    clearInterval(this.poll);
    clearTimeout(this.soon);
    clearTimeout(this.waits);
    this.closed = true;
    this.grid.close();
    this.placed?.close();
  }

  /** All cells in an order, which is the server's. */
  async fetched(order) {
    const cells = [];
    let after = "";
    do {
      const page = await get(`/cases/${this.id}/cells?limit=2000&sort=${order}${after ? `&after=${encodeURIComponent(after)}` : ""}`);
      cells.push(...page.cells);
      this.blind = page.blind;
      after = page.next;
    } while (after);
    return cells;
  }

  /** While pictures wait for their answers, their cells are shown as they come. */
  arrivals() {
    if (!this.about.waiting) return;
    this.waits = setTimeout(async () => {
      try {
        this.about = await get(`/cases/${this.id}`, { quiet: true });
        if (this.about.cells > this.cells.length) {
          const first = this.grid.current <= 0;  // whoever has not moved stays at the beginning
          await this.sort(this.order);
          if (this.closed) return;
          if (first) this.grid.go(0);
          this.detail();
          this.summarise();
        }
      } catch { /* asked again */ }
      if (!this.closed) this.arrivals();
    }, 1000);
  }

  /** Show the cells in an order, by what was read until now. What this window knows better, it keeps. */
  async sort(order) {
    const asked = this.asked = Symbol(order);
    await this.app.outbox.flush();
    const cells = await this.fetched(order);
    if (this.closed || this.asked !== asked) return;  // another order was chosen meanwhile
    const more = cells.length > this.cells.length;
    this.order = order;
    this.cells = cells.map((cell) => Object.assign(this.byId.get(cell.id) || cell, { turns: cell.turns }));
    this.byId = new Map(this.cells.map((cell) => [cell.id, cell]));
    if (more) await this.known(true);
    if (!this.closed) this.arrange();
  }

  /** Another order, chosen by a person; without the server the cells stay as they are. */
  async reorder(order) {
    this.wanted = order;
    try { await this.sort(order); } catch (error) { this.say(told(error)); }
    if (this.wanted === order) this.sorter.value = this.order;  // else another one was chosen meanwhile
  }

  async load(order) {
    const cells = await this.fetched(order);
    this.order = order;
    this.cells = cells;
    this.byId = new Map(cells.map((cell) => [cell.id, cell]));
    await this.known();
    for (const act of await this.app.outbox.waiting()) {  // what is not stored yet is shown all the same
      const cell = act.case === this.id && this.byId.get(act.cell);
      if (cell && act.kind === "read") Object.assign(cell, { label: act.label, reading: act.event });
    }
  }

  /** The pictures of the case, where cells lie in them. */
  async known(again = false) {
    if (this.pictures && !again) return;
    this.pictures = new Map();
    if (!this.cells.some((cell) => cell.box)) return;
    for (const each of (await get(`/cases/${this.id}/pictures`)).pictures) this.pictures.set(each.sha256, each);
  }

  within(picture) { return this.cells.filter((cell) => cell.picture === picture && cell.box); }

  build() {
    const reading = this.app.may("reader") && this.about.state === "open" && !this.about.read_by.includes(this.app.person.id);
    this.reading = reading;
    this.bar = el("div", { class: "lanes", role: "toolbar", "aria-label": "labels" });
    this.count = el("div", { class: "count" });
    this.spoken = el("p", { class: "unseen", role: "status" });  // what a screen reader is told of each key
    this.field = el("section", { class: "place", "aria-label": "the field", hidden: true });
    this.pane = el("section", { class: "pane", "aria-label": "the current cell" });
    this.sorter = /** @type {HTMLSelectElement} */ (el("select", { "aria-label": "order", onchange: () => { this.reorder(this.sorter.value); this.grid.box.focus(); } },
      ORDERS.filter(([name]) => !this.blind || name === "place").map(([value, words]) => el("option", { value, selected: value === this.order }, words))));
    this.filter = /** @type {HTMLSelectElement} */ (el("select", { "aria-label": "which cells", onchange: () => { this.lane = this.filter.value; this.arrange(); this.grid.box.focus(); } },
      [["all", "All cells"], ["unread", "Not read"], ...this.shownLabels().map((label) => [label.name, label.words])].map(([value, words]) => el("option", { value }, words))));
    const tools = el("div", { class: "tools" },
      el("h1", {}, `Case ${this.about.order_no}`),
      el("span", { class: `state ${this.about.state}` }, this.about.state),
      this.blind ? el("span", { class: "state blind", title: "suggestions are hidden until you have finished" }, "blind") : null,
      this.sorter, this.filter,
      this.pictures.size ? el("button", { type: "button", onclick: () => this.look(), title: "whole fields and slides" }, "Fields") : null,
      el("button", { type: "button", onclick: () => this.undo(), title: "undo (u)", disabled: !reading }, "Undo"),
      el("button", { type: "button", onclick: () => this.help(), title: "keys (?)" }, "Keys"),
      this.about.state === "open" && (this.app.may("reader") || this.app.may("manager")) ? el("button", { type: "button", onclick: () => this.addPictures() }, "Add pictures") : null,
      reading && !this.about.blind ? el("button", { type: "button", onclick: () => this.fromApp(), title: "labels that were given in the app in the pocket, or in a gallery" }, "From the app") : null,
      reading ? el("button", { type: "button", class: "main", onclick: () => this.finish() }, "I have finished") : null,
      this.about.state === "complete" && this.about.readers > 1 ? el("a", { class: "button", href: `#/differing/${this.id}` }, "Where readers differ") : null,
      this.about.state === "complete" && this.app.may("signer") ? el("button", { type: "button", class: "main", onclick: () => this.sign() }, "Sign") : null,
      this.about.state === "signed" && this.app.may("signer") ? el("button", { type: "button", onclick: () => this.amend() }, "Amend") : null,
      this.about.state === "signed" && this.app.may("manager") ? el("button", { type: "button", "aria-pressed": String(this.about.fixed_set), title: "new models are measured on the fixed set", onclick: async () => { await post(`/cases/${this.id}/fixed-set`, { fixed_set: !this.about.fixed_set }); this.app.reload(); } }, this.about.fixed_set ? "In the fixed set" : "Into the fixed set") : null,
      !this.blind ? el("a", { class: "button", href: `./api/v1/cases/${this.id}/report.pdf`, target: "_blank", rel: "noopener" }, "Report (PDF)") : null,
      !this.blind ? el("a", { class: "button", href: `./api/v1/cases/${this.id}/report.html`, target: "_blank", rel: "noopener" }, "Report") : null);
    fill(this.app.main, el("div", { class: "review" }, tools, this.bar, this.count, this.work = el("div", { class: "work" }, this.grid.box, this.field, this.pane), this.spoken));
    this.lanes();
    this.grid.box.focus({ preventScroll: true });
  }

  async addPictures() {
    const pictures = new Pictures();
    const { box, done } = dialog("Add pictures to this case", form([pictures.area], "Send the pictures", async () => {
      if (!pictures.chosen().length) throw new Error("choose pictures or a folder first");
      if (!await pictures.send(this.id)) box.close();  // else each is listed with its reason
    }), pictures.said);
    await done;
    this.app.reload();
  }

  /** Take the labels of a session of the app in the pocket, or of a review of a gallery, by the digests of its pictures. */
  fromApp() {
    const file = /** @type {HTMLInputElement} */ (el("input", { type: "file", accept: ".json,application/json", "aria-label": "session of the app, or review of a gallery" }));
    const { box } = dialog("Labels from the app in the pocket, or from a gallery", form([el("label", { class: "field" }, "The file that the app or a gallery exported", file)], "Take the labels", async () => {
      let session;
      try { session = JSON.parse(await file.files[0].text()); } catch { throw new Error("this file is no session of the app and no review"); }
      const { format, format_version, cells = [] } = session ?? {};
      const { taken, left } = format === "leukoscope-review" ? await post(`/cases/${this.id}/reviews`, session) : await post(`/cases/${this.id}/app-sessions`, { format, format_version, cells: cells.map(({ sha256, place, label, answered }) => ({ sha256, place, label, answered })) });
      box.close();
      this.app.say(`${taken} labels taken${left.length ? `; of ${left.length} pictures some were left: they are not in this case, or it is not certain which cell is meant` : ""}`);
      this.app.reload();
    }));
  }

  /** The lanes that are offered, and what cells of this case were called that is no lane any more. */
  shownLabels() {
    const { counts } = tally(this.cells, this.labels);
    return [...this.labels.values()].filter((label) => label.offered || counts.has(label.name));
  }

  lanes() {
    const { counts } = tally(this.cells, this.labels);
    fill(this.bar, this.shownLabels().map((label) => {
      const lane = el("button", {
        type: "button", class: `lane ${label.blast ? "blast" : ""}`, data: { label: label.name }, disabled: !this.reading || !label.offered,
        title: label.offered ? `${label.words} (${label.key})` : `${label.words}: no lane any more`, "aria-keyshortcuts": label.key || null, onclick: () => { this.mark(label.name); this.grid.box.focus({ preventScroll: true }); },
        ondragover: (event) => { event.preventDefault(); lane.classList.add("over"); },
        ondragleave: () => lane.classList.remove("over"),
        ondrop: (event) => { event.preventDefault(); lane.classList.remove("over"); this.drop(event, label.name); },
      }, label.key ? el("kbd", { "aria-hidden": "true" }, label.key) : null, el("span", {}, label.words), el("b", {}, String(counts.get(label.name) || 0)));
      return lane;
    }));
  }

  arrange() {
    const here = this.grid.items[this.grid.current]?.id;
    const items = inLane(this.cells, this.lane);
    if (this.placed) this.placed.how.cells = this.within(this.placed.picture);
    this.grid.show(items);
    this.grid.go(Math.max(0, items.findIndex((cell) => cell.id === here)));
    this.detail();
  }

  tile(cell) {
    return el("div", { class: "tile", role: "option", draggable: this.reading,
      ondragstart: (event) => {
        if (!this.chosen.has(cell.id)) this.chosen = new Set([cell.id]);
        event.dataTransfer.setData("text/plain", [...this.chosen].join(" "));
        event.dataTransfer.effectAllowed = "move";
        this.grid.paint();
      },
    }, el("img", { src: `./api/v1/cells/${cell.id}/small.jpg`, alt: "", draggable: false, loading: "eager", decoding: "async" }), el("span", { class: "tag" }));
  }

  refresh(tile, cell, at) {
    const label = cell.label && this.labels.get(cell.label);
    const suggestion = this.blind ? "" : cell.decision;
    const state = `${at === this.grid.current}|${this.chosen.has(cell.id)}|${cell.label}|${suggestion}`;
    if (tile.dataset.state === state) return;
    tile.dataset.state = state;
    tile.className = `tile ${at === this.grid.current ? "current" : ""} ${this.chosen.has(cell.id) ? "chosen" : ""} ` +
      `${label ? `read ${label.blast ? "is-blast" : label.counts ? "is-normal" : "is-other"}` : "unread"} ${suggestion ? `suggests-${suggestion}` : ""}`;
    tile.setAttribute("aria-selected", String(this.chosen.has(cell.id)));
    tile.lastElementChild.textContent = label ? label.words : "";
    tile.setAttribute("aria-label", `cell ${at + 1}, ${label ? `read as ${label.words}` : "not read"}${suggestion ? `, the model suggests ${suggestion}` : ""}`);
  }

  pick(at, event) {
    const id = this.grid.items[at].id;
    if (event.ctrlKey || event.metaKey) this.toggle(id);
    else if (event.shiftKey) {
      const [from, to] = [this.grid.current, at].sort((a, b) => a - b);
      for (const cell of this.grid.items.slice(from, to + 1)) this.chosen.add(cell.id);
    } else this.chosen.clear();
    this.grid.go(at);
    this.detail();
  }

  toggle(id) {
    if (!this.chosen.delete(id)) this.chosen.add(id);
    this.grid.paint();
  }

  drop(event, label) {
    const ids = event.dataTransfer.getData("text/plain").split(" ").filter((id) => this.byId.has(id));
    this.chosen = new Set(ids);
    if (ids.length) this.mark(label);
  }

  /** Label the chosen cells, or the current one, and go on. */
  async mark(label) {
    if (!this.reading) return;
    const here = this.grid.items[this.grid.current];
    const cells = this.chosen.size ? [...this.chosen].map((id) => this.byId.get(id)) : here ? [here] : [];
    if (!cells.length) return;
    const ms = Math.min(86_400_000, Math.round(performance.now() - this.started));
    this.started = performance.now();
    const acts = cells.map((cell) => ({ kind: "read", case: this.id, event: crypto.randomUUID(), cell: cell.id, label, ms }));
    for (const [at, cell] of cells.entries()) Object.assign(cell, { before: [...(cell.before || []), [cell.label, cell.reading]], label, reading: acts[at].event });
    this.stack.push(acts.map((act) => act.event));
    const many = this.chosen.size > 0;
    this.chosen.clear();
    if (!many) this.grid.go(this.grid.current + 1);
    else {
      const next = nextUnread(this.grid.items, this.grid.current);
      this.grid.go(next < 0 ? this.grid.current : next);
    }
    this.changed();
    this.speak(`${cells.length > 1 ? `${cells.length} cells` : "read as"} ${this.labels.get(label).words}`);
    await this.keep(acts);
  }

  /** Put acts into the outbox; a browser that cannot keep them says so. */
  async keep(acts) {
    this.done += 1;
    try { await this.app.outbox.add(acts); } catch (error) { this.say(`this browser cannot keep what you did (${error.name}): it is not stored`); }
  }

  /** Say what a key did and what the next cell is, for those who do not see it. */
  speak(words) {
    const next = this.grid.items[this.grid.current];
    const called = next?.label ? `read as ${this.labels.get(next.label).words}` : "not read";
    const suggestion = this.blind || !next ? "" : `, the model suggests ${next.decision}`;
    this.spoken.textContent = `${words}. ${next ? `Cell ${this.grid.current + 1} of ${this.grid.items.length}, ${called}${suggestion}.` : ""}`;
  }

  /** Take the last reading back, again and again. */
  async undo() {
    if (!this.reading) return;
    const events = this.stack.pop();
    if (!events) { this.say("there is nothing left to undo"); return; }
    const acts = [];
    for (const event of events) {
      const cell = this.cells.find((each) => each.reading === event);
      if (cell) {
        const [label, reading] = cell.before?.pop() || this.earlier?.get(event) || [null, null];
        Object.assign(cell, { label, reading });
        this.grid.go(Math.max(0, this.grid.items.indexOf(cell)));
      }
      acts.push({ kind: "withdraw", case: this.id, event, cell: cell?.id });
    }
    this.changed();
    this.speak("taken back");
    await this.keep(acts);
  }

  changed() {
    this.grid.paint();
    this.placed?.later();
    this.lanes();
    this.detail();
    this.counted();
  }

  counted() {
    const { read, white, blasts } = tally(this.cells, this.labels);
    const left = this.cells.length - read;
    fill(this.count,
      el("span", {}, `${read} of ${this.cells.length} read${left ? `, ${left} left` : ""}`),
      el("span", { class: white >= this.about.target ? "reached" : "" }, `${white} of ${this.about.target} white cells counted`),
      el("span", {}, `${blasts} blasts`),
      this.summary?.share ? el("span", { class: "share" }, `${this.summary.blind || left === 0 ? "" : "with the model's for those not read: "}${shareWords(this.summary.share)}`) : null,
      this.summary?.before?.statement ? el("span", { class: "statement", title: this.summary.before.words }, `model: ${this.summary.before.statement}`) : null,
      this.summary?.as_read && read ? el("span", { class: "stakes" }, stakesWords(this.summary.as_read, left)) : null,
      this.summary?.agreement ? el("span", {}, `two readers: kappa ${this.summary.agreement.kappa === null ? "not defined" : this.summary.agreement.kappa.toFixed(2)}, ${this.summary.agreement.differ} to decide`) : null);
    if (read && left === 0 && this.reading && !this.toldDone) { this.toldDone = true; this.say("all cells are read: finish when you are sure"); }
  }

  summarise() {
    clearTimeout(this.soon);
    this.counted();
    this.soon = setTimeout(async () => {
      try { this.summary = await get(`/cases/${this.id}/summary`, { quiet: true }); this.counted(); } catch { /* the next one will do */ }
    }, 400);
  }

  /** What another window of the same reader did. */
  async follow() {
    if (!this.reading || (await this.app.outbox.waiting()).length) return;
    const { done } = this, order = this.order;
    let acts, cells, all;
    try {
      ({ acts } = await get(`/cases/${this.id}/readings?after=${this.seq}`, { quiet: true }));
      if (!acts.length) return;
      const known = new Set(this.stack.flat());
      const own = acts.every((act) => known.has(act.event) || act.withdrawn) && !acts.some((act) => act.withdrawn && this.cells.some((cell) => cell.reading === act.withdrawn));
      if (!own) [cells, all] = await Promise.all([this.fetched(order), get(`/cases/${this.id}/readings`, { quiet: true })]);
    } catch { return; }
    if (this.closed || done !== this.done || order !== this.order) return;  // what was answered is older than what was done here: the next time
    this.seq = acts.at(-1).seq;
    if (!cells) return;
    this.cells = cells;
    this.byId = new Map(cells.map((cell) => [cell.id, cell]));
    this.remember(all.acts);
    this.arrange();
    this.lanes();
    this.summarise();
  }

  detail() {
    const cell = this.grid.items[this.grid.current];
    if (!cell) { fill(this.pane, el("p", {}, this.about.waiting ? `${this.about.waiting} pictures wait for their answers; their cells are shown as they come.`
      : this.cells.length ? "There is no cell to show." : "No cell was found in the pictures of this case yet; the button Add pictures takes more.")); return; }
    if (this.shown === cell.id) { this.suggestion(cell); return; }
    this.shown = cell.id;
    const own = `./api/v1/cells/${cell.id}`;
    this.said = el("p", { class: "suggestion" });
    this.words = el("p", { class: "words" });
    this.more = el("div", { class: "more" });
    const asked = this.blind || cell.asked, heated = !this.blind && cell.asked;
    const small = () => el("img", { src: `${own}/small.jpg`, alt: "the cell" });
    const seen = () => [
      el("div", { class: "layers" }, asked ? el("img", { src: `${own}/frame.jpg`, alt: "the cell", onerror: (event) => { event.target.onerror = null; event.target.src = `${own}/small.jpg`; } }) : small()),
      heated ? el("div", { class: `layers ${this.heat ? "" : "off"}` }, el("img", { src: `${own}/frame.jpg`, alt: "" }),
        el("img", { src: `${own}/heat.png`, alt: "heat map: orange speaks for blast, blue for normal", class: "heat" })) : null];
    const late = this.pictures.get(cell.picture)?.kind === "slide";  // what the network saw of it is drawn anew: for whoever stays
    const drawn = fill(el("div", { class: "pictures" }), late ? el("div", { class: "layers" }, small()) : seen());
    fill(this.pane, drawn, this.said,
      el("div", { class: "row" },
        el("button", { type: "button", onclick: () => this.place(cell), title: "place (p)" }, "Place"),
        this.blind ? null : el("button", { type: "button", onclick: () => this.neighbours(cell), title: "neighbours (o)" }, "Neighbours"),
        !heated ? null : el("button", { type: "button", onclick: () => this.toggleHeat(), title: "heat map (h)", "aria-pressed": String(this.heat) }, "Heat map")), this.more, this.words);
    this.suggestion(cell);
    clearTimeout(this.wordsSoon);
    this.wordsSoon = setTimeout(async () => {
      try {
        const [found, { words }] = await Promise.all([get(`/cells/${cell.id}`, { quiet: true }), asked && !this.blind ? get(`/cells/${cell.id}/words`, { quiet: true }).catch(() => ({ words: null })) : { words: null }]);
        if (this.shown !== cell.id) return;
        if (late && asked) fill(drawn, seen());
        const others = (found.others || []).map((other) => `another reader: ${this.labels.get(other.label).words}`);
        fill(this.words, [words, found.reason ? `Referred: ${found.reason}.` : "", ...(found.warnings || []), ...others, `Picture ${found.name}, cell ${found.number}.`].filter(Boolean).join(" "));
      } catch { /* shown without words */ }
    }, late ? 700 : 150);
    if (!this.placed) return;
    if (!cell.box) this.leave();
    else if (cell.picture === this.placed.picture) this.placed.show(cell);
    else this.look(cell.picture, cell);
  }

  suggestion(cell) {
    const label = cell.label && this.labels.get(cell.label);
    const mine = label ? `You: ${label.words}. ` : "Not read. ";
    const turn = cell.turns && !label ? ` Called otherwise, it alone would turn the patient's statement to "${cell.turns}".` : "";
    const model = this.blind ? "" : cell.probability === null || cell.gate === "turned down" ? `Model: no answer (${cell.reason || "referred by the gate"}).`
      : `Model suggests ${cell.decision}, probability of blast ${cell.probability.toFixed(3)}.`;
    fill(this.said, el("strong", {}, mine), model, turn);
  }

  toggleHeat() {
    this.heat = !this.heat;
    this.shown = null;
    this.detail();
  }

  /** Show a cell at its place in the field, in the stead of the grid; the same key leads back. */
  place(cell) {
    if (this.placed) this.leave();
    else if (!cell.box) fill(this.more, el("p", {}, "The picture shows this one cell."));
    else this.look(cell.picture, cell);
  }

  /** Look at a field or a slide; without a name at that of the current cell, or else at the first. */
  async look(picture, cell) {
    const here = this.grid.items[this.grid.current];
    if (!picture) [picture, cell] = here?.box ? [here.picture, here] : [this.cells.find((each) => each.box).picture, null];
    const asked = this.looked = Symbol(picture);
    let map;
    try { map = await get(`/cases/${this.id}/pictures/${picture}/map`); } catch (error) { this.say(told(error)); return; }
    if (this.closed || this.looked !== asked) return;
    this.placed?.close();
    const about = this.pictures.get(picture), cells = this.within(picture);
    const viewer = new Viewer({
      map, cells, words: `${about.kind === "slide" ? "the slide" : "the field"} ${about.name} with ${cells.length} cells`,
      tile: (z, x, y) => `./api/v1/cases/${this.id}/pictures/${picture}/tiles/${z}/${x}/${y}`,
      mark: (each) => this.ink(each), pick: (each) => this.choose(each),
    });
    this.placed = Object.assign(viewer, { picture });
    viewer.box.dataset.picture = picture;
    const fields = [...this.pictures.values()].filter((each) => each.kind !== "cell" && each.kind !== "none" && !each.erased_at);
    const chooser = fields.length < 2 ? el("span", {}, about.name) : el("select", { "aria-label": "which field", onchange: (event) => this.look(event.target.value, null) },
      fields.map((each) => el("option", { value: each.sha256, selected: each.sha256 === picture }, each.name)));
    const button = (words, name, title) => el("button", { type: "button", title, "aria-label": title, onclick: () => { viewer.key(name); viewer.canvas.focus({ preventScroll: true }); } }, words);
    const kinds = this.blind ? [] : [["blast", "suggested: blast"], ["normal", "suggested: normal"], ["refer", "referred"]];
    fill(this.field, el("div", { class: "tools" }, el("button", { type: "button", onclick: () => this.leave(), title: "back to the cells (p, Escape)" }, "Back to the cells"), chooser,
      button("+", "+", "zoom in (+)"), button("−", "-", "zoom out (-)"), button("Whole", "Home", "the whole field (Home)")),
    viewer.box,
    el("p", { class: "legend" }, kinds.map(([kind, words]) => el("span", { class: `line ${kind}` }, words)), el("span", { class: "line read" }, "read: a full line"),
      map.windows.length ? [el("span", { class: "line layer" }, "read by the model: a single layer"), el("span", { class: "line thick" }, "too thick")] : null));
    this.field.hidden = false;
    this.grid.box.hidden = true;
    this.work.classList.add("placed");
    if (cell) viewer.show(cell);
    viewer.canvas.focus({ preventScroll: true });
    this.field.scrollIntoView({ block: "nearest" });
  }

  /** Back from the field to the grid, at the cell that was looked at last. */
  leave() {
    this.placed?.close();
    this.placed = this.looked = null;
    this.field.hidden = true;
    this.grid.box.hidden = false;
    this.work.classList.remove("placed");
    fill(this.field);
    this.grid.go(this.grid.current);
    this.grid.box.focus({ preventScroll: true });
  }

  /** How a cell is drawn in a field: what it was called, or else what the model suggests. */
  ink(cell) {
    const label = cell.label && this.labels.get(cell.label);
    if (label) return { colour: label.blast ? INKS.blast : label.counts ? INKS.normal : INKS.other, dash: [], read: true };
    if (this.blind) return { colour: INKS.other, dash: [], read: false };
    return { colour: INKS[cell.decision] || INKS.other, dash: LINES[cell.decision] || LINES.refer, read: false };
  }

  /** Make a cell the current one that was chosen in a field. */
  choose(cell) {
    if (!this.grid.items.includes(cell)) { this.lane = this.filter.value = "all"; this.arrange(); }
    this.grid.go(this.grid.items.indexOf(cell));
    this.detail();
  }

  async neighbours(cell) {
    const { more } = this;
    const { neighbours } = await get(`/cells/${cell.id}/neighbours`);
    if (more !== this.more) return;  // another cell is shown by now
    const words = (each) => [el("img", { src: `./api/v1/cells/${each.id}/small.jpg`, alt: "" }), el("span", {}, each.label ? this.labels.get(each.label).words : "not read"),
      el("small", {}, `alike ${each.alike.toFixed(2)}${each.here ? "" : ", another case"}`)];
    fill(this.more, el("div", { class: "neighbours" }, neighbours.length ? neighbours.map((each) => (each.here ? el("button", {
      type: "button", onclick: () => { const at = this.grid.items.findIndex((other) => other.id === each.id); if (at >= 0) { this.grid.go(at); this.detail(); } },
    }, words(each)) : el("div", { class: "elsewhere" }, words(each)))) : el("p", {}, "There are no others to compare with.")));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (/** @type {HTMLElement} */ (event.target).closest("input, select, textarea")) return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (name === "Enter" && /** @type {HTMLElement} */ (event.target).closest("button, a")) return;
    const { grid } = this;
    const here = grid.items[grid.current];
    if (this.placed?.key(event.key)) { event.preventDefault(); return; }
    const acts = {
      u: () => this.undo(), ArrowRight: () => this.step(1), ArrowLeft: () => this.step(-1), ArrowDown: () => this.step(grid.columns),
      ArrowUp: () => this.step(-grid.columns), j: () => { const at = nextUnread(grid.items, grid.current); if (at >= 0) this.step(at - grid.current); },
      x: () => here && this.toggle(here.id), a: () => { for (const cell of grid.inSight()) this.chosen.add(cell.id); grid.paint(); },
      Escape: () => { if (this.placed) { this.leave(); return; } this.chosen.clear(); fill(this.more); grid.paint(); }, Home: () => this.step(-grid.current),
      Enter: () => { if (!this.blind && here && ["blast", "normal"].includes(here.decision)) this.mark(here.decision); },
      h: () => this.toggleHeat(), p: () => (here || this.placed) && this.place(here), o: () => here && !this.blind && this.neighbours(here),
      s: () => { this.sorter.selectedIndex = (this.sorter.selectedIndex + 1) % this.sorter.options.length; this.reorder(this.sorter.value); },
      "+": () => grid.resize(grid.size + 16), "-": () => grid.resize(grid.size - 16), "?": () => this.help(),
    };
    const label = this.byKey.get(name);
    if (!label && !acts[name]) return;
    event.preventDefault();
    if (label) this.mark(label);
    else acts[name]();
  }

  step(by) {
    this.grid.go(this.grid.current + by);
    this.detail();
  }

  help() {
    const rows = [...this.offered.map((label) => [label.key, label.words]), ...Object.entries(this.keys)];
    dialog("Keys", el("dl", { class: "keys" }, rows.map(([key, words]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, words)]).flat()));
  }

  say(words) { this.app.say(words); }

  async finish() {
    await this.app.outbox.flush();
    if ((await this.app.outbox.waiting()).length) { this.say("some readings are not saved yet: they are sent as soon as the server is reached"); return; }
    try { await post(`/cases/${this.id}/complete`); } catch (error) { this.say(told(error)); return; }
    this.app.reload();
  }

  sign() {
    const { box } = dialog("Sign the case", el("p", {}, "Your password again, and what your signature means. What is signed cannot be changed any more, only amended with a reason."),
      form([field("Password", "password", { type: "password", autocomplete: "current-password" }),
        choice("Meaning", "meaning", [["review", "I reviewed the cells"], ["approval", "I approve the result"], ["responsibility", "I take responsibility"]], "approval")],
      "Sign", async (values) => { await post(`/cases/${this.id}/signatures`, values, { quiet: true }); box.close(); this.app.reload(); }));
  }

  amend() {
    const { box } = dialog("Amend the case", el("p", {}, "It is opened again as its next version; what was signed stays as it is."),
      form([field("Reason", "reason", {})], "Amend", async (values) => { await post(`/cases/${this.id}/amendments`, values); box.close(); this.app.reload(); }));
  }
}

/** Readings that were not taken back, in their order. */
export function standing(acts) {
  const gone = new Set(acts.filter((act) => act.withdrawn).map((act) => act.withdrawn));
  return acts.filter((act) => act.event && !gone.has(act.event));
}
