// One sample, large: with all its masks in a table.

class Detail {
  constructor(rows, settings, step) {
    Object.assign(this, { rows, settings });
    this.dialog = byId("detail");
    byId("detail-close").addEventListener("click", () => this.dialog.close());
    byId("detail-before").addEventListener("click", () => step(-1));
    byId("detail-after").addEventListener("click", () => step(1));
    byId("detail-link").addEventListener("click", () => this.#copy());
    this.dialog.addEventListener("close", () => {
      this.#clear();
      this.closed();
    });
    this.closed = () => {};
    this.views = [];
  }

  get open() {
    return this.dialog.open;
  }

  async show(sample) {
    this.#clear();
    this.sample = sample;
    byId("detail-title").replaceChildren(isolated(nameOf(sample)), " · ", isolated(taskName(sample.task)));
    const body = byId("detail-body");
    this.views = sample.answers.map((answer) => new AnswerView(sample, answer, this.settings));
    body.replaceChildren(...factsOf(sample));
    for (const view of this.views) body.append(view.element, this.#table(view));
    if (!this.dialog.open) this.dialog.showModal();
    try {
      await this.rows.complete(sample);
      if (this.sample === sample) await Promise.all(this.views.map((view) => view.draw()));
    } catch (error) {
      body.append(make("p", { class: "message" }, `It cannot be shown: ${error.message}`));
    }
  }

  redraw() {
    this.views.forEach((view) => view.redraw());
  }

  #clear() {
    this.views.forEach((view) => view.release());
    this.views = [];
    this.sample = null;
  }

  #table(view) {
    const { regions } = view.answer;
    const heads = ["Mask", "Kind", "Image", "Pixels", "Share of image"];
    const extra = { Mark: "mark", Score: "score", Note: "note" };
    const more = Object.entries(extra).filter(([, key]) => regions.some((one) => one[key]));
    const colourOf = coloursOf(view.sample, this.settings.palette, this.settings.colours);
    const rows = regions.map((region, number) => {
      const image = view.sample.images[region.image];
      const share = image ? (100 * region.area) / (image.width * image.height) : 0;
      const button = make("button", { type: "button", class: "chip" },
        swatch(colourOf(region), region.kind), isolated(region.label));
      view.link(button, [number]);
      const cells = [button, region.kind, region.image + 1, thousands(region.area), percent(share)];
      const last = more.map(([, key]) => (key === "score" ? rounded(region.score ?? 0) : region[key]));
      return make("tr", {}, ...[...cells, ...last].map((cell) => make("td", {}, cell)));
    });
    const head = [...heads, ...more.map(([name]) => name)].map((name) =>
      make("th", { scope: "col" }, name));
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)),
      make("tbody", {}, ...rows));
    const title = view.sample.answers.length > 1 ? `: ${view.answer.title}` : "";
    return make("details", { class: "regions", open: true },
      make("summary", {}, counted(regions.length, "mask"), isolated(title)),
      make("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Masks" }, table));
  }

  async #copy() {
    const address = new URL(rowAddress(this.sample), location.href).href;
    const button = byId("detail-link");
    try {
      await navigator.clipboard.writeText(address);
      button.textContent = "Link copied";
    } catch {
      // A page from a file may not write to the clipboard in every browser.
      button.textContent = "See the address bar";
    }
    setTimeout(() => { button.textContent = "Copy link"; }, 2000);
  }
}

/** Return a share in percent with two significant digits. */
function percent(value) {
  return `${value >= 10 ? value.toFixed(0) : value.toPrecision(2)} %`;
}
