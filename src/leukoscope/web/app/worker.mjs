// Answers, away from the page: checks what it runs, tests itself, then takes one picture after the other.

import { Fault } from "./faults.mjs";
import { cutOut, findCells, isFramed } from "./find.mjs";
import { frameCell } from "./frame.mjs";
import { check, decide, inWords } from "./gate.mjs";
import { decode, sha256 } from "./pixels.mjs";
import { measureQuality } from "./quality.mjs";

// The smallest module with an instruction on vectors: i8x16.splat and i8x16.popcnt of one constant.
const SIMD = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11);
const BUNDLE_FORMAT = 1, FACTS = "bundle/bundle.json", GRAPH = "bundle/model.onnx", WASM = "runtime/ort-wasm-simd-threaded.wasm";

let ready; // a promise of what answers

async function loaded(name) {
  const response = await fetch(new URL(name, import.meta.url)).catch(({ message }) => ({ status: message }));
  if (!response.ok) throw new Fault("no file", { name, why: response.status });
  return new Uint8Array(await response.arrayBuffer());
}

const parsed = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

async function start() {
  if (!globalThis.crypto?.subtle) throw new Fault("plain http");
  if (typeof OffscreenCanvas === "undefined" || typeof createImageBitmap === "undefined" || typeof WebAssembly === "undefined") throw new Fault("old browser");
  if (!WebAssembly.validate(SIMD)) throw new Fault("no simd");
  // All at once; what each must be is known when the list of digests is there.
  const loading = Object.fromEntries(["app.json", FACTS, GRAPH, WASM, "selftest.png"].map((name) => [name, loaded(name)]));
  for (const each of Object.values(loading)) each.catch(() => undefined); // the first fault is told, the others with it
  const importing = import(new URL("runtime/ort.wasm.min.mjs", import.meta.url));
  importing.catch(() => undefined);
  const site = parsed(await loading["app.json"]), checked = async (name, digest = site.files[name]) => {
    const bytes = await loading[name];
    if ((await sha256(bytes)) !== digest) throw new Fault("another file", { name });
    return bytes;
  };
  const facts = parsed(await checked(FACTS));
  if (facts.format_version !== BUNDLE_FORMAT) throw new Fault("newer bundle", { found: facts.format_version, known: BUNDLE_FORMAT });
  const [graph, wasm, picture] = [await checked(GRAPH, facts.files["model.onnx"]), await checked(WASM), await checked("selftest.png")];
  const ort = await importing;
  Object.assign(ort.env.wasm, { numThreads: 1, proxy: false, wasmPaths: new URL("runtime/", import.meta.url).href });
  ort.env.logLevel = "error";
  const fetched = globalThis.fetch;
  globalThis.fetch = async () => streamed(wasm); // the runtime asks for its code once, and has what was checked
  // An arena keeps what it once had, and patterns are for batches: for one cell at a time both only hold memory.
  const session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"], enableCpuMemArena: false, enableMemPattern: false });
  globalThis.fetch = fetched;
  const engine = { site, facts, ort, session, turn: Promise.resolve() };
  await selfTest(engine, picture);
  return engine;
}

/** WebAssembly as it comes, part by part: given whole, 14 MB of it would lie in memory once more for good. */
function streamed(bytes, part = 2 ** 20) {
  let at = 0;
  const body = new ReadableStream({
    pull(stream) {
      if (at >= bytes.length) stream.close();
      else stream.enqueue(bytes.slice(at, at += part));
    },
  });
  return new Response(body, { headers: { "content-type": "application/wasm" } });
}

/** A picture whose pixels, frame and answer are known: a browser that alters any of them gives no answer. */
async function selfTest(engine, picture) {
  const known = engine.site.self_test, { rgb, width, height } = await decode(picture);
  if ((await sha256(rgb)) !== known.pixels) throw new Fault("altered pixels");
  const { answer, frame } = await answerFor(engine, rgb, width, height);
  const framed = await sha256(frame), failed = (what, found, right) => new Fault("self-test", { what, found, right });
  if (framed !== known.frame) throw failed("frame", framed.slice(0, 8), known.frame.slice(0, 8));
  if (!(Math.abs(answer.logit - known.logit) <= engine.site.logit_tolerance)) throw failed("logit", answer.logit.toFixed(5), known.logit.toFixed(5));
  if (answer.decision !== known.decision) throw failed("decision", answer.decision, known.decision);
  const reasons = answer.findings.map(({ reason }) => reason).join(", ");
  if (reasons !== known.reasons.join(", ")) throw failed("gate", reasons || "-", known.reasons.join(", ") || "-");
}

