// The page: takes pictures in, shows answers, keeps labels.

import { Camera } from "./camera.mjs";
import { inLanguage } from "./faults.mjs";
import { inWords } from "./gate.mjs";
import { compared, read } from "./labels.mjs";
import { exported, review, Session, share } from "./session.mjs";
import { SHORTEST } from "./vault.mjs";
import { GATE_ES, speak, spoken, t } from "./words.mjs";

const LABELS = { b: "blast", n: "normal", o: "other", u: null };
const BLAST = [255, 159, 0], NORMAL = [46, 150, 255], STRONGEST = 0.65; // of the command line's overlays
const THUMB = 64; // pixels

const $ = (id) => document.getElementById(id);
const session = new Session(), opening = session.open();
const waiting = new Map();
let site, bundle, current = null, heat = true, kept = false;
let field = null; // the field shown for taps: {file, width}

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function tell(text, bad = false) {
  $("state").textContent = text;
  $("state").className = bad ? "refused" : "";
}

const worker = new Worker("worker.mjs", { type: "module" });
worker.onerror = ({ message }) => refuse({ fault: { key: "no worker", places: { why: message || "module worker" } } });
worker.onmessage = ({ data }) => {
  if (data.kind === "ready") ready(data);
  else if (data.kind === "refused") refuse(data);
  else {
    waiting.get(data.id)?.(data);
    waiting.delete(data.id);
  }
};

/** Why something cannot be answered, in the language of the page; the record keeps English. */
const faultOf = ({ error, fault }) => (fault ? inLanguage(spoken(), fault.key, fault.places) : error);

function refuse(data) {
  refuse.last = data;
  tell(t("no answers", { why: faultOf(data) }), true);
  $("intake").hidden = true;
  document.documentElement.dataset.state = "refused";
}

async function ready(data) {
  ({ site, bundle } = data);
  kept = await opening;
  $("about").textContent = `${bundle.name} ${bundle.version} · app ${site.version} · build ${site.build.slice(0, 8)}`;
  if (session.locked) {
    $("locked").hidden = false;
    tell("");
    document.documentElement.dataset.state = "locked";
  } else begin();
}

function begin() {
  $("locked").hidden = true;
  $("intake").hidden = false;
  tell(t(bundle.gate ? "self-test" : "self-test ungated") + (kept ? "" : ` ${t("no storage")}`), !kept);
  document.documentElement.dataset.state = "ready";
  render();
  void takeShared();
}

// -- passphrase ------------------------------------------------------------------------------------------------------

$("locked").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = $("key").value;
  $("key").value = "";
  tell(t("working"));
  if (await session.unlock(given)) begin();
  else tell(t("wrong passphrase"), true);
});
$("forgotten").addEventListener("click", async () => {
  if (!confirm(t("sure forgotten"))) return;
  await session.clear();
  begin();
});

function guardShown(said = t(session.guarded ? "guard on" : "guard off"), bad = false) {
  $("guard").hidden = !kept || session.locked;
  for (const node of document.querySelectorAll(".guarded")) node.hidden = !session.guarded;
  $("guarded").textContent = said;
  $("guarded").className = bad ? "bad" : "";
}

/** Do what needs the passphrases that were typed, and say what came of it: the key of a sentence, null for "wrong". */
async function guarding(work) {
  const [old, next, again] = ["old", "new", "again"].map((id) => $(id).value);
  guardShown(t("working"));
  try {
    const said = await saved(work(old, next, again));
    guardShown(t(said ?? "wrong passphrase", { n: SHORTEST }), !/ (set|gone)$/.test(said ?? ""));
    if (said) for (const id of ["old", "new", "again"]) $(id).value = "";
  } catch (error) {
    guardShown(t("passphrase failed", { why: error.name }), true);
  }
}

