// Samples that are in the page itself: filter, search, sort and count them.

const FACETS = ["split", "source", "task", "class", "part", "tag"];

/** Put the images and run lengths of page data into its samples; return the samples. */
function linked(data, addressOf) {
  const images = data.images.map((image, number) => ({
    ...image,
    address: () => addressOf(image, number),
  }));
  for (const sample of data.samples) {
    sample.images = sample.images.map((number) => images[number]);
    for (const answer of sample.answers) {
      for (const region of answer.regions) region.counts = data.masks[region.mask];
    }
  }
  return data.samples;
}

/** Return the values of a sample that a filter compares with. */
function valuesOf(sample, facet) {
  if (facet === "tag") return sample.tags;
  if (facet !== "class" && facet !== "part") return [sample[facet]];
  const wanted = (region) => (region.kind === "object") === (facet === "class");
  // Of the ground truth: a filter for a class means samples that show it.
  return [...new Set(sample.answers[0].regions.filter(wanted).map((region) => region.label))];
}

/** Return whether a sample passes a filter; an empty one lets all pass. */
function passes(values, wanted) {
  return !wanted || !wanted.length || values.some((value) => [wanted].flat().includes(value));
}

/** Wait until an element of the page is there, which may still be loading; return its text. */
async function textOf(id) {
  for (;;) {
    const loading = document.readyState === "loading";
    const element = byId(id);
    // While the page loads, the text of its last element is not complete.
    if (element && (element.nextSibling || !loading)) return element.textContent;
    if (!loading) return "";
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

class FileRows {
  pageSize = 48;

  constructor(data) {
    this.samples = linked(data, (image, number) => textOf(`image-${number}`));
    this.values = new Map();
    for (const sample of this.samples) {
      const values = Object.fromEntries(FACETS.map((facet) => [facet, valuesOf(sample, facet)]));
      this.values.set(sample, { ...values, text: searchable(sample) });
    }
    const regions = this.samples.flatMap((sample) => sample.answers.flatMap((one) => one.regions));
    this.marked = regions.some((region) => region.mark);
    this.scores = [...new Set(this.samples.flatMap((sample) => Object.keys(sample.scores)))];
  }

  /** Return {total, samples}: those of one page, from position `start`. */
  async page(filters, start) {
    const found = this.#sorted(this.samples.filter((one) => this.#fits(one, filters)), filters.sort);
    return { total: found.length, samples: found.slice(start, start + this.pageSize) };
  }

  /** Return for each facet {value: samples}, counted with all other filters. */
  async facets(filters) {
    // Without a prototype, for a name can be any text, such as `constructor`.
    const counts = Object.fromEntries(FACETS.map((facet) => [facet, Object.create(null)]));
    for (const facet of FACETS) {
      for (const sample of this.samples) {
        const fits = this.#fits(sample, { ...filters, [facet]: null });
        for (const value of this.values.get(sample)[facet]) {
          counts[facet][value] = (counts[facet][value] || 0) + (fits ? 1 : 0);
        }
      }
    }
    return counts;
  }

  /** Return one sample, or undefined. */
  async one(split, id) {
    return this.samples.find((sample) => sample.split === split && sample.id === id);
  }

  /** Make sure that a sample has its masks; those of a file always are there. */
  async complete(sample) {
    return sample;
  }

  #fits(sample, filters) {
    const values = this.values.get(sample);
    const words = (filters.text || "").toLowerCase().split(/\s+/).filter(Boolean);
    return (
      FACETS.every((facet) => passes(values[facet], filters[facet])) &&
      passes([sample.id], filters.id) &&
      words.every((word) => values.text.includes(word))
    );
  }

  #sorted(samples, sort) {
    if (!sort) return samples;
    const [name, order] = [sort.slice(1), sort[0] === "-" ? -1 : 1];
    // Samples without this score come last in either order.
    const key = (sample) => order * (sample.scores[name] ?? order * Infinity);
    return [...samples].sort((one, two) => key(one) - key(two));
  }
}

/** Return everything of a sample that a search looks at, in lower case. */
function searchable(sample) {
  const texts = [sample.id, sample.question, ...sample.images.map((image) => image.name)];
  for (const answer of sample.answers) {
    texts.push(answer.pieces.map((piece) => (piece.text ?? piece)).join(""));
    texts.push(...answer.regions.map((region) => region.label));
  }
  return texts.join("\n").toLowerCase();
}
