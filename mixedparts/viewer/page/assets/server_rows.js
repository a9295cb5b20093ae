// Samples of a server: it filters, searches and counts; the page asks for what it shows.

class ServerRows {
  pageSize = 50;
  scores = []; // a server does not sort
  marked = byId("palette").dataset.marked !== undefined;

  async page(filters, start) {
    const reply = await this.#ask("/api/rows", filters, { start, count: this.pageSize });
    return { total: reply.total, samples: this.#link(reply) };
  }

  async facets(filters) {
    return this.#ask("/api/facets", filters, {});
  }

  async one(split, id) {
    const reply = await this.#ask("/api/row", {}, { split, id }).catch((error) => {
      if (error.status === 404) return null;
      throw error;
    });
    return reply ? this.#link(reply)[0] : undefined;
  }

  /** Fetch the masks of a sample, which lists of samples come without. */
  async complete(sample) {
    if (!sample.whole) {
      const whole = await this.one(sample.split, sample.id);
      if (!whole) throw new Error("this sample is no longer there");
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
    for (const [name, value] of Object.entries({ ...filters, ...more })) {
      for (const one of [value].flat()) if (one || one === 0) query.append(name, one);
    }
    const reply = await fetch(`${path}?${query}`);
    if (!reply.ok) {
      const fault = new Error((await reply.json().catch(() => ({}))).error || reply.statusText);
      fault.status = reply.status;
      throw fault;
    }
    return reply.json();
  }
}