$("guarding").addEventListener("submit", (event) => {
  event.preventDefault();
  void guarding(async (old, next, again) => {
    if ([...next].length < SHORTEST) return "passphrase short";
    if (next !== again) return "passphrase differs";
    if (session.guarded && !(await session.change(old, next))) return null;
    if (!session.guarded) await session.guard(next);
    return "passphrase set";
  });
});
$("unguard").addEventListener("click", () => void guarding(async (old) => ((await session.unguard(old)) ? "passphrase gone" : null)));
$("lock-now").addEventListener("click", () => location.reload()); // the key lives in this page alone

/** Pictures that another app of this device shared with this one; the service worker kept them. */
async function takeShared() {
  if (!("caches" in globalThis) || !(await caches.has("leukoscope-app-shared"))) return;
  const cache = await caches.open("leukoscope-app-shared"), files = [], requests = await cache.keys();
  for (const request of requests) {
    const blob = await (await cache.match(request)).blob();
    files.push(new File([blob], decodeURIComponent(request.url.split("/").pop())));
  }
  await take(files);
  for (const request of requests) await cache.delete(request); // not before: a page that is closed meanwhile loses none
}

// -- taking in -----------------------------------------------------------------------------------------------------

let line = Promise.resolve(), asked = 0, cleared = 0;
let chosen = 0; // how often the reader has chosen or labelled a cell

const isLabels = ({ name }) => /\.json$/i.test(name);

/** Take pictures in, after those that wait already. What fails is told, and the next goes on. */
function take(files, taps = null) {
  const list = [...files].filter((file) => !isLabels(file)), before = chosen, since = cleared; // the page's own list is emptied meanwhile
  for (const file of files) if (isLabels(file)) line = line.then(() => takeLabels(file));
  return line = line.then(() => takeAll(list, before, since, taps));
}

async function takeAll(list, before, since, taps) {
  if (document.documentElement.dataset.state !== "ready") return;
  let wrong = "";
  for (const [number, file] of list.entries()) {
    if (since !== cleared) return; // all was removed: what still waited goes with it
    if (list.length > 1) tell(t("picture of", { i: number + 1, n: list.length }));
    try {
      if (!(await takeOne(file, number ? null : before, taps)) && kept) wrong = t("full");
    } catch (error) {
      wrong = t("not taken", { name: file.name, why: error.message });
    }
    if (wrong) tell(wrong, true);
  }
  if (redraw) render();
  if (!wrong && list.length > 1) tell(t("taken", { n: list.length }));
}

/** Whether a note is being written: what comes meanwhile must not take its cell away. */
const writes = () => document.activeElement === $("note");

/**
 * One picture, or the cells of a field that the reader tapped.
 * @param {number | null} before what was chosen when these pictures were given: the first of them is shown at large, unless
 *   the reader has gone to another cell since, or writes
 * @returns {Promise<boolean>} whether all of it is stored
 */
async function takeOne(file, before, taps) {
  const id = ++asked, since = cleared;
  const reply = await new Promise((resolve) => {
    waiting.set(id, resolve);
    worker.postMessage({ id, file, taps });
  });
  const { sha256, width, height, format, error, fault } = reply, name = file.name || "pasted picture";
  if (since !== cleared) return true;
  if (reply.field && !taps) await showField(file, reply);
  if (taps) {
    tell(t(reply.answers?.length ? "taken" : "tap none", { n: 1 }));
    if (field?.file === file) outline(reply.answers ?? []);
  }
  let allStored = true;
  const found = reply.answers ?? [{ error, fault }];
  for (const { answer, error: why, fault: named, frame, map, place, tapped } of found) {
    const record = {
      id: session.nextId(), name: place ? `${name} · ${place.slice(0, 2).join(", ")}` : name, sha256, width, height, format, answer, error: why, fault: named ?? null,
      place, tapped, thumb: frame ? await reduced(frame) : null, label: null, note: "", answered: new Date().toISOString(), bundle: site.bundle_digest, build: site.build,
    };
    if (since !== cleared) return true;
    allStored = (await saved(session.add(record, frame ? { frame, map } : null))) && allStored;
    if (before === chosen && !writes()) current = record.id;
    before = null;
    renderSoon();
  }
  return allStored;
}

