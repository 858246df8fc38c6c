// Pictures that are chosen or dropped, and sent to a case.
import { OfflineError, ProblemError, ask, sha256 } from "./api.mjs";
import { el, fill, told } from "./dom.mjs";

const AT_ONCE = 4;

export class Pictures {
  constructor() {
    this.files = el("input", { type: "file", multiple: true, accept: ".bmp,.png,.jpg,.jpeg,.tif,.tiff,.webp", "aria-label": "pictures" });
    this.folder = el("input", { type: "file", webkitdirectory: true, "aria-label": "a folder of pictures" });
    /** @type {File[]} */
    this.dropped = [];
    this.progress = el("p", { class: "progress", role: "status" });
    this.faults = el("ul", { class: "faults" });
    this.said = el("div", {}, this.progress, this.faults);
    this.area = el("div", { class: "drop", ondragover: (event) => event.preventDefault(), ondrop: (event) => { event.preventDefault(); this.dropped = [...event.dataTransfer.files]; this.area.lastChild.textContent = ` ${this.dropped.length} dropped`; } },
      el("label", {}, "Pictures ", this.files), el("label", {}, "or a folder ", this.folder), el("span", {}, " or drop them here"));
  }

  chosen() { return [...this.files.files, ...this.folder.files, ...this.dropped].filter((file) => !file.name.startsWith(".")); }

  /** Send them to a case, a few at once; how many could not be taken: each is listed with its reason. */
  async send(id) {
    const todo = this.chosen(), count = todo.length;
    let sent = 0, bad = 0;
    fill(this.faults);
    const work = async () => {
      for (let file = todo.shift(); file; file = todo.shift()) {
        try {
          const name = file.webkitRelativePath || file.name;
          const digest = await sha256(file);
          for (let wait = 500; ; wait = Math.min(8000, wait * 2)) {
            try { await ask("PUT", `/cases/${id}/pictures/${digest}?name=${encodeURIComponent(name)}`, file); break; } catch (error) {
              if (!(error instanceof OfflineError) && !(error instanceof ProblemError && error.status === 429)) throw error;
              await new Promise((resolve) => setTimeout(resolve, wait));
            }
          }
        } catch (error) { bad += 1; this.faults.append(el("li", {}, `${file.name}: ${told(error)}`)); }
        this.progress.textContent = `${sent += 1} of ${count} pictures sent`;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    return bad;
  }
}
