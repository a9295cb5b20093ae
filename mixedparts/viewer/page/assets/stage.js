// One image of a sample with its masks and labels over it.

const MARKS = { match: "✓", "false positive": "✗", miss: "○", "wrong name": "≠",
  "poor mask": "≈" };

const MOST_LABELS = 60; // of an image

/** Return the colour of each region of a sample, the same for equal names. */
function coloursOf(sample, palette, by) {
  const numbers = { object: new Map(), part: new Map() };
  return (region) => {
    if (by === "kind") return palette.kinds[region.kind] || palette.kinds.part;
    return named(region);
  };
  function named(region) {
    if (!numbers.object.size) number();
    const group = region.kind === "object" ? "object" : "part";
    const colours = group === "object" ? palette.objects : palette.parts;
    return colours[numbers[group].get(region.label) % colours.length];
  }
  function number() {
    for (const region of sample.answers.flatMap((answer) => answer.regions)) {
      const known = numbers[region.kind === "object" ? "object" : "part"];
      if (!known.has(region.label)) known.set(region.label, known.size);
    }
  }
}

class Stage {
  /** `regions` are those of the answer that lie in this image, each {region, number}. */
  constructor(image, name, regions, colourOf, events) {
    Object.assign(this, { image, regions, colourOf });
    this.grid = gridOf(image);
    this.picture = make("img", { alt: this.#description(name), decoding: "async" });
    this.canvas = make("canvas", { "aria-hidden": "true", width: 0, height: 0 });
    this.labels = make("div", { class: "tags", "aria-hidden": "true" });
    this.frame = make("div", { class: "frame" }, this.picture, this.canvas, this.labels);
    // A very long image is shown less long, for one of 4,000 x 1 could not be seen otherwise.
    const shape = Math.min(6, Math.max(1 / 3, image.width / image.height));
    this.frame.style.setProperty("--shape", shape);
    const size = `${thousands(image.width)} × ${thousands(image.height)}`;
    const caption = make("figcaption", {}, name, isolated(image.name), ` · ${size}`);
    this.element = make("figure", {}, this.frame, caption);
    this.picture.addEventListener("load", () => {
      const { naturalWidth: width, naturalHeight: height } = this.picture;
      if (width < image.width) caption.append(` · shown at ${thousands(width)} × ${thousands(height)}`);
    });
    this.picture.addEventListener("error", () => this.#sayEmpty());
    this.frame.addEventListener("pointermove", (event) => events.over(this.#under(event)));
    this.frame.addEventListener("pointerleave", () => events.over(null));
    this.frame.addEventListener("click", (event) => events.pick(this.#under(event)));
  }

  /** Load the image and draw the masks. `look` says what is drawn; see `AnswerView.look`. */
  async draw(look) {
    this.look = look;
    if (!this.picture.hasAttribute("src")) {
      const address = await this.image.address();
      if (address) this.picture.src = address;
      else this.#sayEmpty();
    }
    this.#paint();
  }

  #sayEmpty() {
    if (this.frame.classList.contains("empty")) return;
    this.frame.classList.add("empty");
    this.element.querySelector("figcaption").append(" · no pixels");
  }

  /** Give the memory of the canvas back. */
  release() {
    this.canvas.width = this.canvas.height = 0;
    for (const one of this.regions) one.mask = null;
  }

  #paint() {
    const { image, grid, look } = this;
    this.canvas.width = Math.ceil(image.width / grid);
    this.canvas.height = Math.ceil(image.height / grid);
    // Pixels of the canvas to one of the screen: lines have one width for the eye.
    const zoom = this.canvas.width / Math.max(1, this.frame.clientWidth || 240);
    this.canvas.classList.toggle("large", zoom < 1);
    const outline = look.outlines ? Math.max(1, Math.round(2.4 * zoom)) : 0;
    const shown = this.regions.filter(({ region, number }) => look.shows(region, number));
    for (const one of shown) {
      one.mask ??= maskOf(one.region.counts, image.width, image.height, grid);
    }
    // Small masks lie over large ones, parts over objects, and what is lit up over everything.
    const rank = ({ region }) => (region.kind === "object" ? 1e12 : 0) + region.area;
    this.shown = shown.sort((one, two) => rank(two) - rank(one));
    const parts = shown.some(({ region }) => region.kind !== "object");
    const lit = ({ number }) => look.strength(number);
    const layers = [...this.shown].sort((one, two) => lit(one) - lit(two)).map((one) => ({
      mask: one.mask,
      colour: this.colourOf(one.region),
      fill: fillOf(one.region, parts),
      outline,
      dashed: one.region.kind === "object",
      strength: lit(one),
    }));
    paint(this.canvas, layers, Math.max(2, Math.round(4 * zoom)));
    this.#label(look);
  }

  #label(look) {
    this.labels.replaceChildren();
    if (!look.labels) return;
    const taken = [];
    const height = 100 * (20 / Math.max(20, this.frame.clientHeight || 200)); // of a label, in %
    for (const { region, number, mask } of [...this.shown].reverse()) {
      if (!mask.area || !look.names(number)) continue;
      if (taken.length === MOST_LABELS) break; // more could not be read
      const [x, y] = innermost(mask);
      const left = Math.min(88, Math.max(12, (100 * (x + 0.5)) / this.canvas.width));
      let top = Math.min(94, Math.max(6, (100 * (y + 0.5)) / this.canvas.height));
      const meets = (other) => Math.abs(other[0] - left) < 28 && Math.abs(other[1] - top) < height;
      for (let step = 1; step < 9 && taken.some(meets); step++) {
        const moved = top + (step % 2 ? 1 : -1) * step * height;
        if (moved > 4 && moved < 96) top = moved;
      }
      taken.push([left, top]);
      const mark = MARKS[region.mark] ? `${MARKS[region.mark]} ` : "";
      const tag = make("span", { class: "tag" }, mark, isolated(region.label));
      Object.assign(tag.style, { left: `${left}%`, top: `${top}%` });
      // As far to the left as its place is to the right: a long one stays inside of the image.
      tag.style.setProperty("--shift", `-${left}%`);
      tag.style.borderColor = this.colourOf(region);
      this.labels.append(tag);
    }
  }

  /** Return the number of the uppermost region under a pointer, null if there is none. */
  #under(event) {
    const box = this.frame.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * this.canvas.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * this.canvas.height);
    const hit = (this.shown || []).findLast(({ mask }) => mask && contains(mask, x, y));
    return hit ? hit.number : null;
  }

  #description(name) {
    const of = (kind) => this.regions.filter(({ region }) => (region.kind === "object") === kind);
    const names = (list) => [...new Set(list.map(({ region }) => region.label))].join(", ");
    const [objects, parts] = [names(of(true)), names(of(false))];
    return `${name}${objects || "no object"}${parts ? `, with ${parts}` : ""}`;
  }
}

function fillOf(region, parts) {
  if (region.kind === "object") return parts ? "faint" : "plain";
  return { unique: "stripes", part: "checks" }[region.kind] || "plain";
}