// -- fields ----------------------------------------------------------------------------------------------------------

async function showField(file, { answers, redCell, width, height }) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  field = { file, width };
  const canvas = $("seen"), scale = Math.min(1, 1200 / Math.max(width, height));
  Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", t("field of"));
  outline(answers ?? []);
  const ruler = redCell ? t("ruler seen", { px: redCell.toFixed(0) }) : t("ruler unseen");
  $("found").textContent = answers ? t("field found", { n: answers.length, ruler }) : t("field none");
  $("field").hidden = false;
}

function outline(answers) {
  const canvas = $("seen"), context = canvas.getContext("2d"), scale = canvas.width / field.width;
  for (const { outline: ring, answer } of answers) {
    context.fillStyle = { blast: "#ff9f00", normal: "#2e96ff" }[answer?.decision] ?? "#00d08a";
    for (let i = 0; i < ring.length; i += 2) context.fillRect(ring[i] * scale - 1, ring[i + 1] * scale - 1, 2, 2);
  }
}

$("seen").addEventListener("click", ({ offsetX, offsetY, target }) => {
  if (!field) return;
  // The canvas is fitted into its box, its ratio kept.
  const scale = Math.min(target.clientWidth / target.width, target.clientHeight / target.height);
  const x = (offsetX - (target.clientWidth - target.width * scale) / 2) / scale, y = (offsetY - (target.clientHeight - target.height * scale) / 2) / scale;
  const back = field.width / target.width;
  void take([field.file], [{ x: x * back, y: y * back }]);
});

// -- camera ----------------------------------------------------------------------------------------------------------

const camera = new Camera($("video"), ({ sharpness, light, hint }) => {
  $("hint").textContent = t(hint);
  $("hint").className = hint === "hint good" ? "refer" : "bad";
  $("hint").dataset.hint = hint;
  $("measured").textContent = t("sharpness", { v: (100 * sharpness).toFixed(1), l: light });
});

$("camera").addEventListener("click", async () => {
  if (camera.runs) camera.stop();
  else {
    $("hint").textContent = t("hint wait");
    try {
      await camera.start();
    } catch (error) {
      camera.stop();
      tell(t(error.name === "NotFoundError" ? "camera none" : "camera refused"), true);
    }
  }
  $("finder").hidden = !camera.runs;
  $("camera").dataset.t = camera.runs ? "camera stop" : "camera";
  $("camera").textContent = t($("camera").dataset.t);
});
$("shoot").addEventListener("click", async () => void take([await camera.shoot()]));

$("files").addEventListener("change", ({ target }) => {
  take(target.files);
  target.value = "";
});
addEventListener("paste", ({ clipboardData }) => take([...clipboardData.files]));
addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
addEventListener("dragleave", () => $("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  take(event.dataTransfer.files);
});

// -- showing -------------------------------------------------------------------------------------------------------

function render() {
  const { records } = session;
  $("work").hidden = !records.length;
  guardShown();
  const { blasts, judged, share: part, low, high } = share(records);
  const percent = (value) => `${(100 * value).toFixed(0)} %`;
  const labelled = records.filter(({ label }) => label).length;
  const told = part === null ? "" : t("share", { share: percent(part), low: percent(low), high: percent(high) });
  $("count").textContent = t("counts", { n: records.length, judged, blasts, share: told, labelled });
  if (!records.some(({ id }) => id === current)) current = records.at(-1)?.id ?? null;
  clearTimeout(redraw);
  redraw = 0;
  drawn = performance.now();
  while (tiles.length > records.length) {
    const tile = tiles.pop(), group = tile.parentElement;
    URL.revokeObjectURL(tile.firstChild.src);
    tile.remove();
    if (group.children.length) continue;
    near.unobserve(group);
    group.remove();
  }
  records.forEach((record, at) => dress(tiles[at] ?? tileOf(record), record));
  show(records.find(({ id }) => id === current) ?? null);
  showBack();
}

const decisionOf = ({ answer }) => answer?.decision ?? "unreadable";

