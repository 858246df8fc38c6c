// The page: takes pictures in, shows answers, keeps labels.

import { exported, Session, share } from "./session.mjs";

const WORDS = { blast: "Blast", normal: "Normal", refer: "Refer to a person", unreadable: "No answer" };
const LABELS = { b: "blast", n: "normal", o: "other", u: null };
const BLAST = [255, 159, 0], NORMAL = [46, 150, 255], STRONGEST = 0.65; // of the command line's overlays
const THUMB = 64; // pixels

const $ = (id) => document.getElementById(id);
const session = new Session();
const waiting = new Map();
let site, bundle, current = null, heat = true, kept = false;

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
worker.onerror = (event) => refuse(event.message || "the part that answers cannot be started in this browser");
worker.onmessage = ({ data }) => {
  if (data.kind === "ready") ready(data);
  else if (data.kind === "refused") refuse(data.why);
  else {
    waiting.get(data.id)?.(data);
    waiting.delete(data.id);
  }
};

function refuse(why) {
  tell(`No answers here: ${why}.`, true);
  $("intake").hidden = true;
  document.documentElement.dataset.state = "refused";
}

async function ready(data) {
  ({ site, bundle } = data);
  kept = await session.open();
  $("about").textContent = `${bundle.name} ${bundle.version} · app ${site.version} · build ${site.build.slice(0, 8)}`;
  $("intake").hidden = false;
  tell((bundle.gate ? "Self-test passed." : "Self-test passed. This bundle has no gate: picture quality not checked, every cell is referred.")
    + (kept ? "" : " This browser gives no storage: the session ends with this page, export it before."));
  document.documentElement.dataset.state = "ready";
  render();
}

// -- taking in -----------------------------------------------------------------------------------------------------

let line = Promise.resolve();

function take(files) {
  const list = [...files]; // the page's own list is emptied meanwhile
  line = line.then(() => takeAll(list));
}

async function takeAll(list) {
  if (document.documentElement.dataset.state !== "ready") return;
  for (const [number, file] of list.entries()) {
    if (list.length > 1) tell(`Picture ${number + 1} of ${list.length} …`);
    const id = session.nextId();
    const reply = await new Promise((resolve) => {
      waiting.set(id, resolve);
      worker.postMessage({ id, file });
    });
    const { answer, error, frame, map, sha256, width, height, format } = reply;
    const record = { id, name: file.name || "pasted picture", sha256, width, height, format, answer, error, thumb: frame ? reduced(frame) : null, label: null, answered: new Date().toISOString(), bundle: site.bundle_digest, build: site.build };
    const stored = await saved(session.put(record, frame ? { frame, map } : null));
    if (kept && !stored) tell("This device's storage is full: newer cells end with this page. Export the session.", true);
    current = id;
    render();
  }
  if (list.length > 1) tell(`${list.length} pictures taken in.`);
}

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
  const { blasts, judged, share: part, low, high } = share(records);
  const percent = (value) => `${(100 * value).toFixed(0)} %`;
  const labelled = records.filter(({ label }) => label).length;
  $("count").textContent = `${records.length} pictures, ${judged} judged, ${blasts} called blast`
    + (part === null ? "" : ` (${percent(part)}, 95 % interval ${percent(low)} to ${percent(high)} if cells were drawn at random)`)
    + `, ${labelled} labelled`;
  if (!records.some(({ id }) => id === current)) current = records.at(-1)?.id ?? null;
  const list = $("list");
  while (list.children.length > records.length) list.lastChild.remove();
  records.forEach((record, at) => dress(list.children[at] ?? list.appendChild(tile(record)), record));
  list.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  const record = records.find(({ id }) => id === current);
  if (record) void show(record);
  else $("cell").replaceChildren();
}

async function show(record) {
  const pixels = record.thumb ? await session.pixels(record.id) : null;
  if (record.id === current) $("cell").replaceChildren(...shown(record, pixels));
}

const decisionOf = ({ answer }) => answer?.decision ?? "unreadable";

function tile({ id, thumb }) {
  const canvas = make("canvas", { width: THUMB, height: THUMB });
  if (thumb) canvas.getContext("2d").putImageData(new ImageData(thumb, THUMB, THUMB), 0, 0);
  const node = make("button", { type: "button", onclick: () => choose(id) }, canvas, make("span"));
  node.setAttribute("role", "option");
  return node;
}

function dress(node, record) {
  const decision = decisionOf(record), label = record.label;
  node.className = `tile ${decision}`;
  node.lastChild.textContent = decision + (label ? ` · ${label}` : "");
  node.setAttribute("aria-selected", String(record.id === current));
  node.setAttribute("aria-label", `${record.name}: ${WORDS[decision]}${label ? `, labelled ${label}` : ""}`);
}

/** A frame as a small RGBA picture. */
function reduced(frame) {
  const small = make("canvas", { width: THUMB, height: THUMB }).getContext("2d");
  small.imageSmoothingQuality = "high";
  small.drawImage(picture({ frame }, false), 0, 0, THUMB, THUMB);
  return small.getImageData(0, 0, THUMB, THUMB).data;
}

