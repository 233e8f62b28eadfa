// Figures to move of Parts II and III: what a labelling leaves open in the plane, a language, the vanishing advantage, the splits.
"use strict";
(() => {
  const {FIGURES, W, H, LEFT, RIGHT, TOP, BOTTOM, html, svg, panel, path, spread, slider, choice, beside, report, short} = window.movable;
  const inside = (chart, event) => {
    const box = chart.root.getBoundingClientRect();
    return [(event.clientX - box.left) * W / box.width, (event.clientY - box.top) * H / box.height];
  };

  // ---- two classes in the plane: which labels of a probe some linear classifier still allows
  // Strictly separable means that all differences p - q lie in an open half-plane: their largest angular gap exceeds pi.
  function separable(positive, negative) {
    const angles = positive.flatMap(([px, py]) => negative.map(([qx, qy]) => px === qx && py === qy ? NaN : Math.atan2(py - qy, px - qx)));
    if (angles.some(Number.isNaN)) return false;
    if (!angles.length) return true;
    angles.sort((a, b) => a - b);
    return angles.some((angle, i) => (i + 1 < angles.length ? angles[i + 1] : angles[0] + 2 * Math.PI) - angle > Math.PI + 1e-12);
  }
  function cone(data) {
    const COLUMNS = 48, ROWS = 36, range = [-3, 3], said = report();
    const chart = panel("The plane of two features: training points of two classes, and for every place of a probe the labels that some linear classifier allows",
      "first feature", "second feature", range, range);
    chart.root.classList.add("wide");
    chart.root.setAttribute("tabindex", "0");
    const ground = svg("g"), marks = svg("g"), probe = svg("circle", {r: 7, class: "present"});
    chart.layer.append(ground, marks, probe);
    let count = 6, at = [0.3, -0.2];
    const allowed = (point) => {
      const used = data.x.slice(0, count), classes = [0, 1].map((k) => used.filter((_, i) => data.y[i] === k));
      return [0, 1].filter((k) => separable(...[0, 1].map((j) => j === k ? [...classes[j], point] : classes[j])));
    };
    const name = (labels) => labels.length === 2 ? "either class: two feasible pairs" : labels.length ? `class ${labels[0]} only: one feasible pair` : "no class";
    const say = () => {
      probe.setAttribute("cx", chart.x(at[0]));
      probe.setAttribute("cy", chart.y(at[1]));
      said.textContent = `${count} training points; ${(100 * share).toFixed(0)} % of the square is open to both classes. Probe at (${at.map((v) => v.toFixed(2)).join(", ")}): ${name(allowed(at))}`;
    };
    let share = 0;
    const draw = () => {
      const cells = [], width = (W - RIGHT - LEFT) / COLUMNS, height = (H - BOTTOM - TOP) / ROWS;
      let open = 0;
      for (let i = 0; i < COLUMNS; i++) for (let j = 0; j < ROWS; j++) {
        const labels = allowed([range[0] + 6 * (i + 0.5) / COLUMNS, range[1] - 6 * (j + 0.5) / ROWS]);
        open += labels.length === 2;
        cells.push(svg("rect", {x: LEFT + i * width, y: TOP + j * height, width, height, "shape-rendering": "crispEdges",
          class: labels.length === 2 ? "open-region" : `closed-region class-${labels[0]}`}));
      }
      share = open / (COLUMNS * ROWS);
      ground.replaceChildren(...cells);
      marks.replaceChildren(...data.x.slice(0, count).map(([u, v], i) => data.y[i]
        ? svg("rect", {x: chart.x(u) - 5, y: chart.y(v) - 5, width: 10, height: 10, class: "kind kind-2"})
        : svg("circle", {cx: chart.x(u), cy: chart.y(v), r: 5.5, class: "kind kind-1"})));
      say();
    };
    const move = (x, y) => { at = [x, y].map((v) => Math.max(range[0], Math.min(range[1], v))); say(); };
    const follow = (event) => {
      const [px, py] = inside(chart, event);
      move(range[0] + 6 * (px - LEFT) / (W - RIGHT - LEFT), range[1] - 6 * (py - TOP) / (H - BOTTOM - TOP));
    };
    let held = false;
    chart.root.addEventListener("pointerdown", (event) => { held = true; chart.root.setPointerCapture(event.pointerId); follow(event); });
    chart.root.addEventListener("pointermove", (event) => { if (held) follow(event); });
    chart.root.addEventListener("pointerup", () => { held = false; });
    chart.root.style.touchAction = "none";
    chart.root.addEventListener("keydown", (event) => {
      const step = {ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[event.key];
      if (!step) return;
      event.preventDefault();
      move(at[0] + 0.1 * step[0], at[1] + 0.1 * step[1]);
    });
    const control = slider(`training points, 2 to ${data.x.length}`, 2, data.x.length, 1, count, (value) => { count = value; draw(); });
    draw();
    return [beside(chart.root, control.row, said)];
  }

  // ---- a language: statements by length, and the completions of the one under the pointer
  function lattice(data) {
    const said = report(), root = svg("svg", {viewBox: `0 0 ${2 * W} ${H + 40}`, role: "img", class: "movable-panel wide-lattice", tabindex: "0",
      "aria-label": "The statements of a small language by length, joined where one more program is added"});
    const rows = data.statements.reduce((found, s, i) => { (found[s.programs.length] ??= []).push(i); return found; }, []);
    const place = data.statements.map((s) => {
      const row = rows[s.programs.length], i = row.indexOf(data.statements.indexOf(s));
      return [2 * W * (i + 0.5) / row.length, 26 + (H - 16) * s.programs.length / (rows.length - 1)];
    });
    const subset = (i, j) => data.statements[i].programs.every((p) => data.statements[j].programs.includes(p));
    const lines = [];
    data.statements.forEach((s, i) => data.statements.forEach((t, j) => {
      if (t.programs.length === s.programs.length + 1 && subset(i, j))
        lines.push([i, j, svg("line", {x1: place[i][0], y1: place[i][1], x2: place[j][0], y2: place[j][1], class: "lattice-line"})]);
    }));
    const dots = data.statements.map((s, i) => svg("circle", {cx: place[i][0], cy: place[i][1], r: 4 + 2 * Math.sqrt(s.weakness), class: "point"}));
    const texts = data.statements.map((s, i) => svg("text", {x: place[i][0], y: place[i][1] + 4, "text-anchor": "middle", class: "lattice-weakness"}, String(s.weakness)));
    root.append(...lines.map(([, , line]) => line), ...dots, ...texts);
    let at = 0;
    const say = () => {
      const held = data.statements.map((_, j) => subset(at, j)), s = data.statements[at];
      dots.forEach((dot, j) => dot.setAttribute("class", j === at ? "point present" : held[j] ? "point held" : "point apart"));
      lines.forEach(([i, j, line]) => line.setAttribute("class", held[i] && held[j] ? "lattice-line held" : "lattice-line"));
      said.textContent = `{${s.programs.join(", ")}}: true of ${s.states.join(", ")}; its completions are the ${held.filter(Boolean).length} statements marked, so its weakness is ${s.weakness}, its length ${s.programs.length}`;
    };
    dots.forEach((dot, i) => { dot.addEventListener("pointerenter", () => { at = i; say(); }); texts[i].style.pointerEvents = "none"; });
    root.addEventListener("keydown", (event) => {
      const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
      if (!step) return;
      event.preventDefault();
      at = (at + step + dots.length) % dots.length;
      say();
    });
    say();
    return [root, said];
  }

  // ---- the vanishing advantage: the gap against n, and what each n looks like at its stopping loss
  function vanishing(data) {
    const sizes = Object.keys(data).map(Number).sort((p, q) => p - q), said = report(), right = html("div", {className: "movable-half"});
    const ends = sizes.flatMap((n) => [data[n].low, data[n].high]);
    const left = panel("Accuracy of the large-batch regime less that of the small-batch one in points, with its 95 % interval, against the number of images", "training images n",
      "advantage of the large batch, points", [sizes[0] / 1.5, sizes.at(-1) * 1.5], spread([...ends, 0]), true);
    left.layer.append(svg("path", {d: `M${LEFT} ${left.y(0)}H${W - RIGHT}`, class: "reference"}),
      ...sizes.map((n) => svg("line", {x1: left.x(n), x2: left.x(n), y1: left.y(data[n].low), y2: left.y(data[n].high), class: "curve"})));
    const dots = sizes.map((n) => svg("circle", {cx: left.x(n), cy: left.y(data[n].gap), r: 4}));
    left.layer.append(...dots);
    const move = (i) => {
      const n = sizes[i], {small, large} = data[n], both = [...small, ...large];
      dots.forEach((dot, j) => { dot.setAttribute("class", j === i ? "present" : "point"); dot.setAttribute("r", j === i ? 6 : 4); });
      const chart = panel(`Test accuracy against the training loss at stopping, n = ${n}: circles small batches, squares large ones`, "training loss at stopping",
        "test accuracy", spread(both.map(([loss]) => loss), true), spread(both.map(([, hit]) => hit)), true);
      chart.layer.append(...small.map(([loss, hit]) => svg("circle", {cx: chart.x(loss), cy: chart.y(hit), r: 4, class: "kind kind-1"})),
        ...large.map(([loss, hit]) => svg("rect", {x: chart.x(loss) - 4, y: chart.y(hit) - 4, width: 8, height: 8, class: "kind kind-4"})));
      right.replaceChildren(chart.root);
      const middle = (rows) => short(rows.map(([loss]) => loss).sort((p, q) => p - q)[Math.floor(rows.length / 2)]);
      said.textContent = `n = ${n}: the large batch leads by ${data[n].gap.toFixed(2)} points [${data[n].low.toFixed(2)}, ${data[n].high.toFixed(2)}], ${small.length} + ${large.length} networks; `
        + `median loss at stopping ${middle(small)} (small, circles) and ${middle(large)} (large, squares)`;
      control.input.setAttribute("aria-valuetext", said.textContent);
    };
    const control = slider(`training images: ${sizes.join(", ")}`, 0, sizes.length - 1, 1, 0, move);
    move(0);
    return [html("div", {className: "movable-panels"}, html("div", {className: "movable-half"}, left.root), right), control.row, said];
  }

  // ---- one measure, twenty splits: every split's rank correlation, and the pooled one
  function splits(data) {
    const sets = Object.keys(data), measures = Object.keys(data[sets[0]]), place = html("div"), said = report();
    let set = sets[0], measure = measures[0];
    const draw = () => {
      const {rho, pooled, low, high, label} = data[set][measure], sorted = [...rho].sort((p, q) => p - q);
      const chart = panel(`Rank correlation of ${label} with test accuracy in each split, sorted, with the pooled interval`, "split, sorted", "rank correlation", [0, sorted.length + 1], [-0.8, 0.8]);
      chart.root.classList.add("wide");
      chart.layer.append(svg("rect", {x: LEFT, width: W - RIGHT - LEFT, y: chart.y(high), height: Math.max(1, chart.y(low) - chart.y(high)), class: "band"}),
        svg("path", {d: `M${LEFT} ${chart.y(0)}H${W - RIGHT}`, class: "reference"}),
        svg("path", {d: `M${LEFT} ${chart.y(pooled)}H${W - RIGHT}`, class: "curve"}),
        ...sorted.map((value, i) => svg("circle", {cx: chart.x(i + 1), cy: chart.y(value), r: 4, class: "point"})));
      place.replaceChildren(chart.root);
      const other = rho.filter((value) => value * pooled < 0).length;
      said.textContent = `${label}: pooled ${pooled.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]; single splits from ${sorted[0].toFixed(2)} to ${sorted.at(-1).toFixed(2)}, ${other} of ${rho.length} on the other side of zero`;
    };
    draw();
    const called = {mnist: "MNIST", "fashion-mnist": "Fashion-MNIST"};
    return [beside(place, choice("measure", measures.map((m) => [m, data[set][m].label]), measure, (value) => { measure = value; draw(); }),
      choice("images", sets.map((s) => [s, called[s] ?? s]), set, (value) => { set = value; draw(); }), said)];
  }

  // ---- the dual function on the circle: it touches its bound at the neurons of a flattest interpolator
  function circle(data) {
    const names = Object.keys(data), place = html("div"), said = report();
    let name = names[0], angle = 0;
    const draw = () => {
      const {degrees, ratio, flattest, teacher, fstar, fteacher} = data[name];
      const chart = panel("The dual function over the directions of a neuron: never above one", "direction of a neuron, degrees", "dual function", [0, 360], [0, 1.15]);
      chart.root.classList.add("wide");
      const at = (degree) => ratio[Math.round((degree % 360) / 360 * (degrees.length - 1))];
      const dot = svg("circle", {r: 5, class: "present"});
      chart.layer.append(svg("path", {d: `M${LEFT} ${chart.y(1)}H${W - RIGHT}`, class: "reference"}),
        svg("path", {d: path(degrees.map((d, i) => [chart.x(d), chart.y(ratio[i])])), class: "curve"}),
        ...flattest.map((d) => svg("circle", {cx: chart.x(d), cy: chart.y(1), r: 6, class: "kind kind-2"})),
        ...teacher.map((d) => svg("path", {d: `M${chart.x(d)} ${chart.y(at(d)) - 7}l6 12h-12z`, class: "kind kind-4"})), dot);
      const move = (value) => {
        angle = value;
        dot.setAttribute("cx", chart.x(angle));
        dot.setAttribute("cy", chart.y(at(angle)));
        said.textContent = `direction ${angle}°: dual function ${at(angle).toFixed(3)}. F* of the flattest ${short(fstar)}, of the teacher ${short(fteacher)}; `
          + `circles: neurons of the flattest; triangles: the teacher's`;
      };
      control.input.oninput = () => move(Number(control.input.value));
      place.replaceChildren(chart.root);
      move(angle);
    };
    const control = slider("direction, degrees", 0, 360, 1, 0, () => {});
    draw();
    return [beside(place, choice("data set", names.map((n) => [n, n]), name, (value) => { name = value; draw(); }), control.row, said)];
  }

  Object.assign(FIGURES, {cone, lattice, vanishing, splits, circle});
})();
