// Keys. They rest while text is typed, and where a control has keys of its own.

const KEYS = [
  ["← →", "previous, next sample"],
  ["↑ ↓", "sample above, below"],
  ["Enter", "open the sample"],
  ["Esc", "close what is open"],
  ["1 2 3", "task: common object, common parts, unique parts"],
  ["/", "search"],
  ["o p", "objects, parts"],
  ["l t", "outlines, labels"],
  ["d", "theme"],
  ["?", "this help"],
];

/** Fill the table of keys in the help. */
function listKeys() {
  byId("keys").append(
    ...KEYS.map(([keys, text]) => {
      const caps = keys.split(" ").flatMap((key) => [make("kbd", {}, key), " "]);
      return make("tr", {}, make("th", { scope: "row" }, ...caps), make("td", {}, text));
    }),
  );
}

/** Call `actions[key]` for keys; what it returns as false stays with the browser. */
function listen(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!byId("keys-on").checked) return;
    const { target } = event;
    const typing = target.matches("input:not([type=checkbox]), select, textarea");
    if (typing) return;
    // A region that scrolls sideways has the arrows for itself.
    if (target.matches(".scroll") && event.key.startsWith("Arrow")) return;
    const action = actions[event.key];
    if (action && action() !== false) event.preventDefault();
  });
}
