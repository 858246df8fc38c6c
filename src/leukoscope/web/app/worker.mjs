// Answers, away from the page: checks what it runs, tests itself, then takes one picture after the other.

import { cutOut, findCells, isFramed } from "./find.mjs";
import { frameCell } from "./frame.mjs";
import { check, decide, inWords } from "./gate.mjs";
import { decode, sha256 } from "./pixels.mjs";
import { measureQuality } from "./quality.mjs";

let ready; // a promise of what answers

async function fetched(name, digest) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new Error(`${name} cannot be loaded (${response.status})`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (digest && (await sha256(bytes)) !== digest) throw new Error(`${name} is not the file that this app was built with; load the page again with a network`);
  return bytes;
}

const parsed = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

async function start() {
  if (!globalThis.crypto?.subtle) throw new Error("this page must come over https (or from this machine itself): without it nothing can be checked");
  if (typeof OffscreenCanvas === "undefined" || typeof createImageBitmap === "undefined" || typeof WebAssembly === "undefined")
    throw new Error("this browser is too old for the app; use a current Chrome, Edge, Firefox or Safari");
  const site = parsed(await fetched("app.json"));
  const facts = parsed(await fetched("bundle/bundle.json", site.files["bundle/bundle.json"]));
  const graph = await fetched("bundle/model.onnx", facts.files["model.onnx"]);
  const wasm = await fetched("runtime/ort-wasm-simd-threaded.wasm", site.files["runtime/ort-wasm-simd-threaded.wasm"]);
  const ort = await import(new URL("runtime/ort.wasm.min.mjs", import.meta.url));
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.proxy = false;
  ort.env.wasm.wasmPaths = new URL("runtime/", import.meta.url).href;
  ort.env.wasm.wasmBinary = wasm.buffer;
  ort.env.logLevel = "error";
  // An arena keeps what it once had, and patterns are for batches: for one cell at a time both only hold memory.
  const session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"], enableCpuMemArena: false, enableMemPattern: false });
  ort.env.wasm.wasmBinary = undefined; // 14 MB, compiled by now
  const engine = { site, facts, ort, session, turn: Promise.resolve() };
  await selfTest(engine);
  return engine;
}

/** A picture whose pixels, frame and answer are known: a browser that alters any of them gives no answer. */
async function selfTest(engine) {
  const known = engine.site.self_test;
  const bytes = await fetched("selftest.png", engine.site.files["selftest.png"]);
  const { rgb, width, height } = await decode(bytes);
  if ((await sha256(rgb)) !== known.pixels)
    throw new Error("this browser alters the pixels of pictures (a protection against tracking does so), and no answer about altered pictures is given; allow this page to read canvases, or use another browser");
  const { answer, frame } = await answerFor(engine, rgb, width, height);
  if ((await sha256(frame)) !== known.frame) throw new Error("the self-test failed: the cell of the test picture is framed differently here");
  if (!(Math.abs(answer.logit - known.logit) <= engine.site.logit_tolerance))
    throw new Error(`the self-test failed: the test picture's logit is ${answer.logit.toFixed(5)}, ${known.logit.toFixed(5)} is right`);
  const reasons = JSON.stringify(answer.findings.map(({ reason }) => reason));
  if (answer.decision !== known.decision || reasons !== JSON.stringify(known.reasons)) throw new Error("the self-test failed: the test picture is decided differently here");
}

/** @param {number[]} sides sizes whose scale is known, those of the bundle for a cell on black */
async function answerFor({ site, facts, ort, session }, rgb, width, height, sides = site.sides) {
  const begun = performance.now();
  const size = facts.preparation.frame_size;
  const frame = frameCell(rgb, width, height, size);
  const frames = new ort.Tensor("uint8", frame, [1, size, size, 3]);
  const outputs = await session.run({ frames });
  const logit = outputs.logit.data[0];
  if (!Number.isFinite(logit)) throw new Error(`the model gave no finite answer (${logit})`);
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
      entry.error = String(error?.message ?? error);
    }
    answers.push(entry);
  }
  if (!cells.length && !taps) return { error: "no white cell is found in it; tap one in the picture, or give a stained smear, in focus and lit", redCell, hidden, answers: null };
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

/** One picture after the other: the graph is not asked twice at once. */
function inTurn(engine, work) {
  const done = engine.turn.then(work);
  engine.turn = done.catch(() => undefined);
  return done;
}

ready = start();
ready.then(
  ({ site, facts }) => postMessage({ kind: "ready", site, bundle: { name: facts.name, version: facts.version, gate: Boolean(facts.gate), decision: facts.decision, frame: facts.preparation.frame_size, use: facts.intended_use } }),
  (error) => postMessage({ kind: "refused", why: String(error?.message ?? error) }),
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
    reply.error = String(error?.message ?? error);
  }
  postMessage(reply, (reply.answers ?? []).flatMap(({ frame }) => (frame ? [frame.buffer] : [])));
};
