// A formula cannot be broken. In a line, where it is wider than its paragraph, as on a phone, it scrolls by itself;
// displayed, it is first set smaller, down to two thirds, and scrolls only where that is not enough.
"use strict";
(() => {
  const SMALLEST = 0.66;
  const fit = () => {
    document.querySelectorAll("article mjx-container:not([display])").forEach((formula) => {
      formula.classList.remove("wider-than-line");
      const line = formula.parentElement.closest("p, li, dd, dt, td, th, h1, h2, h3, div");
      if (line && formula.getBoundingClientRect().width > line.clientWidth) formula.classList.add("wider-than-line");
    });
    document.querySelectorAll('article mjx-container[display="true"]').forEach((formula) => {
      formula.dataset.size ??= String(parseFloat(formula.style.fontSize) || 100);
      const size = Number(formula.dataset.size);
      formula.style.fontSize = `${size}%`;
      const ratio = formula.clientWidth / formula.scrollWidth;
      if (formula.clientWidth && ratio < 1) formula.style.fontSize = `${size * Math.max(SMALLEST, 0.98 * ratio)}%`;
    });
  };
  addEventListener("load", () => {
    window.MathJax?.startup?.promise?.then(fit);
    addEventListener("resize", fit);
    addEventListener("beforeprint", fit);
    document.querySelectorAll("details").forEach((part) => part.addEventListener("toggle", fit)); // hidden, nothing has a width
  });
})();
