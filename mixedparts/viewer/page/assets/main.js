// Put everything together: state in the address, the list, the large view, theme and layers.

const LAYERS = { objects: "Objects", parts: "Parts", outlines: "Outlines", labels: "Labels" };
const THEMES = ["system", "light", "dark"];
const KEY = { object: "object", common: "common part", unique: "unique part" };

/** Return what was kept for a name; a browser may forbid it, as in a private window. */
function kept(name) {
  try {
    return localStorage.getItem(`mixedparts-view-${name}`);
  } catch {
    return null;
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(`mixedparts-view-${name}`, value);
  } catch {
    // It then lasts as long as the page.
  }
}

/** Return the filters, page and sample that the address names. */
function readAddress() {
  const query = new URLSearchParams(location.hash.slice(1));
  const filters = { task: query.getAll("task") };
  for (const name of ["text", "sort"]) {
    if (query.get(name)) filters[name] = query.get(name).slice(0, byId("text").maxLength);
  }
  for (const name of ["split", "source", "class", "part", "tag", "id"]) {
    const values = [...new Set(query.getAll(name))].filter(Boolean);
    if (values.length) filters[name] = values.length > 1 ? values : values[0];
  }
  const wanted = Number.parseInt(query.get("start") || "0", 10) || 0;
  const start = Math.min(Math.max(0, wanted), Number.MAX_SAFE_INTEGER);
  return { filters, start, row: readRow() };
}