/** While many cells come, the list is drawn twice a second. */
function renderSoon() {
  const wait = drawn + 500 - performance.now();
  if (wait <= 0) render();
  else redraw ||= setTimeout(render, wait);
}

// Tiles lie in groups: one more moves its own group alone, and only groups in sight are laid out and have pictures.
const GROUP = 25, tiles = [];
let drawn = -1000, redraw = 0; // when the list was drawn, and the timer that draws it

function tileOf(record) {
  const node = make("button", { type: "button", record }, make("img", { alt: "", width: THUMB, height: THUMB }), make("span"));
  node.setAttribute("role", "option");
  if (tiles.length % GROUP === 0) {
    const group = make("div", { className: "group" });
    group.setAttribute("role", "presentation");
    $("list").append(group);
    near.observe(group);
  }
  $("list").lastElementChild.append(node);
  tiles.push(node);
  pictured(node);
  return node;
}

const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.near = isIntersecting;
    for (const tile of target.children) pictured(tile);
  }
}, { rootMargin: "200px" });

function pictured({ record: { thumb }, firstChild: image, parentElement: { near: seen = false } }) {
  if (!(thumb instanceof Blob) || seen === Boolean(image.src)) return;
  if (seen) image.src = URL.createObjectURL(thumb);
  else {
    URL.revokeObjectURL(image.src);
    image.removeAttribute("src");
  }
}

$("list").addEventListener("click", ({ target }) => {
  const tile = target.closest(".tile");
  if (tile) choose(tile.record.id);
});

/** What a tile says; one that says it already is left alone: with each cell that comes all the others are asked. */
function dress(node, record) {
  const decision = decisionOf(record), label = record.label, chosen = String(record.id === current);
  const labelled = label ? t(`label ${label}`).replace(/ \(.*/, "") : "";
  const said = t(decision) + (label ? ` · ${labelled}` : ""), told = [decision, chosen, said, record.name].join();
  if (node.told === told) return;
  node.told = told;
  node.className = `tile ${decision}`;
  node.lastChild.textContent = said;
  node.setAttribute("aria-selected", chosen);
  node.setAttribute("aria-label", `${record.name}: ${t(decision)}${label ? `, ${labelled}` : ""}`);
}

// Drawn on again and again: canvases that are thrown away hold their memory until the browser looks for it.
const whole = make("canvas"), small = new OffscreenCanvas(THUMB, THUMB);
let sheet = null;

/** A frame as a small PNG. */
async function reduced(frame) {
  const context = small.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(picture({ frame }, false, whole), 0, 0, THUMB, THUMB);
  return small.convertToBlob({ type: "image/png" });
}

/** Go to a cell, as the reader asks for it. */
function choose(id) {
  current = id;
  chosen++;
  render();
}

function toggleHeat() {
  heat = !heat;
  draw();
}

/** The frame, with the signed heat map over it: orange for blast, blue for normal. */
function picture({ frame, map }, withHeat, canvas) {
  const size = Math.round(Math.sqrt(frame.length / 3)), context = canvas.getContext("2d", { willReadFrequently: true });
  if (canvas.width !== size || canvas.height !== size) Object.assign(canvas, { width: size, height: size });
  const image = sheet = sheet?.width === size ? sheet : context.createImageData(size, size);
  const top = withHeat && map ? map.values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) : 0;
  for (let y = 0, at = 0; y < size; y++)
    for (let x = 0; x < size; x++, at++) {
      const signed = top > 0 ? between(map, ((x + 0.5) * map.width) / size - 0.5, ((y + 0.5) * map.height) / size - 0.5) / top : 0;
      const alpha = STRONGEST * Math.abs(signed), colour = signed > 0 ? BLAST : NORMAL;
      for (let c = 0; c < 3; c++) image.data[4 * at + c] = frame[3 * at + c] + alpha * (colour[c] - frame[3 * at + c]);
      image.data[4 * at + 3] = 255;
    }
  context.putImageData(image, 0, 0);
  return canvas;
}

