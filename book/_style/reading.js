// A formula inside a line cannot be broken. Where it is wider than its paragraph, as on a phone, it scrolls by itself.
"use strict";
(() => {
  const fit = () => document.querySelectorAll("article mjx-container:not([display])").forEach((formula) => {
    formula.classList.remove("wider-than-line");
    const line = formula.parentElement.closest("p, li, dd, dt, td, th, h1, h2, h3, div");
    if (line && formula.getBoundingClientRect().width > line.clientWidth) formula.classList.add("wider-than-line");
  });
  addEventListener("load", () => {
    window.MathJax?.startup?.promise?.then(fit);
    addEventListener("resize", fit);
    addEventListener("beforeprint", fit);
  });
})();
