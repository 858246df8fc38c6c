// The pages beside the review: cases and their pictures, readers who differ, accounts, models, the record.
import { get, post } from "./api.mjs";
import { choice, dialog, el, field, fill, form, table, told } from "./dom.mjs";
import { Pictures } from "./pictures.mjs";

const ROLES = ["viewer", "reader", "signer", "manager", "auditor", "admin"];

function checkboxes(name, values, chosen) {
  return el("fieldset", {}, el("legend", {}, "Roles"), values.map((value) => el("label", { class: "check" }, el("input", { type: "checkbox", name, value, checked: chosen.includes(value) }), value)));
}

export function firstPage(app, token) {
  fill(app.main, el("section", { class: "narrow" }, el("h1", {}, "The first account"),
    el("p", {}, "It makes all others. Give it further roles if one person does everything here."),
    form([field("Login", "login", { autocomplete: "username" }), field("Your name, as it is printed", "name", { autocomplete: "name" }),
      field("Password, at least 10 characters", "password", { type: "password", minlength: 10, autocomplete: "new-password" }),
      checkboxes("roles", ROLES.filter((role) => role !== "admin"), ["signer", "manager", "auditor"])],
    "Make the account", async (values) => {
      const person = await post("/first", { ...values, token, roles: values.roles || [] }, { quiet: true });
      app.became(person);
      location.hash = "#/";
    })));
}

export async function casesPage(app) {
  let wanted = "";
  let drawn = "";
  const list = el("div");
  const draw = async () => {
    const asked = wanted;
    const { cases } = await get(`/cases?q=${encodeURIComponent(asked)}`);
    if (asked !== wanted) return;  // typed on meanwhile: the answer to that comes, too
    if (drawn === JSON.stringify(cases)) return;  // whoever stands on a link is not thrown off it
    drawn = JSON.stringify(cases);
    fill(list, table(["Order", "Subject", "State", "Cells", "Pictures", "Protocol"], cases.map((each) => el("tr", {},
        el("td", {}, el("a", { href: `#/case/${each.id}` }, each.order_no)), el("td", {}, each.subject),
        el("td", {}, el("span", { class: `state ${each.state}` }, each.state), each.version > 1 ? ` v${each.version}` : ""),
        el("td", {}, String(each.cells)), el("td", {}, `${each.pictures}${each.waiting ? `, ${each.waiting} wait` : ""}${each.failed ? `, ${each.failed} failed` : ""}`),
        el("td", {}, `${each.readers === 2 ? "two readers" : "one reader"}${each.blind ? ", blind" : ""}`))), "cases"),
    cases.length ? null : el("p", {}, "There are no cases."));
  };
  const search = el("input", { type: "search", "aria-label": "search", placeholder: "order or subject", oninput: async (event) => { wanted = event.target.value; await draw(); } });
  fill(app.main, el("section", {}, el("div", { class: "tools" }, el("h1", {}, "Cases"), search,
    app.may("reader") || app.may("manager") ? el("button", { type: "button", class: "main", onclick: () => newCase(app, draw) }, "New case") : null), list));
  await draw();
  const timer = setInterval(() => { if (app.left) clearInterval(timer); else draw().catch(() => {}); }, 4000);
}

async function newCase(app, done) {
  const { slides } = await get("/slides");
  if (app.left) return;
  const usable = slides.filter((each) => !each.refused), refused = slides.filter((each) => each.refused);
  const pictures = new Pictures();
  const id = crypto.randomUUID();
  const { box } = dialog("New case", form([
    field("Order number", "order_no"), field("Subject (a pseudonym, no name)", "subject"),
    choice("Readers", "readers", [["1", "one"], ["2", "two, apart from each other"]], "1"),
    el("label", { class: "check" }, el("input", { type: "checkbox", name: "blind" }), "blind: no suggestions until one has read"),
    field("White cells to count", "target", { type: "number", value: "100", min: 1, max: 100000 }),
    field("Scale in µm per pixel, if known", "um_per_px", { type: "number", step: "any", required: false, min: 0.006, max: 4.9 }), pictures.area,
    slides.length ? choice("A slide on the server", "slide", [["", "none"], ...usable.map((each) => [each.name, `${each.name}: ${each.width} × ${each.height}, ${each.cells} cells`])], "") : null,
    refused.length ? el("ul", { class: "faults" }, refused.map((each) => el("li", {}, `${each.name}: ${each.refused}`))) : null].filter(Boolean),
  "Make it and send the pictures", async (values) => {
    await post("/cases", { id, order_no: values.order_no, subject: values.subject, readers: Number(values.readers), blind: values.blind, target: Number(values.target), um_per_px: values.um_per_px ? Number(values.um_per_px) : null });
    if (values.slide) await post(`/cases/${id}/slides`, { name: values.slide });
    const bad = await pictures.send(id);
    await done();
    if (!bad) { box.close(); location.hash = `#/case/${id}`; }
  }), pictures.said);
}

