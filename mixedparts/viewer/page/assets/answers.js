// An answer: its images with masks, its text with phrases, and the link between both.

class AnswerView {
  constructor(sample, answer, settings) {
    Object.assign(this, { sample, answer, settings });
    this.lit = new Set(); // regions under the pointer or the focus
    this.pinned = new Set(); // regions of the phrase that was clicked
    this.rows = []; // further elements that light up: {element, regions}
    const colourOf = coloursOf(sample, settings.palette, settings.colours);
    const numbered = answer.regions.map((region, number) => ({ region, number }));
    const events = { over: (number) => this.#over(number), pick: (number) => this.#pick(number) };
    this.stages = sample.images.map((image, at) => {
      const inside = numbered.filter(({ region }) => region.image === at);
      return new Stage(image, `Image ${at + 1}: `, inside, colourOf, events);
    });
    this.chips = [];
    const text = make("p", { class: "answer", dir: "auto" });
    for (const piece of answer.pieces) {
      text.append(typeof piece === "string" ? piece : this.#chip(piece, colourOf));
    }
    if (!answer.pieces.length) text.append("(no answer)");
    const pair = make("div", { class: "pair" }, ...this.stages.map((stage) => stage.element));
    this.element = make("div", { class: "answer-view" }, pair, text);
    if (sample.answers.length > 1) {
      this.element.prepend(make("h3", { class: "answer-title" }, isolated(answer.title)));
    }
  }

  async draw() {
    this.drawn = true;
    try {
      await Promise.all(this.stages.map((stage) => stage.draw(this.look())));
    } catch (error) {
      if (this.failed) return; // it has been said
      this.failed = true;
      this.element.append(make("p", { class: "message" }, `It cannot be drawn: ${error.message}`));
    }
  }

  redraw() {
    if (this.drawn) this.draw();
  }

  release() {
    this.drawn = false;
    this.stages.forEach((stage) => stage.release());
  }

  /** Return what is drawn now: layers, labels, and which regions stand out. */
  look() {
    const { settings, lit, pinned } = this;
    const chosen = pinned.size ? pinned : null;
    return {
      outlines: settings.outlines,
      labels: settings.labels,
      shows: (region, number) => {
        if (chosen) return chosen.has(number) || lit.has(number);
        return lit.has(number) || settings[region.kind === "object" ? "objects" : "parts"];
      },
      strength: (number) => (!lit.size || lit.has(number) ? 1 : 0.3),
      names: (number) => !lit.size || lit.has(number),
    };
  }

  /** Let an element light up with regions, and regions with it. */
  link(element, regions) {
    this.rows.push({ element, regions });
    const light = () => this.#light(regions);
    const dim = () => this.#light([]);
    for (const name of ["pointerenter", "focus"]) element.addEventListener(name, light);
    for (const name of ["pointerleave", "blur"]) element.addEventListener(name, dim);
  }

  #chip(piece, colourOf) {
    const chip = make("button", { type: "button", class: "chip", "aria-pressed": "false" });
    const first = this.answer.regions[piece.regions[0]];
    if (first) chip.append(swatch(colourOf(first), first.kind));
    chip.append(isolated(piece.text));
    const marks = piece.regions.map((number) => this.answer.regions[number]).filter(({ mark }) => mark);
    for (const { mark, image } of marks) {
      const words = `${mark} in image ${image + 1}`;
      chip.append(make("span", { class: "mark", role: "img", "aria-label": words, title: words },
        MARKS[mark] || mark));
    }
    if (!piece.regions.length) chip.append(make("span", { class: "mark" }, "(no mask)"));
    chip.addEventListener("click", () => this.#pin(piece.regions));
    this.link(chip, piece.regions);
    this.chips.push({ element: chip, regions: piece.regions });
    return chip;
  }

  #over(number) {
    if (number === null) return this.#light([]);
    const chip = this.chips.find(({ regions }) => regions.includes(number));
    return this.#light(chip ? chip.regions : [number]);
  }

  #pick(number) {
    if (number === null) return;
    const chip = this.chips.find(({ regions }) => regions.includes(number));
    this.#pin(chip ? chip.regions : [number]);
  }

  #light(regions) {
    const same = regions.length === this.lit.size && regions.every((one) => this.lit.has(one));
    if (same) return;
    this.lit = new Set(regions);
    this.#show();
  }

  #pin(regions) {
    const same = regions.length && regions.every((one) => this.pinned.has(one));
    this.pinned = new Set(same ? [] : regions);
    this.#show();
  }

  #show() {
    for (const { element, regions } of this.rows) {
      element.classList.toggle("lit", regions.some((one) => this.lit.has(one)));
    }
    for (const { element, regions } of this.chips) {
      const pinned = regions.length > 0 && regions.every((one) => this.pinned.has(one));
      element.setAttribute("aria-pressed", String(pinned));
    }
    this.redraw();
  }
}
