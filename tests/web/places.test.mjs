import assert from "node:assert/strict";
import { test } from "node:test";
import { barLength, fitted, zoomOfTiles, zoomedAt } from "../../src/leukoscope/web/places.mjs";

test("a picture is shown whole", () => {
  assert.deepEqual(fitted({ width: 1000, height: 400 }, 500, 400), { x: 500, y: 200, zoom: 0.49 });
});

test("what lies under the pointer stays there when one zooms", () => {
  const size = [800, 600], view = { x: 1000, y: 500, zoom: 0.5 }, pointer = [100, 450];
  const under = ({ x, y, zoom }) => [x + (pointer[0] - 400) / zoom, y + (pointer[1] - 300) / zoom];
  const next = zoomedAt(view, 3, ...pointer, size, [0.01, 8]);
  assert.equal(next.zoom, 1.5);
  for (const [one, other] of [[0, 0], [1, 1]]) assert.ok(Math.abs(under(view)[one] - under(next)[other]) < 1e-9);
  assert.equal(zoomedAt(view, 1e9, ...pointer, size, [0.01, 8]).zoom, 8);
  assert.equal(zoomedAt(view, 1e-9, ...pointer, size, [0.01, 8]).zoom, 0.01);
});

test("tiles are never coarser than the screen", () => {
  assert.equal(zoomOfTiles(9, 1), 8);
  assert.equal(zoomOfTiles(9, 4), 8);  // there are none finer
  assert.equal(zoomOfTiles(9, 0.5), 7);
  assert.equal(zoomOfTiles(9, 0.51), 8);
  assert.equal(zoomOfTiles(9, 1e-6), 0);
});

test("a scale bar has a round length that fits", () => {
  assert.deepEqual(barLength(0.1), { length: 100, words: "10 µm" });
  assert.deepEqual(barLength(1), { length: 100, words: "100 µm" });
  assert.equal(barLength(12).words, "1 mm");
  for (let um = 0.001; um < 1000; um *= 1.07) {
    const { length } = barLength(um);
    assert.ok(length >= 60 && length <= 151, `${um}: ${length}`);
  }
});