function between({ values, width, height }, x, y) {
  const near = (i, count) => Math.min(Math.max(i, 0), count - 1);
  const u = Math.floor(x), v = Math.floor(y), fx = x - u, fy = y - v;
  const at = (i, j) => values[near(j, height) * width + near(i, width)];
  return (1 - fy) * ((1 - fx) * at(u, v) + fx * at(u + 1, v)) + fy * ((1 - fx) * at(u, v + 1) + fx * at(u + 1, v + 1));
}

/** The reason of an answer in the language of the page; the record keeps the command line's words. */
function reasonOf(answer) {
  if (spoken() === "en" || !answer.reason) return answer.reason;
  if (answer.withheld) return t(answer.withheld);
  return answer.findings.length ? inWords(answer.findings, GATE_ES) : answer.reason;
}

// The cell at large. Its canvas, its keys and its note are made once: what is typed, and where the focus is, stays while the
// words around them change.
const large = { record: null, pixels: null, language: null };

/** Show a record: its words at once, its picture as soon as the storage gives it, and never another one's beside them. */
function show(record) {
  const other = record !== large.record;
  if (other) Object.assign(large, { record, pixels: null });
  if (!record) return;
  if (other || large.language !== spoken()) $("facts").replaceChildren(...facts(record)); // what has not changed is not read out again
  large.language = spoken();
  $("labels").setAttribute("aria-label", t("label"));
  for (const button of $("labels").children) button.setAttribute("aria-pressed", String((button.dataset.label ?? null) === record.label));
  if (other) {
    $("note").value = record.note ?? "";
    const box = $("list").getBoundingClientRect(), own = $("list").querySelector("[aria-selected=true]").getBoundingClientRect();
    $("list").scrollLeft += Math.max(0, own.right - box.right) || Math.min(0, own.left - box.left); // the page itself stays where it is
    if (record.thumb) void session.pixels(record.id).catch(() => null).then((pixels) => {
      if (record !== large.record) return;
      large.pixels = pixels;
      draw();
    });
  }
  draw();
}

function draw() {
  const canvas = $("view");
  if (large.pixels) picture(large.pixels, heat, canvas);
  else canvas.width = canvas.height = 1;
  canvas.setAttribute("aria-label", t(heat ? "heat shown" : "heat off"));
  $("heat").setAttribute("aria-pressed", String(heat));
}

function facts(record) {
  const { answer, name, format } = record, decision = decisionOf(record);
  const calibrated = bundle.decision.calibrated ? "" : t("uncalibrated");
  return [
    make("h1", { className: decision, textContent: t(decision) }),
    make("p", { className: "soft name", textContent: name }),
    record.bundle === site.bundle_digest ? "" : make("p", { className: "bad", textContent: t("earlier") }),
    ...(answer
      ? [
        answer.reason ? make("p", { className: "reason", textContent: sentence(reasonOf(answer)) }) : "",
        make("p", { className: answer.gate === "passed" ? "soft" : "bad", textContent: t(answer.withheld ? "withheld" : answer.gate) }),
        answer.withheld ? "" : make("p", { textContent: t("probability", { p: answer.probability.toFixed(3), calibrated, l: answer.logit.toFixed(3), ms: answer.ms.toFixed(0) }) }),
        make("p", { className: "soft legend" }, make("span", { className: "blast", textContent: t("for blast") }), " ", make("span", { className: "normal", textContent: t("for normal") })),
      ]
      : [make("p", { className: "bad", textContent: sentence(faultOf(record)) })]),
    format === "JPEG" || format === "WebP" ? make("p", { className: "soft", textContent: t("lossy", { format }) }) : "",
  ];
}

/** Stored with each letter: what was typed is there, whatever becomes of the page. */
$("note").addEventListener("input", async ({ target }) => {
  const { record } = large;
  record.note = target.value;
  showBack();
  if (!(await saved(session.put(record))) && kept) tell(t("label lost"), true);
});

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

