// What is done to rasters: reducing, smoothing, levels, discs; each as the command line does it (OpenCV 4, cells/masks.py).

/** Index within a row that is mirrored at both ends, the ends not repeated. */
export function mirrored(i, count) {
  if (count === 1) return 0;
  for (;;) {
    if (i < 0) i = -i;
    else if (i >= count) i = 2 * count - 2 - i;
    else return i;
  }
}

/** Which pixels of a row a pixel of the reduced row covers, and by how much: [first, weights] each. */
function shares(from, to, step) {
  return Array.from({ length: to }, (_, i) => {
    const start = i * step, end = start + step, whole = Math.min(step, from - start);
    const first = Math.ceil(start), last = Math.min(Math.floor(end), from - 1), weights = [];
    const inner = Math.min(first, last);
    let at = inner;
    if (inner - start > 1e-3) {
      weights.push((inner - start) / whole);
      at = inner - 1;
    }
    for (let x = inner; x < last; x++) weights.push(1 / whole);
    if (end - last > 1e-3) weights.push(Math.min(end - last, 1, whole) / whole);
    return [at, weights];
  });
}

/**
 * Means over areas, as OpenCV takes them.
 * @param {Uint8Array|Float32Array} values rows of `wide` pixels of `channels` numbers
 * @param {number[]} part left, top, width and height of what is reduced
 * @param {number[]} steps pixels of the part to a pixel of the result, along rows and columns
 * @returns {Float32Array} [h, w, channels]
 */
export function meansOver(values, wide, channels, [left, top, width, height], w, h, [stepX, stepY]) {
  const columns = shares(width, w, stepX), rows = shares(height, h, stepY), out = new Float32Array(channels * w * h);
  for (let y = 0; y < h; y++) {
    const [first, weights] = rows[y];
    for (let j = 0; j < weights.length; j++) {
      const start = channels * ((top + first + j) * wide + left), by = weights[j];
      for (let x = 0, to = channels * y * w; x < w; x++) {
        const [at, each] = columns[x];
        for (let c = 0; c < channels; c++, to++) {
          let sum = 0;
          for (let i = 0, from = start + channels * at + c; i < each.length; i++, from += channels) sum += each[i] * values[from];
          out[to] += by * sum;
        }
      }
    }
  }
  return out;
}

/**
 * A part of a picture reduced by averaging over areas.
 * @param {Uint8Array} rgb [height, width, 3] of the whole picture
 * @param {number[]} part left, top, width and height
 * @param {number} scale pixels of the result per pixel of the picture, at most 1
 * @returns {{pixels: Uint8Array, w: number, h: number}} pixels [h, w, 3]
 */
export function reduced(rgb, width, part, scale) {
  const w = Math.max(1, halfEven(part[2] * scale)), h = Math.max(1, halfEven(part[3] * scale));
  return { pixels: bytes(meansOver(rgb, width, 3, part, w, h, [1 / scale, 1 / scale]), halfEven), w, h };
}

/** Levels as bytes; Uint8Array.from with a function is several times slower. */
function bytes(values, round) {
  const out = new Uint8Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = round(values[i]);
  return out;
}

/** A number of at least 0 rounded, halves to the even side. */
export function halfEven(value) {
  const up = Math.round(value);
  return up - value === 0.5 && up % 2 ? up - 1 : up;
}

/** Taps of a Gaussian, their sum 1. */
function gaussian(sigma, reach) {
  const taps = Float64Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-((i - reach) ** 2) / (2 * sigma * sigma)));
  const total = taps.reduce((sum, tap) => sum + tap, 0);
  return taps.map((tap) => tap / total);
}

/** Rows smoothed, edges mirrored: `channels` interleaved. */
function across(values, w, h, channels, taps) {
  const reach = taps.length >> 1, out = new Float32Array(values.length), wide = channels * w;
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++)
      for (let c = 0; c < channels; c++) {
        const at = y * wide + x * channels + c;
        let sum = 0;
        if (x >= reach && x < w - reach) for (let k = 0, from = at - reach * channels; k < taps.length; k++, from += channels) sum += taps[k] * values[from];
        else for (let k = -reach; k <= reach; k++) sum += taps[k + reach] * values[y * wide + mirrored(x + k, w) * channels + c];
        out[at] = sum;
      }
  return out;
}

