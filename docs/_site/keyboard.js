// What the theme leaves out for keyboards and screen readers: tables that scroll can be focused, and
// the dialog of the search has a name.
const scrollable = () => {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
new MutationObserver(scrollable).observe(document.body, { childList: true, subtree: true });
addEventListener("resize", scrollable);
addEventListener("load", scrollable);
