// Models: adapted to what was signed, tried on it, activated; and how readers agree.
import { get, post } from "./api.mjs";
import { dialog, el, field, fill, form, svg, table, told } from "./dom.mjs";
import { placesOnAxis } from "./orders.mjs";

/** Wait until a piece of work is done, and show how far it is; what it gave. */
async function finished(app, begun, show) {
  const { job } = begun;
  const words = el("span", {}, "waits for its turn");
  const bar = /** @type {HTMLProgressElement} */ (el("progress", { "aria-label": "how far the work is" }));
  show(el("p", { class: "working" }, bar, words));
  const began = Date.now();
  for (;;) {
    if (app.left) return new Promise(() => {});  // nobody looks any more: it is done all the same
    const found = await get(`/jobs/${job}`);
    if (found.state === "done") return { ...found.result, job };
    if (found.state === "failed") throw new Error(found.error);
    const { progress } = found;
    if (progress?.of) { bar.max = progress.of; bar.value = progress.done; } else bar.removeAttribute("value");
    const doing = found.state === "running" ? progress?.words || "at work" : "waits for its turn";
    words.textContent = `${doing}${progress?.of ? `, ${progress.done} of ${progress.of}` : ""}, ${Math.round((Date.now() - began) / 1000)} s`;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

const rounded = (value, digits = 3) => (value === null || value === undefined ? "not defined" : value.toFixed(digits));
const between = (each) => `${rounded(each.value)}${each.low === null ? "" : ` [${rounded(each.low)} to ${rounded(each.high)}]`}`;

/** AUC over the number of labels, as a drawing: the mean of draws, their range, and the model as it was. */
export function curveDrawing(curve, before) {
  const [width, height, left, right, top, bottom] = [460, 240, 46, 14, 14, 40];
  const low = Math.floor(10 * Math.min(...curve.map((each) => each.least), before ?? 1)) / 10;
  const last = curve.at(-1).cells;
  const x = (cells) => left + ((width - left - right) * cells) / last;
  const y = (auc) => height - bottom - ((height - top - bottom) * (auc - low)) / (1 - low || 1);
  const path = (points) => points.map(([a, b]) => `${a.toFixed(1)},${b.toFixed(1)}`).join(" ");
  const ticks = placesOnAxis(low, 1);
  return el("figure", { class: "curve" }, svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `AUC on cells left out of the fit, by number of labels: ${curve.map((each) => `${each.cells} labels ${rounded(each.auc)}`).join(", ")}${before === null ? "" : `; before, ${rounded(before)}`}` },
  ticks.map((tick) => svg("line", { class: "rule", x1: left, x2: width - right, y1: y(tick), y2: y(tick) })),
  ticks.map((tick) => svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, tick.toFixed(1))),
  svg("polygon", { class: "band", points: path([...curve.map((each) => [x(each.cells), y(each.least)]), ...[...curve].reverse().map((each) => [x(each.cells), y(each.most)])]) }),
  before === null ? [] : [svg("line", { class: "before", x1: left, x2: width - right, y1: y(before), y2: y(before) }), svg("text", { class: "before", x: left + 4, y: y(before) - 5 }, `before ${rounded(before)}`)],
  svg("polyline", { class: "mean", points: path(curve.map((each) => [x(each.cells), y(each.auc)])) }),
  curve.map((each) => svg("circle", { cx: x(each.cells), cy: y(each.auc), r: 4 }, svg("title", {}, `${each.cells} labels: ${rounded(each.auc)}, ${rounded(each.least)} to ${rounded(each.most)}`))),
  curve.map((each) => svg("text", { x: x(each.cells), y: height - bottom + 16, "text-anchor": "middle" }, String(each.cells))),
  svg("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, "labelled cells in the fit")),
  el("figcaption", {}, "AUC on cells left out of the fit: mean of draws and their range. ", before === null ? "" : "Dashed: the model as it was."));
}

/** What an adaptation measured: figures before and after, the steps, the curve. */
function fitWords({ fit, said }) {
  const names = { auc: "AUC", log_loss: "log loss", brier: "Brier score", sensitivity: "blasts called blast", specificity: "others not called blast" };
  return [
    el("p", {}, `${fit.cells} cells, ${fit.blasts} of them blasts; left out of the fit in turn: ${fit.left_out} ${fit.by_patient ? "patients" : "parts of the cells. No patient is known: this says nothing of new ones"}.`),
    fit.forced ? el("p", { class: "beware" }, "Nothing was clearly gained on cells left out of the fit.") : null,
    fit.curve.length ? curveDrawing(fit.curve, fit.before.auc?.value ?? null) : null,
    table(["", "Before", "After", "Gain"], Object.keys(fit.before).map((name) => el("tr", {}, el("th", { scope: "row" }, names[name] || name),
      [fit.before, fit.after, fit.gain].map((each) => el("td", {}, between(each[name]))))), "figures on cells left out of the fit"),
    el("details", {}, el("summary", {}, "All that was said"), el("pre", { tabindex: 0 }, said.join("\n"))),
  ];
}

const percent = (share) => (share ? `${(100 * share.value).toFixed(1)} % [${(100 * share.low).toFixed(0)} to ${(100 * share.high).toFixed(0)}], ${share.cells} cells of ${share.subjects} subjects` : "none");

/** What a trial found: figures over all signed cases and the fixed set, and the statements that would change. */
async function trialWords(tried) {
  const orders = await Promise.all(tried.changed.map(async (each) => {
    try { return (await get(`/cases/${each.case}`)).order_no; } catch { return each.case.slice(0, 8); }
  }));
  const rows = [["All signed cases", tried.figures.all], ["Fixed set", tried.figures.fixed_set]];
  return [
    el("h2", {}, `${tried.cases} signed cases were asked again: ${tried.changed.length} statements would change`),
    table(["", "Blasts called blast, before", "after", "Others called blast, before", "after"], rows.map(([name, each]) => el("tr", {}, el("th", { scope: "row" }, name),
      [each.before.sensitivity, each.after.sensitivity, each.before.false_alarms, each.after.false_alarms].map((share) => el("td", {}, percent(share))))), "before and after"),
    tried.fixed_set.length ? null : el("p", { class: "beware" }, "There is no fixed set: mark signed cases as such, so that each new model is measured on the same cases."),
    tried.changed.length ? table(["Case", "Statement now", "It would be", "Why"], tried.changed.map((each, at) => el("tr", {},
      el("td", {}, el("a", { href: `#/case/${each.case}` }, orders[at])), el("td", {}, each.before || "no statement"), el("td", {}, each.after || "no statement"), el("td", {}, each.words_after || ""))), "statements that would change") : null,
  ];
}

export async function modelsPage(app) {
  const said = el("div", { role: "status", class: "said" });
  const say = (...words) => fill(said, ...words);
  const attempt = async (act) => { try { await act(); } catch (error) { say(el("p", { class: "error" }, told(error))); } };
  const showFit = (made) => say(el("h2", {}, made.bundle === null ? "No model was made: nothing was clearly gained on cells left out of the fit" : made.fresh ? "A new model, on trial" : "What the adaptation measured"),
    ...fitWords(made), made.bundle === null ? el("button", { type: "button", onclick: () => attempt(() => adapt(true)) }, "Make it all the same, to try it") : null);
  const adapt = async (force) => {
    const made = await finished(app, await post("/adaptations", { force }), say);
    await list();
    showFit({ ...made, fresh: true });
  };
  const activate = (bundle) => {
    const { box } = dialog(`Let ${bundle.name} answer`, el("p", {}, "Your password again: this is a signature. Cases that were answered stay as they are."),
      form([field("Password", "password", { type: "password", autocomplete: "current-password" })], "Activate", async (values) => {
        await post(`/bundles/${bundle.id}/activate`, values, { quiet: true });
        box.close();
        await list();
        say(el("p", {}, `${bundle.name} answers from now on.`));
      }));
  };
  const manages = app.may("manager");
  const shown = el("div");
  const list = async () => {
    const { bundles } = await get("/bundles");
    fill(shown, table(["Name", "Version", "State", "Digest", ""], bundles.map((each) => el("tr", {}, el("td", {}, each.name), el("td", {}, each.version), el("td", {}, el("span", { class: `state ${each.state}` }, each.state)), el("td", {}, el("code", {}, each.digest.slice(0, 16))),
      el("td", {}, el("div", { class: "row" }, manages && each.state !== "active" ? [
        el("button", { type: "button", onclick: () => attempt(async () => say(...await trialWords(await finished(app, await post(`/bundles/${each.id}/trial`), say)))) }, "Try on signed cases"),
        el("button", { type: "button", onclick: () => activate(each) }, "Activate")] : null,
      each.note.startsWith("{") ? el("button", { type: "button", onclick: () => showFit(JSON.parse(each.note)) }, "Figures") : null)))), "models"));
  };
  await list();
  const agreement = manages ? await get("/agreement") : null;
  fill(app.main, el("section", {}, el("div", { class: "tools" }, el("h1", {}, "Models"),
    manages ? el("button", { type: "button", class: "main", onclick: () => attempt(() => adapt(false)) }, "Adapt to what was signed") : null,
    manages ? el("button", { type: "button", onclick: () => attempt(async () => {
      const done = await finished(app, await post("/exports"), say);
      say(el("p", {}, `${done.cells} cells of ${done.cases} cases: `), el("div", { class: "row" }, ["manifest.csv", "readings.csv", "coco.json", "review.json"].map((name) => el("a", { class: "button", href: `./api/v1/exports/${done.job}/${name}`, download: name }, name))),
        el("p", {}, "The pictures lie beside them in the folder of the workbench: ", el("code", {}, `exports/${done.job}`)));
    }) }, "Export what was signed") : null),
  said, shown, agreement ? readersWords(agreement) : null));
}

/** Kappa of each two readers, and how far each goes with a suggestion in sight. */
function readersWords(agreement) {
  const number = (value) => (value === null ? "not defined" : value.toFixed(2));
  const ends = (each) => (each.low === null ? "" : ` [${each.low.toFixed(2)} to ${each.high.toFixed(2)}]`);
  return [el("h2", {}, "Readers"), agreement.pairs.length || agreement.anchoring.length ? null : el("p", {}, "No case was read to its end yet."),
    el("ul", {}, agreement.pairs.map((each) => el("li", {}, `${each.readers.join(" and ")}: kappa of blast or not ${number(each.value)}${ends(each)}, ${each.cells} cells of ${each.subjects} subjects`)),
      agreement.anchoring.map((each) => el("li", {}, `${each.reader}: calls cells as the model does ${each.value === null ? "(not both with and without its suggestion in sight yet)" : `${Math.abs(100 * each.value).toFixed(0)} points ${each.value < 0 ? "less" : "more"} often with its suggestion in sight${ends(each)}`}`)))];
}
