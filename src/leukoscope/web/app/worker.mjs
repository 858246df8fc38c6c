// Answers, away from the page: checks what it runs, tests itself, then takes one picture after the other.

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
  const session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
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

async function answerFor({ site, facts, ort, session }, rgb, width, height) {
  const begun = performance.now();
  const size = facts.preparation.frame_size;
  const frame = frameCell(rgb, width, height, size);
  const outputs = await session.run({ frames: new ort.Tensor("uint8", frame, [1, size, size, 3]) });
  const logit = outputs.logit.data[0];
  if (!Number.isFinite(logit)) throw new Error(`the model gave no finite answer (${logit})`);
  const map = { values: Float32Array.from(outputs.heatmap.data), height: outputs.heatmap.dims[1], width: outputs.heatmap.dims[2] };
  let { probability, decision, reason } = decide(logit, facts.decision);
  let gate = "not checked", score = null, findings = [];
  if (facts.gate) {
    const verdict = check(facts.gate, measureQuality(rgb, width, height, frame, size), outputs.embedding.data, site.sides);
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
  const ms = performance.now() - begun;
  return { answer: { probability, logit, decision, reason, gate, gate_score: score, findings, ms }, frame, map };
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
      Object.assign(reply, { width, height, format }, await answerFor(engine, rgb, width, height));
    });
  } catch (error) {
    reply.error = String(error?.message ?? error);
  }
  postMessage(reply, reply.frame ? [reply.frame.buffer] : []);
};
