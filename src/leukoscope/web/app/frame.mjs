// From pixels to the frame that the network sees: integers only, the same bytes as leukoscope.cells.frame.frame_cell.

import { Fault } from "./faults.mjs";
import { halfEven } from "./raster.mjs";

export const NEAR_BLACK = 10; // a pixel is surround where no channel exceeds this level
export const MIN_AREA = 200; // pixels
export const MAX_BORDER = 0.5; // share of the outermost pixels that a cell may touch
const FRAME_SIZE = 450;

/**
 * Label the 8-connected components of a mask.
 * @param {Uint8Array} lit [height * width], not 0 where set
 * @returns {{labels: Int32Array, areas: number[], boxes: number[][], firsts: number[]}} label 0 is outside; boxes are
 *   [left, top, right, bottom], the ends exclusive; firsts say which component a scan by squares of 2 x 2 meets first
 */
export function components(lit, width, height) {
  const labels = new Int32Array(width * height);
  const stack = new Int32Array(width * height);
  const areas = [0], boxes = [[0, 0, 0, 0]], firsts = [0];
  const blocks = (width + 1) >> 1;
  for (let start = 0; start < lit.length; start++) {
    if (!lit[start] || labels[start]) continue;
    const label = areas.length;
    let depth = 0, area = 0, left = width, top = height, right = 0, bottom = 0, first = Infinity;
    stack[depth++] = start;
    labels[start] = label;
    while (depth) {
      const at = stack[--depth], x = at % width, y = (at - x) / width;
      area++;
      if (x < left) left = x;
      if (x >= right) right = x + 1;
      if (y < top) top = y;
      if (y >= bottom) bottom = y + 1;
      first = Math.min(first, (y >> 1) * blocks + (x >> 1));
      for (let v = Math.max(y - 1, 0); v <= Math.min(y + 1, height - 1); v++)
        for (let u = Math.max(x - 1, 0); u <= Math.min(x + 1, width - 1); u++) {
          const next = v * width + u;
          if (lit[next] && !labels[next]) {
            labels[next] = label;
            stack[depth++] = next;
          }
        }
    }
    areas.push(area);
    boxes.push([left, top, right, bottom]);
    firsts.push(first);
  }
  return { labels, areas, boxes, firsts };
}

/** The component of the largest area; of several alike, the one a scan by squares of 2 x 2 meets first. 0: none. */
export function largest({ areas, firsts }) {
  let best = 0;
  for (let label = 1; label < areas.length; label++)
    if (areas[label] > areas[best] || (areas[label] === areas[best] && firsts[label] < firsts[best])) best = label;
  return best;
}

/** Which pixels exceed near-black in any channel, Uint8Array [height * width], of RGB [height, width, 3]. */
export function above(rgb, count = rgb.length / 3) {
  const lit = new Uint8Array(count);
  for (let i = 0, at = 0; i < count; i++, at += 3)
    if (rgb[at] > NEAR_BLACK || rgb[at + 1] > NEAR_BLACK || rgb[at + 2] > NEAR_BLACK) lit[i] = 1;
  return lit;
}

/**
 * Centre the cell of a picture in a square frame; everything outside the cell becomes 0.
 * @param {Uint8Array} rgb [height, width, 3]
 * @param {number} size side of the frame, pixels
 * @returns {Uint8Array} [size, size, 3]
 */
export function frameCell(rgb, width, height, size) {
  if (!(width > 0 && height > 0) || rgb.length !== 3 * width * height) throw new Fault("no picture");
  const lit = above(rgb);
  let ring = 0;
  for (let x = 0; x < width; x++) ring += lit[x] + lit[(height - 1) * width + x];
  for (let y = 0; y < height; y++) ring += lit[y * width] + lit[y * width + width - 1];
  const touching = ring / (2 * (width + height));
  if (touching > MAX_BORDER)
    throw new Fault("no surround", { share: halfEven(100 * touching) });
  if (!lit.includes(1)) throw new Fault("all black");
  const box = bounds(lit, width, height);
  const cut = crop(lit, width, box);
  const across = box[2] - box[0], down = box[3] - box[1];
  const found = components(cut, across, down);
  const cell = largest(found);
  if (found.areas[cell] < MIN_AREA)
    throw new Fault("too small", { area: found.areas[cell], least: MIN_AREA });
  const [l, t, r, b] = found.boxes[cell];
  const w = r - l, h = b - t;
  if (Math.max(w, h) > 2 * Math.max(size, FRAME_SIZE))
    throw new Fault("too large", { w, h, size });
  const mask = solid(found.labels, across, cell, found.boxes[cell]);
  const [x0, fromLeft, wide] = overlap(0, w, size), [y0, fromTop, tall] = overlap(0, h, size);
  const frame = new Uint8Array(3 * size * size);
  for (let y = 0; y < tall; y++)
    for (let x = 0; x < wide; x++) {
      const u = fromLeft + x, v = fromTop + y;
      if (!mask[v * w + u]) continue;
      const from = 3 * ((box[1] + t + v) * width + box[0] + l + u), to = 3 * ((y0 + y) * size + x0 + x);
      frame[to] = rgb[from];
      frame[to + 1] = rgb[from + 1];
      frame[to + 2] = rgb[from + 2];
    }
  return frame;
}

function overlap(start, length, size) {
  const offset = Math.floor((size - length) / 2);
  return [Math.max(offset, 0), start + Math.max(-offset, 0), Math.min(length, size)];
}

/** Bounding box [left, top, right, bottom] of what is set, the ends exclusive. */
export function bounds(lit, width, height) {
  let left = width, top = height, right = 0, bottom = 0;
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at++)
      if (lit[at]) {
        if (x < left) left = x;
        if (x >= right) right = x + 1;
        if (y < top) top = y;
        bottom = y + 1;
      }
  return [left, top, right, bottom];
}

function crop(lit, width, [left, top, right, bottom]) {
  const cut = new Uint8Array((right - left) * (bottom - top));
  for (let y = top; y < bottom; y++) cut.set(lit.subarray(y * width + left, y * width + right), (y - top) * (right - left));
  return cut;
}

/** The component within its box, its holes filled: everything that a 4-connected way from outside does not reach. */
function solid(labels, width, cell, [left, top, right, bottom]) {
  const w = right - left, h = bottom - top, wide = w + 2, count = wide * (h + 2);
  const state = new Uint8Array(count); // 1: of the component, 2: reached from outside
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) if (labels[(top + y) * width + left + x] === cell) state[(y + 1) * wide + x + 1] = 1;
  const stack = new Int32Array(count);
  let depth = 1;
  state[0] = 2;
  const reach = (next) => {
    if (next < 0 || next >= count || state[next]) return;
    state[next] = 2;
    stack[depth++] = next;
  };
  while (depth) {
    const at = stack[--depth], x = at % wide;
    if (x) reach(at - 1);
    if (x < wide - 1) reach(at + 1);
    reach(at - wide);
    reach(at + wide);
  }
  const mask = new Uint8Array(w * h);
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) mask[y * w + x] = state[(y + 1) * wide + x + 1] === 2 ? 0 : 1;
  return mask;
}