/** The same for few values among zeros: each is spread, and mirrored where it lies within reach of an edge. */
function spread(values, w, h, taps) {
  const reach = taps.length >> 1, out = new Float32Array(w * h), line = new Float32Array(w + 4 * reach);
  for (let y = 0; y < h; y++) {
    let some = false;
    for (let x = 0; x < w; x++) {
      const value = values[y * w + x];
      if (!value) continue;
      some = true;
      const add = (place) => { for (let k = 0, to = place + reach; k < taps.length; k++, to++) line[to] += taps[k] * value; };
      add(x);
      if (x > 0 && x <= reach) add(-x);
      if (x < w - 1 && x >= w - 1 - reach) add(2 * (w - 1) - x);
    }
    if (!some) continue;
    out.set(line.subarray(2 * reach, 2 * reach + w), y * w);
    line.fill(0);
  }
  return out;
}

/** Columns smoothed, `wide` numbers to a row. */
function down(rows, wide, h, taps) {
  const reach = taps.length >> 1, out = new Float32Array(rows.length);
  for (let y = 0; y < h; y++)
    for (let k = 0, to = y * wide; k < taps.length; k++) {
      const from = mirrored(y + k - reach, h) * wide, tap = taps[k];
      for (let x = 0; x < wide; x++) out[to + x] += tap * rows[from + x];
    }
  return out;
}

/** Float32Array [h, w] smoothed. */
export function blurred(values, w, h, sigma) {
  const taps = gaussian(sigma, (Math.round(8 * sigma + 1) | 1) >> 1);
  return down(taps.length < 2 * w ? spread(values, w, h, taps) : across(values, w, h, 1, taps), w, h, taps);
}

/** Uint8Array [h, w, 3] smoothed, in taps of 1/256 as OpenCV has them for bytes: the rounding of each goes to the next. */
function blurredBytes(pixels, w, h, sigma) {
  const taps = gaussian(sigma, (Math.round(6 * sigma + 1) | 1) >> 1), reach = taps.length >> 1;
  let error = 0, sum = 0;
  for (let i = 0; i < reach; i++) {
    const wanted = 256 * taps[i] + error, whole = Math.round(wanted);
    error = wanted - whole;
    taps[i] = taps[2 * reach - i] = whole / 256;
    sum += 2 * whole;
  }
  taps[reach] = (256 - sum) / 256;
  return bytes(down(across(pixels, w, h, 3, taps), 3 * w, h, taps), Math.round);
}

/** Quantile of sorted numbers, between two of them in proportion. */
function quantile(sorted, share) {
  const at = share * (sorted.length - 1), low = Math.floor(at);
  return low + 1 < sorted.length ? sorted[low] + (at - low) * (sorted[low + 1] - sorted[low]) : sorted[low];
}

/** Otsu's level (1979) of numbers: 256 bins between the 0.5 % and the 99.5 % quantile. NaN of none. */
export function otsu(values) {
  const sorted = new Float32Array(values).sort(), low = quantile(sorted, 0.005), high = quantile(sorted, 0.995);
  if (!(high > low)) return sorted.length ? low : NaN;
  const counts = new Float64Array(256);
  for (const value of sorted) counts[Math.min(255, Math.max(0, Math.trunc(((value - low) * 256) / (high - low))))]++;
  const all = counts.reduce((sum, count, i) => sum + count * i, 0);
  let below = 0, sum = 0, best = -1, at = 1;
  for (let i = 1; i < 256; i++) {
    below += counts[i - 1];
    sum += counts[i - 1] * (i - 1);
    const between = sum ** 2 / Math.max(below, 1e-9) + (all - sum) ** 2 / Math.max(sorted.length - below, 1e-9);
    if (between > best) { best = between; at = i; }
  }
  return low + (at * (high - low)) / 256;
}

