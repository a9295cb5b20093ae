// Make elements. Texts of a build become text nodes, never markup.

const byId = (id) => document.getElementById(id);

/** Make an element. An attribute `onNAME` is a listener; true and false switch an attribute. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Return a text in its own direction: one from right to left does not turn what surrounds it. */
const isolated = (text) => make("bdi", {}, text);

const thousands = (number) => number.toLocaleString("en");

/** Return `1 sample` or `2 samples`. */
const counted = (number, noun) => `${thousands(number)} ${noun}${number === 1 ? "" : "s"}`;

const TASKS = ["common_object", "common_parts", "unique_parts"];

/** Return a task in words; one that is not known stays as it is. */
const taskName = (task) => (TASKS.includes(task) ? task.replaceAll("_", " ") : task);

/** Return a mark that shows a colour and the pattern of a kind. */
function swatch(colour, kind) {
  const element = make("span", { class: "swatch", "aria-hidden": "true" });
  element.style.borderColor = colour;
  element.style.borderStyle = kind === "object" ? "dashed" : "solid";
  if (kind === "common") element.style.background = colour;
  if (kind === "part") element.style.background = `${colour}88`;
  if (kind === "unique") {
    const stripes = `${colour} 0 3px, transparent 3px 6px`;
    element.style.background = `repeating-linear-gradient(135deg, ${stripes})`;
  }
  return element;
}