/** Closing the page asks first while something is on its way to the storage: milliseconds. */
let saving = 0;

async function saved(work) {
  document.documentElement.dataset.saving = String(++saving);
  try {
    return await work;
  } finally {
    document.documentElement.dataset.saving = String(--saving);
  }
}

addEventListener("beforeunload", (event) => {
  if (saving) event.preventDefault();
});

// -- labels and keys -----------------------------------------------------------------------------------------------

async function mark(label) {
  const record = session.records.find(({ id }) => id === current);
  if (!record) return;
  record.label = label;
  step(1); // before it is stored: the next key is for the next cell
  if (!(await saved(session.put(record))) && kept) tell(t("label lost"), true);
}

function step(by) {
  const at = session.records.findIndex(({ id }) => id === current);
  choose(session.records[Math.min(Math.max(at + by, 0), session.records.length - 1)].id);
}

for (const button of $("labels").children) button.addEventListener("click", () => void mark(button.dataset.label ?? null));
$("heat").addEventListener("click", toggleHeat);

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !session.records.length || ["INPUT", "TEXTAREA"].includes(event.target.tagName)) return;
  const key = event.key.toLowerCase();
  if (key in LABELS) void mark(LABELS[key]);
  else if (key === "h") toggleHeat();
  else if (key === "arrowright" || key === "arrowdown") step(1);
  else if (key === "arrowleft" || key === "arrowup") step(-1);
  else return;
  event.preventDefault();
});