const SAMPLE = 1 << 18;

/** Indices of at most about 262,144 pixels of those that show the smear. */
function sampled(count, hidden) {
  const step = Math.max(1, Math.floor(count / SAMPLE)), chosen = new Int32Array(Math.ceil(count / step));
  let found = 0;
  for (let i = 0; i < count; i += step) if (!hidden?.[i]) chosen[found++] = i;
  return chosen.subarray(0, found);
}

/** The values at these indices, each times `step` and `offset` farther. */
function picked(values, at, step = 1, offset = 0) {
  const found = new Float32Array(at.length);
  for (let k = 0; k < at.length; k++) found[k] = values[step * at[k] + offset];
  return found;
}

export function median(values) {
  return quantile(new Float32Array(values).sort(), 0.5);
}

/** Median, and the lesser median deviation of its two sides as a standard deviation. */
export function middleAndSpread(values, hidden) {
  const some = picked(values, sampled(values.length, hidden)).sort(), middle = quantile(some, 0.5);
  const below = some.filter((value) => value <= middle), above = some.filter((value) => value >= middle);
  return [middle, 1.4826 * Math.min(middle - quantile(below, 0.5), quantile(above, 0.5) - middle) + 1e-6];
}

/**
 * Optical density over the light of the ground, smoothed: along purple (R + G - 2 B) and red (G + B).
 * @param {Uint8Array} pixels [h, w, 3]
 * @param {?Uint8Array} hidden [h, w], what shows no smear: no level is estimated from it, and its density is 0
 */
export function densities(pixels, w, h, sigma, hidden) {
  const some = sampled(w * h, hidden), level = otsu(picked(pixels, some, 3, 1));
  const bright = some.filter((i) => pixels[3 * i + 1] >= level);
  const tables = [0, 1, 2].map((c) => {
    const light = median(picked(pixels, bright, 3, c));
    return Float32Array.from({ length: 256 }, (_, value) => -Math.log10((value + 1) / (light + 1)));
  });
  const soft = blurredBytes(pixels, w, h, sigma), purple = new Float32Array(w * h), red = new Float32Array(w * h);
  for (let i = 0; i < w * h; i++) {
    if (hidden?.[i]) continue;
    const r = tables[0][soft[3 * i]], g = tables[1][soft[3 * i + 1]], b = tables[2][soft[3 * i + 2]];
    purple[i] = r + g - 2 * b;
    red[i] = g + b;
  }
  const [middle, spread] = middleAndSpread(purple, hidden);
  return { purple, red, middle, spread };
}

// -- masks: Uint8Array [h, w] of 0 and 1; beyond the edge nothing is set -------------------------------------------------

const pixelsOf = (radius) => Math.max(1, halfEven(radius));

/**
 * Squared distance of each pixel to the nearest one that is set, Infinity where none is: lower envelopes of parabolas
 * (Felzenszwalb & Huttenlocher 2012).
 * @param {?Int32Array} nearest takes the index of that pixel
 */
export function squaredDistances(mask, w, h, nearest = null) {
  const none = w + h + 2, away = new Int32Array(w * h), out = new Float64Array(w * h);
  const place = new Int32Array(w), from = new Float64Array(w + 1), line = new Float64Array(w);
  for (let x = 0; x < w; x++) { // along columns, negative where it lies above
    let far = -none;
    for (let y = 0, i = x; y < h; y++, i += w) away[i] = far = mask[i] ? 0 : Math.max(far - 1, -none);
    far = none;
    for (let y = h - 1, i = y * w + x; y >= 0; y--, i -= w) {
      far = mask[i] ? 0 : Math.min(far + 1, none);
      if (far < -away[i]) away[i] = far;
    }
  }
  for (let y = 0; y < h; y++) {
    let top = -1;
    for (let x = 0; x < w; x++) {
      const deep = away[y * w + x];
      if (Math.abs(deep) >= none) continue;
      line[x] = deep * deep;
      let start = -Infinity;
      for (; top >= 0; top--) {
        const p = place[top];
        start = (line[x] + x * x - line[p] - p * p) / (2 * (x - p));
        if (start > from[top]) break;
      }
      place[++top] = x;
      from[top] = top ? start : -Infinity;
    }
    if (top < 0) {
      out.fill(Infinity, y * w, y * w + w);
      continue;
    }
    for (let x = 0, k = 0; x < w; x++) {
      while (k < top && from[k + 1] < x) k++;
      out[y * w + x] = (x - place[k]) ** 2 + line[place[k]];
      if (nearest) nearest[y * w + x] = (y + away[y * w + place[k]]) * w + place[k];
    }
  }
  return out;
}

