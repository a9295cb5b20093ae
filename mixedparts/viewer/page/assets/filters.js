// The filters above the list: tasks as buttons, everything else as menus with counts.

const MENUS = { split: "Split", source: "Source", class: "Class", part: "Part", tag: "Group",
  id: "Id" };

class Filters {
  constructor(rows, changed) {
    Object.assign(this, { rows, changed, values: { task: [] } });
    this.menus = {};
    this.several = {}; // facet -> names that were chosen together
    for (const [facet, title] of Object.entries(MENUS)) {
      const menu = make("select", { id: `filter-${facet}` });
      menu.addEventListener("change", () => {
        const several = menu.selectedOptions[0].dataset.several !== undefined;
        this.set({ [facet]: several ? this.several[facet] : menu.value });
      });
      this.menus[facet] = menu;
      const label = make("label", { for: menu.id }, title);
      byId("selects").append(make("div", { class: "field" }, label, menu));
    }
    this.#addSort();
    let waiting = 0;
    byId("text").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.set({ text: byId("text").value }), 250);
    });
    byId("clear").addEventListener("click", () => this.replace({ task: [] }));
  }

  /** Change some filters. */
  set(values) {
    this.replace({ ...this.values, ...values });
  }

  /** Change all filters; with `quiet`, no listener is called. */
  replace(values, quiet = false) {
    this.values = { task: [], ...values };
    if (byId("text").value !== (values.text || "")) byId("text").value = values.text || "";
    if (this.sort) this.sort.value = values.sort || "";
    if (!quiet) this.changed();
  }

  /** Switch a task on or off, as its button or its key does. */
  toggleTask(task) {
    const chosen = new Set(this.values.task);
    if (!chosen.delete(task)) chosen.add(task);
    this.set({ task: [...chosen] });
  }

  /** Show how many samples each choice would leave. */
  async count() {
    const wanted = this.values;
    const counts = await this.rows.facets(wanted);
    if (this.values !== wanted) return; // another filter was set meanwhile
    this.#showTasks(counts.task || {});
    for (const [facet, menu] of Object.entries(this.menus)) {
      this.#fill(facet, menu, counts[facet], [this.values[facet] || []].flat());
    }
  }

  #showTasks(counts) {
    const names = [...TASKS, ...Object.keys(counts).filter((name) => !TASKS.includes(name)).sort()];
    const focused = document.activeElement?.dataset?.task;
    const buttons = names.map((task, number) => {
      const pressed = String(this.values.task.includes(task));
      const button = make("button", { type: "button", "aria-pressed": pressed, "data-task": task },
        isolated(taskName(task)), ` (${thousands(counts[task] || 0)})`);
      if (number < 3) button.setAttribute("aria-keyshortcuts", String(number + 1));
      button.addEventListener("click", () => this.toggleTask(task));
      return button;
    });
    byId("tasks").replaceChildren(...buttons);
    buttons.find((button) => button.dataset.task === focused)?.focus();
  }

  /** Fill a menu, which chooses one name; several come from the address, as one entry. */
  #fill(facet, menu, counts, chosen) {
    const names = [...new Set([...Object.keys(counts || {}), ...chosen])].sort();
    const options = names.map((name) => {
      const text = counts ? `${name} (${thousands(counts[name] || 0)})` : name;
      return make("option", { value: name }, text);
    });
    if (chosen.length > 1) this.several[facet] = chosen;
    const several = this.several[facet];
    if (several) {
      const text = `${several.length} of them: ${several.join(", ")}`;
      options.unshift(make("option", { value: "", "data-several": true }, text));
    }
    menu.replaceChildren(make("option", { value: "" }, "all"), ...options);
    if (chosen.length > 1) menu.selectedIndex = 1;
    else menu.value = chosen[0] || "";
    menu.closest(".field").hidden = !names.length && !several;
  }

  #addSort() {
    if (!this.rows.scores.length) return;
    const options = this.rows.scores.flatMap((name) => [
      make("option", { value: `+${name}` }, `${name}, lowest first`),
      make("option", { value: `-${name}` }, `${name}, highest first`),
    ]);
    this.sort = make("select", { id: "sort" }, make("option", { value: "" }, "as listed"), ...options);
    this.sort.addEventListener("change", () => this.set({ sort: this.sort.value }));
    const label = make("label", { for: "sort" }, "Order");
    byId("selects").append(make("div", { class: "field" }, label, this.sort));
  }
}