function choose(id) {
  current = id;
  render();
}

/** The frame, with the signed heat map over it: orange for blast, blue for normal. */
function picture({ frame, map }, withHeat) {
  const size = Math.round(Math.sqrt(frame.length / 3));
  const canvas = make("canvas", { width: size, height: size });
  const context = canvas.getContext("2d"), image = context.createImageData(size, size);
  const top = withHeat ? map.values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) : 0;
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

function shown(record, pixels) {
  const { answer, error, name, label } = record, decision = decisionOf(record);
  const canvas = pixels ? picture(pixels, heat) : make("canvas", { width: 1, height: 1 });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", heat ? "the cell, with the heat map over it" : "the cell");
  const toggle = make("button", { type: "button", textContent: "Heat map (H)", onclick: () => { heat = !heat; render(); } });
  toggle.setAttribute("aria-pressed", String(heat));
  const facts = answer
    ? [
      answer.reason ? make("p", { className: "reason", textContent: sentence(answer.reason) }) : "",
      make("p", { className: answer.gate === "passed" ? "soft" : "bad", textContent: {
        passed: "Picture quality: within the limits of the training cells.",
        "turned down": "Picture quality: turned down. The probability below means nothing.",
        "not checked": "Picture quality not checked.",
      }[answer.gate] }),
      make("p", { textContent: `Probability of blast ${answer.probability.toFixed(3)}${bundle.decision.calibrated ? "" : ", not calibrated: it ranks cells and is no chance"}; logit ${answer.logit.toFixed(3)}; ${answer.ms.toFixed(0)} ms` }),
      make("p", { className: "soft legend" }, make("span", { className: "blast", textContent: "speaks for blast" }), " ", make("span", { className: "normal", textContent: "for normal" })),
    ]
    : [make("p", { className: "bad", textContent: sentence(error) })];
  const lossy = record.format === "JPEG" || record.format === "WebP"
    ? make("p", { className: "soft", textContent: `${record.format}: decoders differ by a level or two, so the command line's answer may differ slightly.` }) : "";
  const earlier = record.bundle === site.bundle_digest ? "" : make("p", { className: "bad", textContent: "Answered by another bundle than the one that answers now: give the picture again to compare." });
  const labels = Object.entries(LABELS).map(([key, value]) => {
    const button = make("button", { type: "button", textContent: value ? `${value[0].toUpperCase()}${value.slice(1)} (${key.toUpperCase()})` : "No label (U)", onclick: () => void mark(value) });
    button.setAttribute("aria-pressed", String(label === value));
    return button;
  });
  return [
    make("div", { className: "view" }, canvas, make("div", { className: "tools" }, toggle)),
    make("div", { className: "facts" },
      make("h1", { className: decision, textContent: WORDS[decision] }),
      make("p", { className: "soft name", textContent: name }), earlier, ...facts, lossy,
      make("div", { className: "tools", role: "group", ariaLabel: "Your label" }, ...labels)),
  ];
}

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
  if (!(await saved(session.put(record))) && kept) tell("The label cannot be stored on this device: export the session.", true);
}

function step(by) {
  const at = session.records.findIndex(({ id }) => id === current);
  choose(session.records[Math.min(Math.max(at + by, 0), session.records.length - 1)].id);
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !session.records.length || ["INPUT", "TEXTAREA"].includes(event.target.tagName)) return;
  const key = event.key.toLowerCase();
  if (key in LABELS) void mark(LABELS[key]);
  else if (key === "h") { heat = !heat; render(); }
  else if (key === "arrowright" || key === "arrowdown") step(1);
  else if (key === "arrowleft" || key === "arrowup") step(-1);
  else return;
  event.preventDefault();
});

$("export").addEventListener("click", () => {
  const text = JSON.stringify(exported(session.records, site, bundle), null, 1);
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: `leukoscope-session-${new Date().toISOString().slice(0, 10)}.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
});
$("clear").addEventListener("click", async () => {
  if (!confirm("Remove all pictures, answers and labels of this session from this device?")) return;
  await session.clear();
  current = null;
  render();
});

// -- offline -------------------------------------------------------------------------------------------------------

async function keep() {
  if (!("serviceWorker" in navigator)) {
    $("kept").textContent = "this browser cannot keep the app for use offline";
    return;
  }
  try {
    const registration = await navigator.serviceWorker.register("sw.js");
    registration.addEventListener("updatefound", () => {
      const next = registration.installing;
      next.addEventListener("statechange", () => {
        if (next.state === "redundant" && !registration.active) $("kept").textContent = "not kept for use offline: a file did not arrive whole";
        if (next.state === "installed" && navigator.serviceWorker.controller) $("kept").textContent = "a newer version takes over once all windows of this one are closed";
      });
    });
    await navigator.serviceWorker.ready;
    const lasting = await navigator.storage?.persist?.();
    $("kept").textContent = lasting ? "ready for use offline" : "ready for use offline; this browser may remove it when space runs short: export sessions";
    document.documentElement.dataset.offline = "ready";
  } catch (error) {
    $("kept").textContent = `not kept for use offline (${error.message})`;
  }
}
void keep();
