// The list of samples: one card each, drawn when it comes into view.

/** Return the address of a sample in this page. */
function rowAddress(sample) {
  return `#row=${encodeURIComponent(sample.split)}/${encodeURIComponent(sample.id)}`;
}

/** Return the classes of a sample, such as `dog + cat`. */
function nameOf(sample) {
  const objects = sample.answers[0].regions.filter((region) => region.kind === "object");
  return [...new Set(objects.map((region) => region.label))].join(" + ") || sample.id;
}

/** Return the lines about a sample: where it comes from, its scores, its question. */
function factsOf(sample) {
  const scores = Object.entries(sample.scores).map(([name, value]) => `${name} ${rounded(value)}`);
  const facts = [sample.source, sample.split, sample.id, ...sample.tags, ...scores];
  const meta = make("p", { class: "meta" });
  facts.forEach((fact, number) => meta.append(number ? " · " : "", isolated(fact)));
  return [meta, make("p", { class: "question", dir: "auto" }, sample.question)];
}

const rounded = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(3));

class Cards {
  constructor(list, rows, settings) {
    Object.assign(this, { list, rows, settings });
    this.views = new Map(); // card element -> its answers
    this.watcher = new IntersectionObserver((entries) => this.#seen(entries), {
      rootMargin: "600px",
    });
  }

  /** Show these samples instead of the present ones. */
  show(samples) {
    this.watcher.disconnect();
    for (const views of this.views.values()) views.forEach((view) => view.release());
    this.views.clear();
    this.samples = samples;
    this.list.replaceChildren(...samples.map((sample, number) => this.#card(sample, number)));
  }

  /** Mark the card of a sample as the current one; with `focus`, move the focus to it. */
  mark(number, focus) {
    this.current = number;
    [...this.list.children].forEach((card, at) => {
      card.classList.toggle("current", at === number);
      if (at === number && focus) card.querySelector("h2 a").focus();
    });
  }

  /** Return how many cards stand side by side. */
  columns() {
    const tops = [...this.list.children].map((card) => card.offsetTop);
    return Math.max(1, tops.filter((top) => top === tops[0]).length);
  }

  redraw() {
    for (const views of this.views.values()) views.forEach((view) => view.redraw());
  }

  /** Draw all cards, in view or not, and keep them until `printed`. */
  async print() {
    this.printing = true;
    await Promise.all([...this.views.entries()].map(([card, views]) => this.#draw(card, views)));
  }

  /** Give the memory of cards out of view back. */
  printed() {
    this.printing = false;
    for (const card of this.views.keys()) {
      this.watcher.unobserve(card);
      this.watcher.observe(card); // which reports whether it is in view
    }
  }

  #card(sample, number) {
    const link = make("a", { href: rowAddress(sample) }, isolated(nameOf(sample)), " · ",
      isolated(taskName(sample.task)));
    const views = sample.answers.map((answer) => new AnswerView(sample, answer, this.settings));
    const card = make("li", { class: "card" }, make("h2", {}, link), ...factsOf(sample),
      ...views.map((view) => view.element));
    card.addEventListener("focusin", () => this.mark(number, false));
    card.sample = sample;
    this.views.set(card, views);
    this.watcher.observe(card);
    return card;
  }

  #seen(entries) {
    for (const { target, isIntersecting } of entries) {
      const views = this.views.get(target);
      if (!views) continue;
      if (isIntersecting) this.#draw(target, views);
      else if (!this.printing) views.forEach((view) => view.release());
    }
  }

  async #draw(card, views) {
    try {
      await this.rows.complete(card.sample);
      await Promise.all(views.map((view) => view.draw()));
    } catch (error) {
      card.append(make("p", { class: "message" }, `It cannot be shown: ${error.message}`));
    }
  }
}