/** @param {number[]} sides sizes whose scale is known, those of the bundle for a cell on black */
async function answerFor({ site, facts, ort, session }, rgb, width, height, sides = site.sides) {
  const begun = performance.now();
  const size = facts.preparation.frame_size;
  const frame = frameCell(rgb, width, height, size);
  const frames = new ort.Tensor("uint8", frame, [1, size, size, 3]);
  const outputs = await session.run({ frames });
  const logit = outputs.logit.data[0];
  if (!Number.isFinite(logit)) throw new Fault("not finite", { logit });
  const map = { values: Float32Array.from(outputs.heatmap.data), height: outputs.heatmap.dims[1], width: outputs.heatmap.dims[2] };
  let { probability, decision, reason } = decide(logit, facts.decision);
  let gate = "not checked", score = null, findings = [];
  if (facts.gate) {
    const verdict = check(facts.gate, measureQuality(rgb, width, height, frame, size), outputs.embedding.data, sides);
    ({ findings } = verdict);
    score = Number.isFinite(verdict.score) ? verdict.score : null;
    gate = findings.length ? "turned down" : "passed";
    if (findings.length) {
      const told = inWords(findings, site.words);
      reason = reason === null ? told : `${told}; ${reason}`;
      decision = "refer";
    }
  } else {
    decision = "refer";
    reason = "the bundle has no gate: picture quality not checked";
  }
  frames.dispose();
  for (const output of Object.values(outputs)) output.dispose();
  const ms = performance.now() - begun;
  return { answer: { probability, logit, decision, reason, gate, gate_score: score, findings, ms }, frame, map };
}

/**
 * The white cells of a field or a crop, each brought to the scale of the training cells by the field's red cells.
 * @param {{x: number, y: number}[]} taps cells that the reader sees; then only those are answered for
 */
async function answersForField(engine, rgb, width, height, taps) {
  const { site, facts } = engine, size = facts.preparation.frame_size;
  const { cells, redCell, hidden } = findCells(rgb, width, height, taps ?? []);
  const factor = redCell === null ? null : site.scale.red_cell_um / redCell / site.scale.um_per_px;
  const answers = [];
  for (const cell of cells) {
    if (taps && !cell.tapped) continue;
    const entry = { place: cell.box, outline: ring(cell), tapped: cell.tapped };
    const why = cell.cut ? "withheld cut" : factor === null ? "withheld scale" : null;
    const shown = cutOut(rgb, width, cell, factor ?? 0.6 * size / Math.max(...cell.box.slice(2)));
    try {
      if (why) Object.assign(entry, { answer: withheld(site, why), frame: frameCell(shown.rgb, shown.width, shown.height, size), map: null });
      else Object.assign(entry, await answerFor(engine, shown.rgb, shown.width, shown.height, []));
    } catch (error) {
      Object.assign(entry, told(error));
    }
    answers.push(entry);
  }
  if (!cells.length && !taps) return { ...told(new Fault("no cell")), redCell, hidden, answers: null };
  return { answers, redCell, hidden };
}

const withheld = (site, why) => ({ probability: null, logit: null, decision: "refer", reason: site.words[why], withheld: why, gate: "turned down", gate_score: null, findings: [], ms: 0 });

/** Pixels of a cell that have a neighbour outside of it, as x and y in turn. */
function ring({ box: [left, top, w, h], mask }) {
  const at = (x, y) => x >= 0 && y >= 0 && x < w && y < h && mask[y * w + x], points = [];
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) if (at(x, y) && !(at(x - 1, y) && at(x + 1, y) && at(x, y - 1) && at(x, y + 1))) points.push(left + x, top + y);
  return Int32Array.from(points);
}

/** A fault for the page: English words, and what says it in other languages. */
const told = (error) => ({ error: String(error?.message ?? error), fault: error instanceof Fault ? { key: error.key, places: error.places } : null });

/** One picture after the other: the graph is not asked twice at once. */
function inTurn(engine, work) {
  const done = engine.turn.then(work);
  engine.turn = done.catch(() => undefined);
  return done;
}

ready = start();
ready.then(
  ({ site, facts }) => postMessage({ kind: "ready", site, bundle: { name: facts.name, version: facts.version, gate: Boolean(facts.gate), decision: facts.decision, frame: facts.preparation.frame_size, use: facts.intended_use } }),
  (error) => postMessage({ kind: "refused", ...told(error) }),
);

onmessage = async ({ data }) => {
  const reply = { kind: "answer", id: data.id };
  try {
    const engine = await ready;
    await inTurn(engine, async () => {
      const bytes = new Uint8Array(await data.file.arrayBuffer());
      reply.sha256 = await sha256(bytes);
      const { rgb, width, height, format } = await decode(bytes);
      Object.assign(reply, { width, height, format });
      if (!data.taps && isFramed(rgb, width, height)) reply.answers = [await answerFor(engine, rgb, width, height)];
      else Object.assign(reply, { field: true }, await answersForField(engine, rgb, width, height, data.taps));
    });
  } catch (error) {
    Object.assign(reply, told(error));
  }
  postMessage(reply, (reply.answers ?? []).flatMap(({ frame }) => (frame ? [frame.buffer] : [])));
};
