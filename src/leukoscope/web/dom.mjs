// Elements from values, without markup in strings: nothing that comes from elsewhere is ever read as HTML.

/** @param {string} tag @param {Record<string, any>} [given] @param {...any} inner @returns {HTMLElement} */
export function el(tag, given = {}, ...inner) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (name === "data") Object.assign(made.dataset, value);
    else if (["value", "checked", "disabled", "selected", "draggable", "hidden", "required"].includes(name)) made[name] = value;
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...inner.flat().filter((each) => each !== null && each !== undefined && each !== false));
  return made;
}

/** An element of a drawing. @param {string} tag @param {Record<string, any>} [given] @param {...any} inner */
export function svg(tag, given = {}, ...inner) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given)) made.setAttribute(name, String(value));
  made.append(...inner.flat());
  return made;
}

/** Put these into an element, in the place of what was there. */
export function fill(where, ...inner) {
  where.replaceChildren(...inner.flat().filter((each) => each !== null && each !== undefined && each !== false));
  return where;
}

/** A table that scrolls by itself where it is wider than the page. Cells that are rows' heads are made by the caller. */
export function table(heads, rows, words) {
  return el("div", { class: "table", tabindex: 0, role: "region", "aria-label": words }, el("table", {},
    el("thead", {}, el("tr", {}, heads.map((head) => (head ? el("th", { scope: "col" }, head) : el("td", {}))))),
    el("tbody", {}, rows)));
}

/** A form that calls `send` with its values; what goes wrong is said below it. */
export function form(fields, verb, send, extra = {}) {
  const said = el("p", { class: "error", role: "alert" });
  const button = el("button", { type: "submit", class: "main" }, verb);
  const made = el("form", { ...extra, onsubmit: async (event) => {
    event.preventDefault();
    said.textContent = "";
    button.disabled = true;
    const values = {};
    for (const field of made.elements) {
      if (!field.name) continue;
      if (field.type === "checkbox") {
        if (field.value && field.value !== "on") { (values[field.name] ??= []); if (field.checked) values[field.name].push(field.value); }
        else values[field.name] = field.checked;
      } else values[field.name] = field.value;
    }
    try { await send(values, made); } catch (error) { said.textContent = told(error); } finally { button.disabled = false; }
  } }, ...fields, el("div", { class: "row" }, button), said);
  return made;
}

/** A labelled input. */
export function field(words, name, given = {}) {
  return el("label", { class: "field" }, el("span", {}, words), el("input", { name, required: true, ...given }));
}

/** A labelled choice among [value, words]. */
export function choice(words, name, options, chosen, given = {}) {
  return el("label", { class: "field" }, el("span", {}, words), el("select", { name, ...given },
    options.map(([value, shown]) => el("option", { value, selected: value === chosen }, shown))));
}

/** What went wrong, and what to do, in a line. */
export function told(error) {
  const parts = [error.message, error.remedy].filter(Boolean);
  return parts.join("; ") || "something went wrong";
}

/** Ask or tell in a dialog that keyboard and screen reader know; resolves when it is closed. */
export function dialog(title, ...inner) {
  const closer = el("button", { type: "button", class: "close", "aria-label": "close", onclick: () => box.close() }, "×");
  const box = /** @type {HTMLDialogElement} */ (el("dialog", { "aria-label": title }, closer, el("h2", {}, title), ...inner));
  document.body.append(box);
  const done = new Promise((resolve) => box.addEventListener("close", () => { box.remove(); resolve(box.returnValue); }));
  box.showModal();
  return { box, done };
}
