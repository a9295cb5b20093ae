// Samples of a server: it filters, searches and counts; the page asks for what it shows.

class ServerRows {
  pageSize = 50;
  scores = [];
  marked = byId("palette").dataset.marked !== undefined;

  async page(filters, start) {
    const reply = await this.#ask("/api/rows", filters, { start, count: this.pageSize });
    return { total: reply.total, samples: this.#link(reply), note: reply.note };
  }

  async facets(filters) {
    return this.#ask("/api/facets", filters, {});
  }

  /** Return one sample, without masks, or undefined. */
  async one(split, id) {
    const reply = await this.#ask("/api/rows", {}, { split, id, count: 1 });
    return this.#link(reply)[0];
  }

  /** Fetch the masks of a sample, which lists of samples come without. */
  async complete(sample) {
    if (!sample.whole) {
      const { split, id } = sample;
      const [whole] = this.#link(await this.#ask("/api/row", {}, { split, id }));
      sample.answers.forEach((answer, number) => {
        answer.regions.forEach((region, at) => {
          region.counts = whole.answers[number].regions[at].counts;
        });
      });
      sample.whole = true;
    }
    return sample;
  }

  #link(reply) {
    const samples = linked(reply, async (image) => image.address);
    for (const sample of samples) sample.whole = reply.masks.length > 0;
    return samples;
  }

  async #ask(path, filters, more) {
    const query = new URLSearchParams();
    const { sort, ...known } = filters; // a server does not sort
    for (const [name, value] of Object.entries({ ...known, ...more })) {
      for (const one of [value].flat()) if (one || one === 0) query.append(name, one);
    }
    const reply = await fetch(`${path}?${query}`);
    if (!reply.ok) {
      throw new Error((await reply.json().catch(() => ({}))).error || reply.statusText);
    }
    return reply.json();
  }
}