export async function differingPage(app, id) {
  const [{ labels }, about] = await Promise.all([get("/labels"), get(`/cases/${id}`)]);
  const words = new Map(labels.map((label) => [label.name, label.words]));
  const { cells } = await get(`/cases/${id}/differing`);
  let left = cells.length;
  const head = el("h1"), none = el("p", {}, "There is nothing left to decide.");
  const count = () => {
    head.textContent = `Case ${about.order_no}: ${left} cells on which readers differ`;
    none.hidden = left > 0;
  };
  count();
  fill(app.main, el("section", {}, el("div", { class: "tools" }, head, el("a", { class: "button", href: `#/case/${id}` }, "Back to the case")),
    el("div", { class: "differing" }, cells.map((cell) => {
      const article = el("article", {},
        el("img", { src: `./api/v1/cells/${cell.id}/frame.jpg`, alt: "the cell", onerror: (event) => { event.target.onerror = null; event.target.src = `./api/v1/cells/${cell.id}/small.jpg`; } }),
        el("ul", {}, cell.readings.map((reading) => el("li", {}, `${reading.reader}: ${words.get(reading.label)}`))),
        form([choice("It is", "label", labels.filter((label) => label.offered).map((label) => [label.name, label.words]), cell.readings[0]?.label), field("Because", "reason", {})], "Decide",
          async (values) => {
            await post(`/cases/${id}/adjudications`, { cell: cell.id, ...values });
            const next = article.contains(document.activeElement) ? article.nextElementSibling ?? article.previousElementSibling : null;
            article.remove();  // the others stay: reasons may be half written there
            left -= 1;
            count();
            /** @type {HTMLElement | null | undefined} */ (next?.querySelector("select"))?.focus();
          }));
      return article;
    })), none));
}

export async function usersPage(app) {
  const draw = async () => {
    const [{ users }, { sessions }] = await Promise.all([get("/users"), get("/sessions")]);
    const opened = (user) => sessions.filter((each) => each.user_id === user.id).length;
    fill(app.main, el("section", {}, el("div", { class: "tools" }, el("h1", {}, "Accounts"), el("button", { type: "button", class: "main", onclick: () => edit(null, draw) }, "New account")),
      table(["Login", "Name", "Roles", "Sessions", ""], users.map((user) => el("tr", { class: user.closed_at ? "closed" : "" }, el("td", {}, user.login), el("td", {}, user.name), el("td", {}, user.roles.join(", ")), el("td", {}, String(opened(user))),
          el("td", {}, el("div", { class: "row" }, el("button", { type: "button", onclick: () => edit(user, draw) }, "Change"),
            el("button", { type: "button", onclick: async () => { await post(`/users/${user.id}/log-out`); await draw(); } }, "End sessions"),
            el("button", { type: "button", onclick: async () => { try { await ask("PATCH", `/users/${user.id}`, { closed: !user.closed_at }); } catch (error) { app.say(told(error)); } await draw(); } }, user.closed_at ? "Open" : "Close"))))), "accounts")));
  };
  await draw();
}

function edit(user, done) {
  const { box } = dialog(user ? `Change ${user.login}` : "New account", form([
    user ? null : field("Login", "login", { autocomplete: "off" }), field("Name, as it is printed", "name", { value: user?.name || "" }),
    field(user ? "New password, empty: as it is" : "Password, at least 10 characters", "password", { type: "password", minlength: 10, required: !user, autocomplete: "new-password" }),
    checkboxes("roles", ROLES, user?.roles || ["reader"])].filter(Boolean),
  user ? "Change" : "Make the account", async (values) => {
    const given = { ...values, roles: values.roles || [] };
    if (user && !given.password) delete given.password;
    if (user) await ask("PATCH", `/users/${user.id}`, given);
    else await post("/users", given);
    box.close();
    await done();
  }));
}

export async function auditPage(app) {
  const verdict = el("p", { role: "status" });
  const head = await get("/events/head");
  const { events } = await get(`/events?after=${Math.max(0, head.seq - 200)}&limit=200`);
  fill(app.main, el("section", {}, el("div", { class: "tools" }, el("h1", {}, "Record"),
    el("button", { type: "button", class: "main", onclick: async () => {
      const found = await get("/events/verify");
      fill(verdict, found.sound ? `Sound: ${found.events} events, head ${found.head}` : `NOT SOUND: ${found.faults.join("; ")}`);
    } }, "Verify")), verdict, el("p", {}, `Event ${head.seq}, head `, el("code", {}, head.hash)),
  table(["Event", "When", "What", "Of", "Said"], events.reverse().map((each) => el("tr", {}, el("td", {}, String(each.seq)), el("td", { class: "when" }, each.at), el("td", {}, each.action), el("td", {}, el("code", {}, each.subject.slice(0, 8))), el("td", {}, el("code", {}, JSON.stringify(each.body))))), "the last events")));
}