/** Return {split, id} of the sample in the address, null if there is none. */
function readRow() {
  // Cut before it is decoded: either part may contain a slash.
  const [, text] = location.hash.match(/[#&]row=([^&]*)/) || [];
  const [split, ...id] = (text || "").split("/");
  try {
    return id.length ? { split: decodeURIComponent(split), id: decodeURIComponent(id.join("/")) } : null;
  } catch {
    return null; // a % that encodes nothing
  }
}

class Page {
  constructor(rows, palette) {
    this.rows = rows;
    this.settings = { palette, colours: "name" };
    for (const name of Object.keys(LAYERS)) this.settings[name] = kept(name) !== "off";
    this.start = 0;
    this.samples = [];
    this.total = 0;
    this.filters = new Filters(rows, () => this.#filtered());
    this.cards = new Cards(byId("cards"), rows, this.settings);
    this.detail = new Detail(rows, this.settings, (by) => this.step(by));
    this.detail.closed = () => this.#closed();
    this.#wire();
    this.#drawKey();
  }

  /** Show what the address says. */
  async follow() {
    const { filters, start, row } = readAddress();
    if (!row && this.detail.open) this.detail.dialog.close();
    this.filters.replace(filters, true);
    this.start = start - (start % this.rows.pageSize);
    await this.load();
    if (row) await this.openRow(row);
  }

  /** Fetch and show the present page of the list, and count choices. */
  async load() {
    const wanted = this.filters.values;
    let { start } = this;
    // A later filter or page has its own answer.
    const late = () => this.filters.values !== wanted || this.start !== start;
    await this.#guarded(async () => {
      let { total, samples, note } = await this.rows.page(wanted, start).catch((error) => {
        // What was found before is no answer to what is asked now.
        if (!late()) this.cards.show(this.samples = []);
        throw error;
      });
      if (late()) return;
      if (total && start >= total) {
        start = this.start = this.#lastStart(total); // the address named a page that there is not
        ({ total, samples } = await this.rows.page(wanted, start));
        if (late()) return;
      }
      Object.assign(this, { total, samples });
      this.cards.show(samples);
      this.cards.mark(0, false);
      this.#report(note);
    });
    // Afterwards and without waiting for it: a server counts longer than it searches.
    this.#guarded(() => this.filters.count());
  }

  async openRow({ split, id }) {
    await this.#guarded(async () => {
      const at = this.samples.findIndex((one) => one.split === split && one.id === id);
      const sample = at >= 0 ? this.samples[at] : await this.rows.one(split, id);
      if (!sample) {
        byId("status").textContent = `There is no sample ${split}/${id} here.`;
        return;
      }
      if (at >= 0) this.cards.mark(at, false);
      await this.detail.show(sample);
    });
  }

  /** Go to the sample so many places further, on the next page if need be. */
  async step(by) {
    if (this.turning) return; // to another page, whose samples are not here yet
    let at = (this.cards.current ?? 0) + by;
    if (at < 0 || at >= this.samples.length) {
      const to = this.start + Math.sign(by) * this.rows.pageSize;
      if (to < 0 || to >= this.total) return;
      this.start = to;
      this.turning = true;
      await this.load().finally(() => { this.turning = false; });
      at = by > 0 ? 0 : this.samples.length - 1;
    }
    if (!this.samples[at]) return; // they could not be loaded
    if (this.detail.open) {
      this.cards.mark(at, false);
      this.#address(this.samples[at]);
      await this.detail.show(this.samples[at]);
    } else {
      this.#address(null);
      this.cards.mark(at, true);
    }
  }

  #lastStart(total) {
    return total - 1 - ((total - 1) % this.rows.pageSize);
  }

  #filtered() {
    this.start = 0;
    this.#address(null);
    this.load();
  }

  #closed() {
    this.#address(null);
    this.cards.mark(this.cards.current ?? 0, true);
  }

  #address(sample) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(this.filters.values)) {
      for (const one of [value].flat()) if (one) query.append(name, one);
    }
    if (this.start) query.set("start", this.start);
    let text = query.toString();
    if (sample) text = `${text}${text && "&"}${rowAddress(sample).slice(1)}`;
    // Not `location.hash`: the list must not scroll, and steps do not fill the history.
    history.replaceState(null, "", `${location.pathname}${location.search}#${text}`);
  }

  /** Say how many samples there are; `note` says why there is none. */
  #report(note) {
    const pages = Math.max(1, Math.ceil(this.total / this.rows.pageSize));
    const page = 1 + Math.floor(this.start / this.rows.pageSize);
    byId("status").textContent = this.total
      ? `${counted(this.total, "sample")}, page ${thousands(page)} of ${thousands(pages)}`
      : `No sample fits these filters${note ? `: ${note}` : "."}`;
    byId("page-number").textContent = `${thousands(page)} / ${thousands(pages)}`;
    byId("page-before").disabled = page <= 1;
    byId("page-after").disabled = page >= pages;
  }

  async #turn(by) {
    this.start = Math.max(0, this.start + by * this.rows.pageSize);
    this.#address(null);
    await this.load();
    byId("rows").focus();
    scrollTo({ top: byId("rows").offsetTop });
  }

  #toggle(name) {
    this.settings[name] = !this.settings[name];
    keep(name, this.settings[name] ? "on" : "off");
    byId(`layer-${name}`).setAttribute("aria-pressed", String(this.settings[name]));
    this.#redraw();
  }

  #redraw() {
    this.cards.redraw();
    this.detail.redraw();
  }

  #wire() {
    for (const [name, title] of Object.entries(LAYERS)) {
      const pressed = String(this.settings[name]);
      byId("layers").append(make("button", { type: "button", id: `layer-${name}`,
        "aria-pressed": pressed, onclick: () => this.#toggle(name) }, title));
    }
    byId("colours").addEventListener("change", () => {
      this.settings.colours = byId("colours").value;
      this.#drawKey();
      this.cards.show(this.samples);
      this.cards.mark(0, false);
    });
    byId("page-before").addEventListener("click", () => this.#turn(-1));
    byId("page-after").addEventListener("click", () => this.#turn(1));
    byId("help-open").addEventListener("click", () => byId("help").showModal());
    byId("help-close").addEventListener("click", () => byId("help").close());
    byId("cards").addEventListener("click", (event) => this.#clicked(event));
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a.row-link");
      if (!link) return;
      event.preventDefault();
      history.replaceState(null, "", link.getAttribute("href"));
      this.follow();
    });
    addEventListener("hashchange", () => this.follow());
    document.querySelector(".skip").addEventListener("click", (event) => {
      event.preventDefault(); // the part of the address after # contains filters and samples
      byId("rows").focus();
    });
    addEventListener("beforeprint", () => this.cards.print());
    addEventListener("afterprint", () => this.cards.printed());
    matchMedia("print").addEventListener("change", (event) => {
      if (event.matches) this.cards.print();
      else this.cards.printed();
    });
    listKeys();
    listen(this.#actions());
  }

  #clicked(event) {
    const link = event.target.closest("h2 a");
    // With a key held, the browser opens the link elsewhere.
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    this.#open(link.closest(".card").sample);
  }

  #open(sample) {
    this.#address(sample);
    this.openRow(sample);
  }

  #actions() {
    const inList = (action) => () => (byId("help").open ? false : action());
    const actions = {
      ArrowLeft: inList(() => { this.step(-1); }),
      ArrowRight: inList(() => { this.step(1); }),
      ArrowUp: inList(() => (this.detail.open ? false : void this.step(-this.cards.columns()))),
      ArrowDown: inList(() => (this.detail.open ? false : void this.step(this.cards.columns()))),
      "/": inList(() => (this.detail.open ? false : byId("text").focus())),
      "?": () => (byId("help").open ? byId("help").close() : byId("help").showModal()),
      o: () => this.#toggle("objects"),
      p: () => this.#toggle("parts"),
      l: () => this.#toggle("outlines"),
      t: () => this.#toggle("labels"),
      d: () => nextTheme(),
    };
    TASKS.forEach((task, number) => {
      const toggle = () => (this.detail.open ? false : this.filters.toggleTask(task));
      actions[String(number + 1)] = inList(toggle);
    });
    return actions;
  }

  #drawKey() {
    const by = this.settings.colours === "kind" ? this.settings.palette.kinds : {};
    const items = Object.entries(KEY).map(([kind, name]) =>
      make("li", {}, swatch(by[kind] || "currentColor", kind), name));
    const marks = !this.rows.marked ? [] : Object.entries(MARKS).map(([mark, sign]) =>
      make("li", {}, make("span", { "aria-hidden": "true" }, sign), mark));
    byId("key").replaceChildren(...items, ...marks);
  }

  async #guarded(work) {
    try {
      await work();
    } catch (error) {
      byId("status").textContent = `The samples cannot be shown: ${error.message}`;
    }
  }
}

function nextTheme() {
  const now = document.documentElement.dataset.theme || "system";
  setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
}

function setTheme(theme) {
  const known = THEMES.includes(theme) ? theme : "system";
  if (known === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = known;
  byId("theme").textContent = `Theme: ${known}`;
  keep("theme", known);
}

setTheme(kept("theme") || "system");
byId("theme").addEventListener("click", nextTheme);
const stored = byId("page-data");
const rows = stored ? new FileRows(JSON.parse(stored.textContent)) : new ServerRows();
const page = new Page(rows, JSON.parse(byId("palette").textContent));
// Filters of the command that started the server; an address with filters of its own is followed.
const { start } = byId("palette").dataset;
if (start && !location.href.includes("#")) history.replaceState(null, "", `#${start}`);
page.follow();
