// A formula cannot be broken. Where it is wider than its column, as on a phone, it is first set smaller, down to two
// thirds (a little more than half on a phone), and scrolls by itself only where that is not enough.
"use strict";
(() => {
  // Sizes are read for all formulas and then set for all: in turns, the page would be laid out anew for each of them.
  const shrink = (formulas, room, width) => {
    const smallest = innerWidth <= 600 ? 0.54 : 0.66;
    let left = formulas.map((formula) => {
      const size = Number(formula.dataset.size ?? (parseFloat(formula.style.fontSize) || 100));
      if (formula.dataset.size) formula.style.fontSize = `${size}%`;
      return {formula, size, scale: 1};
    });
    for (let times = 0; times < 3; times++) { // spaces do not shrink with the letters, so once is not always enough
      left = left.map((one) => ({...one, room: room(one.formula), width: width(one.formula)}))
        .filter((one) => one.room > 0 && one.width > one.room && one.scale > smallest);
      for (const one of left) {
        one.scale = Math.max(smallest, 0.98 * one.scale * one.room / one.width);
        one.formula.dataset.size = one.size;
        one.formula.style.fontSize = `${one.size * one.scale}%`;
      }
    }
  };
  const lineOf = (formula) => formula.parentElement.closest("p, li, dd, dt, td, th, h1, h2, h3, div");
  const roomInLine = (formula) => {
    const line = lineOf(formula), inside = line && getComputedStyle(line);
    return line ? line.clientWidth - parseFloat(inside.paddingLeft) - parseFloat(inside.paddingRight) : 0;
  };
  const widthInLine = (formula) => formula.getBoundingClientRect().width;
  const fit = () => {
    const inline = [...document.querySelectorAll("article mjx-container:not([display])")];
    inline.forEach((formula) => formula.classList.remove("wider-than-line"));
    shrink(inline, roomInLine, widthInLine);
    inline.filter((formula) => widthInLine(formula) > roomInLine(formula))
      .forEach((formula) => formula.classList.add("wider-than-line"));
    shrink([...document.querySelectorAll('article mjx-container[display="true"]')],
      (formula) => formula.clientWidth, (formula) => formula.scrollWidth);
  };
  let asked = 0;
  const soon = () => { cancelAnimationFrame(asked); asked = requestAnimationFrame(fit); };
  addEventListener("load", () => {
    window.MathJax?.startup?.promise?.then(fit);
    addEventListener("resize", soon);
    addEventListener("beforeprint", fit);
    document.querySelectorAll("details").forEach((part) => part.addEventListener("toggle", soon)); // hidden, nothing has a width
  });
})();
