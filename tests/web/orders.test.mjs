import assert from "node:assert/strict";
import { test } from "node:test";
import { inLane, moved, nextUnread, placesOnAxis, rowsInSight, shareWords, stakesWords, tally } from "../../src/leukoscope/web/orders.mjs";
import { nextRequest } from "../../src/leukoscope/web/outbox.mjs";

const labels = new Map([["blast", { blast: true, counts: true }], ["normal", { blast: false, counts: true }], ["smudge", { blast: false, counts: false }]]);
const cell = (id, place, probability, doubt, label = null, decision = probability > 0.5 ? "blast" : "normal", gate = "passed") =>
  ({ id, place, probability, doubt, label, decision, gate, reason: null });
const cells = [cell("a", 1, 0.9, 0.1), cell("b", 2, 0.2, 0.2, "blast"), cell("c", 3, 0.6, 0.4, "smudge"), cell("d", 4, null, 0.5, null, "refer", "turned down")];

test("lanes and counts", () => {
  assert.equal(inLane(cells, "unread").length, 2);
  assert.equal(inLane(cells, "smudge").length, 1);
  const { counts, read, white, blasts } = tally(cells, labels);
  assert.deepEqual([counts.get("blast"), read, white, blasts], [1, 2, 1, 1]);
});

test("the next that was not read, round to the beginning", () => {
  assert.equal(nextUnread(cells, 0), 3);
  assert.equal(nextUnread(cells, 3), 0);
  assert.equal(nextUnread(cells.filter((each) => each.label), 0), -1);
  assert.equal(nextUnread([], -1), -1);
});

test("rows in sight are a screen and two more, however many cells there are", () => {
  const { first, last, rows } = rowsInSight(50_000, 800, 100, 10_000, 10);
  assert.deepEqual([first, last, rows], [498, 510, 1000]);
  assert.deepEqual(rowsInSight(0, 800, 100, 0, 10), { first: 0, last: 0, rows: 0 });
});

test("a share in words", () => {
  assert.equal(shareWords(null), "nothing counted yet");
  assert.match(shareWords({ value: 0.052, low: 0.01, high: 0.2, cells: 40, to_halve: 120 }), /^5\.2 % blasts of 40 \[1\.0 to 20\]; about 120 more/);
});

test("what could still turn the statement, in words", () => {
  const read = (cells, turns_to = ["refer"]) => ({ statement: "blasts likely", cells, turns_to: cells ? turns_to : [] });
  assert.equal(stakesWords(null, 3), "");
  assert.equal(stakesWords(read(1), 3), 'as read: blasts likely; called otherwise, one cell not read yet would make it "refer"');
  assert.equal(stakesWords(read(2, ["refer", "x"]), 3), 'as read: blasts likely; called otherwise, any one of 2 cells not read yet would make it "refer" or "x"');
  assert.equal(stakesWords(read(0), 3), "as read: blasts likely; no single cell not read yet would change it");
  assert.equal(stakesWords(read(0), 0), "as read: blasts likely");
});

test("readings of one case travel together, in their order; all else alone", () => {
  const act = (kind, number, of = "x") => ({ kind, number, case: of });
  assert.equal(nextRequest([]).length, 0);
  assert.deepEqual(nextRequest([act("read", 1), act("read", 2), act("withdraw", 3), act("read", 4)]).map((each) => each.number), [1, 2]);
  assert.deepEqual(nextRequest([act("withdraw", 1), act("read", 2)]).map((each) => each.number), [1]);
  assert.deepEqual(nextRequest([act("read", 1), act("read", 2, "y")]).map((each) => each.number), [1]);
  assert.equal(nextRequest(Array.from({ length: 500 }, (_, number) => act("read", number))).length, 100);
});

test("a label moves among the others, and nothing is lost", () => {
  assert.deepEqual(moved(["a", "b", "c"], 2, -1), ["a", "c", "b"]);
  assert.deepEqual(moved(["a", "b", "c"], 0, 1), ["b", "a", "c"]);
});

test("an axis has round places within its ends", () => {
  assert.deepEqual(placesOnAxis(0.6, 1), [0.6, 0.7, 0.8, 0.9, 1]);
  assert.deepEqual(placesOnAxis(0.3, 1), [0.4, 0.6, 0.8, 1]);
});