/** Everything within a disc of this radius of the mask. */
export function grown(mask, w, h, radius) {
  const reach = pixelsOf(radius) ** 2 + 0.5;
  return Uint8Array.from(squaredDistances(mask, w, h), (d) => (d <= reach ? 1 : 0));
}

/** Where a disc of this radius fits into the mask. */
function eroded(mask, w, h, radius) {
  const wide = w + 2, outside = new Uint8Array(wide * (h + 2)).fill(1), reach = pixelsOf(radius) ** 2 + 0.5;
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) if (mask[y * w + x]) outside[(y + 1) * wide + x + 1] = 0;
  const far = squaredDistances(outside, wide, h + 2), out = new Uint8Array(w * h);
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) out[y * w + x] = far[(y + 1) * wide + x + 1] > reach ? 1 : 0;
  return out;
}

/** The mask without parts too narrow for a disc of this radius. */
export function opened(mask, w, h, radius) {
  return grown(eroded(mask, w, h, radius), w, h, radius);
}

/** The mask with gaps too narrow for a disc of this radius filled. */
export function closed(mask, w, h, radius) {
  const margin = pixelsOf(radius) + 1, { mask: wide, w: across, h: down } = padded(mask, w, h, margin, false);
  return unpadded(eroded(grown(wide, across, down, radius), across, down, radius), w, h, margin);
}

/** The mask in a margin, which is empty or goes on with what lies at the edge. */
export function padded(mask, w, h, margin, goesOn) {
  const across = w + 2 * margin, down = h + 2 * margin, wide = new Uint8Array(across * down);
  const near = (i, count) => Math.min(Math.max(i, 0), count - 1);
  for (let y = 0; y < down; y++)
    for (let x = 0; x < across; x++) {
      const u = x - margin, v = y - margin;
      if (goesOn || (u >= 0 && v >= 0 && u < w && v < h)) wide[y * across + x] = mask[near(v, h) * w + near(u, w)];
    }
  return { mask: wide, w: across, h: down };
}

/** What lies within the margin. */
export function unpadded(wide, w, h, margin) {
  const out = new Uint8Array(w * h);
  for (let y = 0; y < h; y++) out.set(wide.subarray((y + margin) * (w + 2 * margin) + margin, (y + margin) * (w + 2 * margin) + margin + w), y * w);
  return out;
}

/** The mask with its holes of up to this many pixels closed; a hole ends where the mask touches at corners. */
export function filled(mask, w, h, most = Infinity) {
  const out = Uint8Array.from(mask), seen = Uint8Array.from(mask), stack = new Int32Array(w * h), hole = [];
  for (let start = 0; start < mask.length; start++) {
    if (seen[start]) continue;
    let depth = 0, open = false;
    hole.length = 0;
    stack[depth++] = start;
    seen[start] = 1;
    while (depth) {
      const at = stack[--depth], x = at % w;
      hole.push(at);
      if (!x || x === w - 1 || at < w || at >= w * (h - 1)) open = true;
      for (const next of [x ? at - 1 : -1, x < w - 1 ? at + 1 : -1, at - w, at + w])
        if (next >= 0 && next < mask.length && !seen[next]) {
          seen[next] = 1;
          stack[depth++] = next;
        }
    }
    if (!open && hole.length <= most) for (const at of hole) out[at] = 1;
  }
  return out;
}
