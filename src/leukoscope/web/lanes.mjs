// The laboratory's own list of labels, which its manager changes: words, keys, order, and what each means.
import { get, post } from "./api.mjs";
import { el, fill, told } from "./dom.mjs";
import { moved } from "./orders.mjs";

const MEANINGS = [["normal", "white cell, not a blast"], ["blast", "blast, for the statement"], ["none", "not counted"]];
const meaningOf = (label) => (label.blast ? "blast" : label.counts ? "normal" : "none");

export async function lanesPage(app) {
  const { labels, version, keys } = await get("/labels");
  const taken = Object.keys(keys);
  let lanes = labels;
  const rows = el("tbody");
  const said = el("p", { role: "status" });
  const input = (lane, name, words, given) => el("input", { value: lane[name], "aria-label": `${words} of ${lane.words || "the new label"}`, oninput: (event) => { lane[name] = event.target.value; }, ...given });
  const draw = () => fill(rows, lanes.map((lane, at) => {
    const fixed = ["blast", "normal"].includes(lane.name);
    const move = (by, sign, words) => el("button", { type: "button", "aria-label": `${words}: ${lane.words || "the new label"}`, disabled: at + by < 0 || at + by >= lanes.length,
      onclick: () => { lanes = moved(lanes, at, by); draw(); rows.children[at + by].querySelector("button:not(:disabled)").focus(); } }, sign);
    return el("tr", {}, el("td", {}, input(lane, "words", "words", { maxlength: 40, required: true })),
      el("td", {}, input(lane, "key", "key", { maxlength: 1, class: "key", disabled: !lane.offered })),
      el("td", {}, el("select", { "aria-label": `meaning of ${lane.words || "the new label"}`, disabled: fixed, onchange: (event) => { lane.blast = event.target.value === "blast"; lane.counts = event.target.value !== "none"; } },
        MEANINGS.map(([value, words]) => el("option", { value, selected: value === meaningOf(lane) }, words)))),
      el("td", {}, el("input", { type: "checkbox", checked: lane.offered, disabled: fixed, "aria-label": `${lane.words || "the new label"} is a lane`, onchange: (event) => { lane.offered = event.target.checked; if (!lane.offered) lane.key = ""; draw(); rows.children[at].querySelector("[type=checkbox]").focus(); } })),
      el("td", {}, el("div", { class: "row" }, move(-1, "↑", "up"), move(1, "↓", "down"))));
  }));
  const save = async () => {
    section.inert = true;  // what was typed now would be drawn over
    const named = lanes.map((lane) => ({ ...lane, words: lane.words.trim(), name: lane.name || lane.words.trim().toLowerCase() }));
    try {
      await post("/labels", { labels: named, version });
      await lanesPage(app);
      app.say("The labels are changed; each reader has them with the next case that is opened.");
    } catch (error) { fill(said, el("span", { class: "error" }, told(error))); } finally { section.inert = false; }
  };
  draw();
  const section = el("section", {}, el("div", { class: "tools" }, el("h1", {}, "Labels")),
    el("p", {}, "What a cell can be called, in the order of the lanes. What a label means, blast or not, is what the statement counts: it cannot be changed once a cell was called so. " +
      "A label that is no lane any more keeps its readings. Taken by the page itself: ", taken.filter((key) => key.length === 1).map((key) => [el("kbd", {}, key), " "]).flat(), "."),
    el("div", { class: "table", tabindex: 0, role: "region", "aria-label": "labels" }, el("table", {}, el("thead", {}, el("tr", {}, ["Words", "Key", "Means", "Lane", "Order"].map((words) => el("th", { scope: "col" }, words)))), rows)),
    el("div", { class: "row" }, el("button", { type: "button", onclick: () => { lanes = [...lanes, { name: "", words: "", key: "", counts: true, blast: false, offered: true }]; draw(); /** @type {HTMLElement} */ (rows.lastElementChild.querySelector("input")).focus(); } }, "New label"),
      el("button", { type: "button", class: "main", onclick: save }, "Save the labels")), said);
  fill(app.main, section);
}
