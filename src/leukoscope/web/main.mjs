// The frame of all pages: who is logged in, where one is, what is not saved yet.
import { ProblemError, ask, get, onLostSession } from "./api.mjs";
import { dialog, el, field, fill, form, told } from "./dom.mjs";
import { Outbox } from "./outbox.mjs";
import { lanesPage } from "./lanes.mjs";
import { modelsPage } from "./models.mjs";
import { auditPage, casesPage, differingPage, firstPage, usersPage } from "./pages.mjs";
import { Review } from "./review.mjs";

/** One look at a page, which is drawn into an element of its own: what is answered after it was left is drawn nowhere. */
class Visit {
  constructor(app) {
    this.app = app;
    this.main = el("div", { class: "page" });
  }

  get left() { return !this.main.isConnected; }
  get person() { return this.app.person; }
  get outbox() { return this.app.outbox; }
  may(role) { return this.app.may(role); }
  became(person) { this.app.became(person); }
  say(words) { if (!this.left) this.app.say(words); }
  reload() { if (!this.left) this.app.reload(); }
}

class App {
  main = /** @type {HTMLElement} */ (document.getElementById("main"));
  top = /** @type {HTMLElement} */ (document.getElementById("top"));
  status = /** @type {HTMLElement} */ (document.getElementById("outbox"));
  person = null;
  outbox = null;
  page = null;

  async start() {
    onLostSession(() => this.logIn());
    window.addEventListener("hashchange", () => this.reload());
    window.addEventListener("beforeunload", (event) => { if (this.unsaved) event.preventDefault(); });
    const [, first] = location.hash.match(/^#\/first\/(.+)$/) || [];
    if (first) { this.head(); firstPage(this.visited(), first); return; }
    await this.logIn(true);
    this.reload();
  }

  may(role) { return Boolean(this.person?.rights.includes(role)); }

  say(words) {
    const note = el("p", { class: "toast", role: "alert" }, words);
    document.body.append(note);
    setTimeout(() => note.remove(), 6000);
  }

  /** Log in, over the page that is open: nothing of it is lost. */
  logIn(quiet = false) {
    this.asking ??= (async () => {
      if (quiet) {
        try { this.became(await get("/session", { quiet: true })); return; } catch (error) { if (!(error instanceof ProblemError)) this.say(told(error)); }
      }
      if (this.person) await this.invited();
      for (;;) {
        const { box, done } = dialog("Log in", quiet || !this.person ? null : el("p", {}, "What is not saved yet is sent as soon as you are logged in."),
          form([field("Login", "login", { autocomplete: "username", value: this.person?.login || "", autofocus: true }), field("Password", "password", { type: "password", autocomplete: "current-password" })],
            "Log in", async (values) => {
              const person = await ask("POST", "/session", values, { quiet: true });
              const changed = this.person && this.person.id !== person.id;
              this.became(person);
              box.close("in");
              if (changed) this.reload();
            }));
        if ((await done) === "in") return;
      }
    })().finally(() => { this.asking = null; });
    return this.asking;
  }

  /** A bar that invites to log in again; keys go on into the outbox meanwhile, not into a password field. */
  invited() {
    return new Promise((resolve) => {
      const bar = el("div", { class: "invite", role: "alert" }, "Your session has ended. Nothing is lost, you can go on. ",
        el("button", { type: "button", class: "main", onclick: () => { bar.remove(); resolve(undefined); } }, "Log in again"));
      document.body.append(bar);
    });
  }

  became(person) {
    const same = this.person?.id === person.id;
    this.person = person;
    if (!same) this.outbox = new Outbox(person.id, (state) => this.show(state));
    this.head();
    this.outbox.flush();
  }

  show({ waiting, refused, offline }) {
    this.unsaved = waiting > 0;
    this.status.className = offline ? "offline" : waiting ? "waiting" : "saved";
    fill(this.status, offline ? `${waiting} not saved yet, kept in this browser: the server cannot be reached` : waiting ? `saving ${waiting}` : "all saved",
      refused ? el("button", { type: "button", onclick: () => this.refused() }, `${refused} refused`) : null);
  }

  async refused() {
    const acts = await this.outbox.refused();
    const { box } = dialog("Refused by the server", el("ul", {}, acts.map((act) => el("li", {}, `${act.label || "taking back"}: ${act.why}`))),
      el("button", { type: "button", onclick: async () => { await this.outbox.forgetRefused(); box.close(); } }, "I have seen them"));
  }

  head() {
    const links = !this.person ? [] : [
      this.may("viewer") ? ["#/", "Cases"] : null, this.may("viewer") ? ["#/bundles", "Models"] : null, this.may("manager") ? ["#/labels", "Labels"] : null,
      this.may("auditor") ? ["#/audit", "Record"] : null, this.may("admin") ? ["#/users", "Accounts"] : null,
    ].filter(Boolean);
    fill(this.top, el("a", { class: "brand", href: "#/" }, "Leukoscope"), el("nav", { "aria-label": "pages" }, links.map(([href, words]) => el("a", { href, "aria-current": this.at(href) ? "page" : null }, words))),
      this.person ? el("span", { class: "who" }, this.person.name, el("button", { type: "button", onclick: () => this.logOut() }, "Log out")) : null);
  }

  /** Whether a link leads to where one is; cases and what belongs to them are one place. */
  at(href) { return href === "#/" ? /^(#\/(case|differing)\/.*|#?\/?)$/.test(location.hash) : location.hash.startsWith(href); }

  async logOut() {
    await this.outbox.flush();
    await ask("DELETE", "/session", undefined, { quiet: true });
    location.hash = "#/";
    location.reload();
  }

  /** Leave the page that is open, and come to another one. */
  visited() {
    this.page?.close?.();
    this.page = null;
    const visit = new Visit(this);
    fill(this.main, visit.main);
    return visit;
  }

  async reload() {
    const visit = this.visited();
    const [, name = "", id = ""] = location.hash.match(/^#\/([a-z]*)\/?([0-9a-zA-Z-]*)/) || [];
    const pages = {
      "": () => (this.may("viewer") ? casesPage(visit) : this.may("admin") ? usersPage(visit) : auditPage(visit)),
      case: async () => { const review = new Review(visit, id); this.page = review; await review.open(); },
      differing: () => differingPage(visit, id), users: () => usersPage(visit), audit: () => auditPage(visit), bundles: () => modelsPage(visit), labels: () => lanesPage(visit),
    };
    this.head();
    fill(visit.main, el("p", { class: "loading" }, "…"));
    try {
      await (pages[name] || pages[""])();
      const head = visit.main.querySelector("h1")?.textContent;
      if (!visit.left) document.title = `${head ? `${head} – ` : ""}Leukoscope workbench`;
    } catch (error) { fill(visit.main, el("p", { class: "error", role: "alert" }, told(error))); }
  }
}

new App().start();
