// Whether a picture is judged at all, and what is decided: the rules of leukoscope.bundle.gate and bundle.decision.

const SWAP = [2, 1, 0, 5, 4, 3, 8, 7, 6];

/** The numbers of a packed array: base64 of little-endian float32. */
export function unpacked({ shape, float32 }) {
  const bytes = Uint8Array.from(atob(float32), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const values = Float64Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  if (values.length !== shape.reduce((product, side) => product * side, 1)) throw new Error("the packed numbers do not have their shape");
  return values;
}

/** Distance of an embedding from those of the fit. */
export function embeddingDistance(facts, embedding) {
  const mean = unpacked(facts.mean), axes = unpacked(facts.axes), size = mean.length;
  if (embedding.length !== size) throw new Error(`the gate was fitted on embeddings of ${size} numbers, the graph gives ${embedding.length}`);
  const rest = mean.map((middle, i) => embedding[i] - middle);
  let along = 0, squares = 0;
  facts.variances.forEach((variance, k) => {
    let z = 0;
    for (let i = 0; i < size; i++) z += axes[k * size + i] * rest[i];
    along += (z * z) / variance;
    squares += z * z;
  });
  const beside = Math.max(rest.reduce((sum, r) => sum + r * r, 0) - squares, 0);
  return Math.sqrt(along + beside / facts.rest);
}

function stainDistance(facts, stain) {
  const off = stain.map((value, i) => value - facts.mean[i]);
  return Math.sqrt(facts.whitening.reduce((sum, row) => sum + row.reduce((inner, weight, i) => inner + weight * off[i], 0) ** 2, 0));
}

/**
 * Judge one picture.
 * @param facts the bundle's `gate`
 * @param quality from `measureQuality`
 * @param {ArrayLike<number>} embedding of the graph
 * @param {number[]} sides sizes whose scale is known; none: any is taken, as where the scale was read from red cells
 * @returns {{findings: {reason: string, measure: string, value: ?number, limit: number}[], score: number}}
 */
export function check(facts, quality, embedding, sides) {
  const measured = { ...quality.values, stain_distance: stainDistance(facts.stain, quality.stain) };
  if (facts.embedding) measured.embedding_distance = embeddingDistance(facts.embedding, embedding);
  const found = [];
  let score = 0;
  for (const { reason, measure, limit, middle } of facts.limits) {
    const value = measured[measure];
    if (value === undefined) throw new Error(`the gate asks for ${measure}, which this app does not measure: build it again`);
    const excess = Number.isFinite(value) ? (value - middle) / (limit - middle) : Infinity;
    score = Math.max(score, excess);
    if (excess > 1) found.push([excess, { reason, measure, value: Number.isFinite(value) ? value : null, limit }]);
  }
  found.sort((one, other) => other[0] - one[0]);
  const findings = found.map(([, finding]) => finding);
  const swapped = stainDistance(facts.stain, SWAP.map((i) => quality.stain[i]));
  const usual = facts.limits.find(({ measure }) => measure === "stain_distance")?.limit ?? Infinity;
  if (swapped < measured.stain_distance && swapped <= usual) {
    const ratio = measured.stain_distance / Math.max(swapped, 1e-9);
    findings.unshift({ reason: "swapped channels", measure: "channel_order", value: ratio, limit: 1 });
    score = Math.max(score, ratio);
  }
  if (sides.length && !sides.includes(quality.side)) {
    const nearest = sides.reduce((best, side) => (Math.abs(side - quality.side) < Math.abs(best - quality.side) ? side : best));
    findings.unshift({ reason: "unknown scale", measure: "side", value: quality.side, limit: nearest });
    score = Math.max(score, 1 + Math.abs(Math.log2(quality.side / nearest)));
  }
  return { findings, score };
}

/** Probability and decision for a logit, before the gate has its say. */
export function decide(logit, rule) {
  const x = logit / rule.temperature, small = Math.exp(-Math.abs(x));
  const probability = (x >= 0 ? 1 : small) / (1 + small);
  if (probability >= rule.threshold) return { probability, decision: "blast", reason: null };
  if (!rule.refer || probability < rule.refer.low) return { probability, decision: "normal", reason: null };
  const { low, high } = rule.refer;
  return { probability, decision: "refer", reason: `probability ${probability.toFixed(3)} lies in the band ${low.toFixed(3)} to ${high.toFixed(3)}` };
}

const MOST_REASONS = 3;
const DIGITS = { side: 0, diameter: 0, contrast: 0, brightness: 0, stain_distance: 1, embedding_distance: 1, nuclear_stain: 2, sharpness: 1 };

/** Why the gate refers a picture, the worst first; `words` are those of the command line. */
export function inWords(findings, words) {
  const told = findings.slice(0, MOST_REASONS).map(({ reason, measure, value, limit }) => {
    if (value === null) return words["gate unknown"].replace("{measure}", measure.replaceAll("_", " "));
    const digits = DIGITS[measure] ?? 2;
    return words[`gate ${reason}`].replace("{v}", value.toFixed(digits)).replace("{limit}", limit.toFixed(digits));
  });
  return words["turned down"].replace("{reasons}", told.join(words.comma));
}
