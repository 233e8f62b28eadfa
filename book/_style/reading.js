// A formula cannot be broken. Where it is wider than its column, as on a phone, it is first set smaller, down to two
// thirds (a little more than half on a phone), and scrolls by itself only where that is not enough.
"use strict";
(() => {
  const shrink = (formula, room, width) => {
    const size = Number(formula.dataset.size ??= String(parseFloat(formula.style.fontSize) || 100));
    const smallest = innerWidth <= 600 ? 0.54 : 0.66;
    let scale = 1; // spaces do not shrink with the letters, so once is not always enough
    formula.style.fontSize = `${size}%`;
    for (let times = 0; times < 3 && room() && width() > room() && scale > smallest; times++) {
      scale = Math.max(smallest, 0.98 * scale * room() / width());
      formula.style.fontSize = `${size * scale}%`;
    }
  };
  const fit = () => {
    document.querySelectorAll("article mjx-container:not([display])").forEach((formula) => {
      formula.classList.remove("wider-than-line");
      const line = formula.parentElement.closest("p, li, dd, dt, td, th, h1, h2, h3, div");
      const inside = line && getComputedStyle(line);
      const room = () => line ? line.clientWidth - parseFloat(inside.paddingLeft) - parseFloat(inside.paddingRight) : 0;
      const width = () => formula.getBoundingClientRect().width;
      if (width() <= room() && !formula.dataset.size) return;
      shrink(formula, room, width);
      if (width() > room()) formula.classList.add("wider-than-line");
    });
    document.querySelectorAll('article mjx-container[display="true"]').forEach((formula) =>
      shrink(formula, () => formula.clientWidth, () => formula.scrollWidth));
  };
  addEventListener("load", () => {
    window.MathJax?.startup?.promise?.then(fit);
    addEventListener("resize", fit);
    addEventListener("beforeprint", fit);
    document.querySelectorAll("details").forEach((part) => part.addEventListener("toggle", fit)); // hidden, nothing has a width
  });
})();