function handOut(kind, value) {
  const text = JSON.stringify(value, null, 1);
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: `leukoscope-${kind}-${new Date().toISOString().slice(0, 10)}.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
$("export").addEventListener("click", () => handOut("session", exported(session.records, site, bundle)));
$("review").addEventListener("click", () => handOut("review", review(session.records, site, bundle)));
$("clear").addEventListener("click", async () => {
  if (!confirm(t("sure clear"))) return;
  cleared++;
  field = back = null;
  $("field").hidden = true;
  $("seen").width = $("seen").height = 0;
  await session.clear();
  render();
});

// -- labels that come back ---------------------------------------------------------------------------------------------

const MOST_CONFLICTS = 20; // in sight
let back = null; // what was imported last: {said: [key, places], conflicts}

async function takeLabels(file) {
  const { name } = file;
  try {
    const found = compared(await read(file), session.records), { fresh, same, left, conflicts } = found;
    const stored = await saved(Promise.all(fresh.map(({ record, label, note }) => {
      if (label) record.label = label;
      if (note) record.note = note;
      return session.put(record);
    })));
    const count = (what) => fresh.filter((each) => each[what]).length;
    const nothing = !fresh.length && !same && !conflicts.length;
    const places = { name, labels: count("label"), notes: count("note"), same, left };
    back = { said: [!nothing ? "imported" : left ? "import none" : "import empty", places], conflicts, bad: nothing };
    if (kept && stored.includes(false)) tell(t("label lost"), true);
  } catch (error) {
    if (!error.key) throw error;
    back = { fault: error, conflicts: [], bad: true };
  }
  large.record = null; // its note may be another one
  render();
}

/** What was taken, and what says something else here: as it stands now. */
function showBack() {
  $("back").hidden = !back;
  if (!back) return;
  back.conflicts = back.conflicts.filter(({ record, label, note }) => session.records.includes(record) && ((label && record.label !== label) || (note && record.note !== note)));
  const { said, fault, bad, conflicts } = back, told = (label, note) => [label && t(`label ${label}`).replace(/ \(.*/, ""), note].filter(Boolean).join("; ");
  $("back-said").textContent = fault ? t("not imported", { why: faultOf({ error: fault.message, fault }) }) : t(...said) + (conflicts.length ? ` ${t("conflicts", { n: conflicts.length })}` : "");
  $("back-said").className = bad ? "bad" : "";
  $("conflicts").replaceChildren(...conflicts.slice(0, MOST_CONFLICTS).map(({ record, label, note }) =>
    make("li", { textContent: t("conflict", { cell: record.name, own: told(label && record.label, note && record.note), other: told(label, note) }) })));
  if (conflicts.length > MOST_CONFLICTS) $("conflicts").append(make("li", { textContent: t("more conflicts", { n: conflicts.length - MOST_CONFLICTS }) }));
  $("between").hidden = !conflicts.length;
}

$("import").addEventListener("click", () => $("labels-file").click());
$("labels-file").addEventListener("change", ({ target }) => {
  void takeLabels(target.files[0]);
  target.value = "";
});
$("take-theirs").addEventListener("click", async () => {
  const { conflicts } = back;
  for (const { record, label, note } of conflicts) Object.assign(record, label && { label }, note && { note });
  back = { said: ["theirs taken", { n: conflicts.length }], conflicts: [] };
  large.record = null;
  render();
  if ((await saved(Promise.all(conflicts.map(({ record }) => session.put(record))))).includes(false) && kept) tell(t("label lost"), true);
});
$("keep-mine").addEventListener("click", () => {
  back = null;
  render();
});

// -- paper -----------------------------------------------------------------------------------------------------------

function paper() {
  const day = new Date().toISOString().slice(0, 10), rows = session.records.map((record) => {
    const { answer, error, label, note, name, thumb } = record, decision = decisionOf(record);
    const image = make("img", { alt: "" });
    if (thumb instanceof Blob) image.src = URL.createObjectURL(thumb);
    const cells = [image, name, t(decision), answer?.probability?.toFixed(3) ?? "", (answer ? reasonOf(answer) : faultOf(record)) ?? "", label ? t(`label ${label}`).replace(/ \(.*/, "") : "", note ?? ""];
    return make("tr", {}, ...cells.map((cell) => make("td", {}, cell)));
  });
  $("printed").replaceChildren(
    make("h1", { textContent: "Leukoscope" }), make("p", { textContent: t("use") }),
    make("p", { textContent: t("printed", { day, bundle: `${bundle.name} ${site.bundle_digest.slice(0, 12)}`, app: `${site.version} ${site.build.slice(0, 8)}` }) }),
    make("p", { textContent: $("count").textContent }), make("table", {}, ...rows));
}
addEventListener("beforeprint", paper);
addEventListener("afterprint", () => {
  for (const image of $("printed").querySelectorAll("img[src]")) URL.revokeObjectURL(image.src);
  $("printed").replaceChildren();
});
$("print").addEventListener("click", () => print());

// -- language --------------------------------------------------------------------------------------------------------

function choseLanguage(name) {
  speak(name);
  try { localStorage.setItem("leukoscope-language", spoken()); } catch { /* no storage: it is asked anew */ }
  if (refuse.last) refuse(refuse.last);
  else if (document.documentElement.dataset.state === "ready") render();
}
$("language").addEventListener("click", () => choseLanguage(spoken() === "en" ? "es" : "en"));
let wanted = null;
try { wanted = localStorage.getItem("leukoscope-language"); } catch { /* the browser's own */ }
choseLanguage(wanted ?? navigator.language.slice(0, 2));

// -- offline -------------------------------------------------------------------------------------------------------

async function keep() {
  if (!("serviceWorker" in navigator)) {
    $("kept").textContent = t("cannot keep");
    return;
  }
  try {
    const registration = await navigator.serviceWorker.register("sw.js");
    registration.addEventListener("updatefound", () => {
      const next = registration.installing;
      next?.addEventListener("statechange", () => {
        if (next.state === "redundant" && !registration.active) $("kept").textContent = t("not whole");
        if (next.state === "installed" && navigator.serviceWorker.controller) $("kept").textContent = t("newer");
      });
    });
    await navigator.serviceWorker.ready;
    const lasting = await navigator.storage?.persist?.();
    $("kept").textContent = t(lasting ? "kept offline" : "kept for now");
    document.documentElement.dataset.offline = "ready";
  } catch (error) {
    $("kept").textContent = t("keep failed", { why: error.message });
  }
}
void keep();
