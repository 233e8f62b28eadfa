// Figures that a reader can move. Each `div.movable` carries its data as JSON and names its kind; nothing is loaded from elsewhere.
// Colours come from the style sheet, so the figures follow the light and the dark theme; every control works from the keyboard.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const W = 360, H = 260, LEFT = 56, RIGHT = 12, TOP = 14, BOTTOM = 42;

  const html = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const svg = (tag, attributes = {}, text = "") => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text) element.textContent = text;
    return element;
  };
  const short = (value) => value === 0 ? "0" : Math.abs(value) >= 1e4 || Math.abs(value) < 1e-3
    ? value.toExponential(1).replace("e+", "e").replace(".0e", "e") : String(Number(value.toPrecision(3)));

  // ---- one panel with axes: `x`, `y` map data to the drawing; ticks of a logarithmic axis are powers of ten
  function panel(label, xName, yName, xRange, yRange, xLog = false, yLog = false) {
    const root = svg("svg", {viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label, class: "movable-panel"});
    const scale = ([low, high], from, to, log) => {
      const f = log ? Math.log10 : (value) => value;
      return (value) => from + (to - from) * (f(value) - f(low)) / (f(high) - f(low));
    };
    const x = scale(xRange, LEFT, W - RIGHT, xLog), y = scale(yRange, H - BOTTOM, TOP, yLog);
    const ticks = ([low, high], log) => {
      if (log && high / low >= 10) {
        const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9), step = Math.ceil((last - first + 1) / 6);
        return Array.from({length: last - first + 1}, (_, i) => first + i).filter((_, i) => i % step === 0).map((e) => 10 ** e);
      }
      const raw = (high - low) / 4, power = 10 ** Math.floor(Math.log10(raw)), step = power * [1, 2, 5, 10].find((m) => m * power >= raw);
      return Array.from({length: 9}, (_, i) => Math.ceil(low / step) * step + i * step).filter((t) => t <= high * (1 + 1e-9) || t <= high);
    };
    for (const t of ticks(xRange, xLog)) {
      root.append(svg("line", {x1: x(t), x2: x(t), y1: H - BOTTOM, y2: H - BOTTOM + 4, class: "axis"}),
        svg("text", {x: x(t), y: H - BOTTOM + 17, "text-anchor": "middle"}, short(t)));
    }
    for (const t of ticks(yRange, yLog)) {
      root.append(svg("line", {x1: LEFT - 4, x2: LEFT, y1: y(t), y2: y(t), class: "axis"}),
        svg("text", {x: LEFT - 7, y: y(t) + 4, "text-anchor": "end"}, short(t)));
    }
    root.append(svg("path", {d: `M${LEFT} ${TOP}V${H - BOTTOM}H${W - RIGHT}`, class: "axis"}),
      svg("text", {x: (LEFT + W - RIGHT) / 2, y: H - 6, "text-anchor": "middle"}, xName),
      svg("text", {transform: `translate(12 ${(TOP + H - BOTTOM) / 2}) rotate(-90)`, "text-anchor": "middle"}, yName));
    const layer = svg("g");
    root.append(layer);
    return {root, x, y, layer};
  }
  const path = (points) => "M" + points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
  const spread = (values, log) => {
    const low = Math.min(...values), high = Math.max(...values);
    return log ? [low / 1.5, high * 1.5] : [low - 0.05 * (high - low), high + 0.05 * (high - low)];
  };
  const slider = (name, low, high, step, value, listener) => {
    const input = html("input", {type: "range", min: low, max: high, step, oninput: () => listener(Number(input.value))});
    input.value = value;
    return {input, row: html("label", {className: "movable-control"}, html("span", {textContent: name}), input)};
  };
  const choice = (name, options, value, listener) => {
    const select = html("select", {onchange: () => listener(select.value)},
      ...options.map(([key, text]) => html("option", {value: key, textContent: text, selected: key === value})));
    return html("label", {className: "movable-control"}, html("span", {textContent: name}), select);
  };
  // One chart, and beside it (on a phone below it) what moves it and what it says.
  const beside = (chart, ...others) => html("div", {className: "movable-beside"},
    html("div", {className: "movable-chart"}, chart), html("div", {className: "movable-side"}, ...others));
  const report = () => html("output", {className: "movable-report", ariaLive: "polite"});

  // ---- one scale for a whole network: the trace moves, the function does not
  function reparametrise(data) {
    const relu = (z) => Math.max(z, 0);
    const predict = (beta, t) => data.a.reduce((sum, a, j) => sum + a / beta * relu(beta * data.W[j][0] * t + beta * data.W[j][1]), 0);
    const trace = (beta) => beta ** 2 * data.A + data.B / beta ** 2;
    const exponents = Array.from({length: 121}, (_, i) => (i - 60) / 10), line = Array.from({length: 161}, (_, i) => (i - 80) / 66);
    const curve = exponents.map((k) => [2 ** k, trace(2 ** k)]);
    const left = panel("Trace against the scale of the first layer, a valley on logarithmic axes, with the present scale marked", "scale β of the first layer",
      "trace", [2 ** -6, 2 ** 6], [data.orbit_minimum / 2, 2 * trace(2 ** 6) + 2 * trace(2 ** -6)], true, true);
    left.layer.append(svg("path", {d: path(curve.map(([b, t]) => [left.x(b), left.y(t)])), class: "curve"}),
      svg("path", {d: `M${LEFT} ${left.y(data.orbit_minimum)}H${W - RIGHT}`, class: "reference"}),
      svg("text", {x: W - RIGHT - 4, y: left.y(data.orbit_minimum) - 5, "text-anchor": "end"}, "orbit minimum F*"));
    const dot = svg("circle", {r: 6, class: "present"});
    left.layer.append(dot);
    const still = line.map((t) => predict(1, t));
    const right = panel("The function of the network, which does not move, through the five points of the sample", "t", "f(t)", [-1.2, 1.2], spread([...still, ...data.y]));
    const drawn = svg("path", {class: "curve strong"});
    right.layer.append(drawn, ...data.x.map((t, i) => svg("circle", {cx: right.x(t), cy: right.y(data.y[i]), r: 4, class: "point"})));
    const said = report();
    const move = (k) => {
      const beta = 2 ** k, now = line.map((t) => predict(beta, t));
      dot.setAttribute("cx", left.x(beta));
      dot.setAttribute("cy", left.y(trace(beta)));
      drawn.setAttribute("d", path(line.map((t, i) => [right.x(t), right.y(now[i])])));
      const change = Math.max(...now.map((value, i) => Math.abs(value - still[i])));
      said.textContent = `β = ${short(beta)}: trace ${short(trace(beta))}, ${short(trace(beta) / data.orbit_minimum)} times the orbit minimum `
        + `${short(data.orbit_minimum)}; largest change of a prediction ${change === 0 ? "0" : short(change)}`;
      control.input.setAttribute("aria-valuetext", said.textContent);
    };
    const control = slider("β, from 1/64 to 64", -6, 6, 0.1, 0, move);
    move(0);
    return [html("div", {className: "movable-panels"}, left.root, right.root), control.row, said];
  }

  // ---- what it costs to be bad, as the samples grow
  function interpolators(data) {
    const names = Object.keys(data), kinds = data[names[0]] ? [...new Set(names.flatMap((n) => Object.values(data[n]).flatMap(Object.keys)))] : [];
    const ratios = [...new Set(names.flatMap((n) => Object.keys(data[n])))].map(Number).sort((p, q) => p - q);
    const low = 1e-8, all = names.flatMap((n) => Object.values(data[n]).flatMap((row) => Object.values(row).flat()));
    const chart = panel("Relative population loss against the trace at the orbit minimum over that of the flattest found, one mark per network",
      "F* over the flattest found", "population loss, relative", [0.8, 1.3 * Math.max(...all.map(([over]) => over))],
      [low / 2, 2 * Math.max(...all.map(([, loss]) => loss))], true, true);
    chart.root.classList.add("wide");
    chart.layer.append(svg("path", {d: `M${LEFT} ${chart.y(0.5)}H${W - RIGHT}`, class: "reference"}));
    const marks = svg("g"), said = report();
    chart.layer.append(marks);
    let target = names.includes("three_relu") ? "three_relu" : names[0], at = Math.max(0, ratios.indexOf(2));
    const shape = (kind, x, y) => {
      const i = kinds.indexOf(kind), common = {class: `kind kind-${i}`};
      if (i % 4 === 0) return svg("circle", {...common, cx: x, cy: y, r: 4});
      if (i % 4 === 1) return svg("rect", {...common, x: x - 3.5, y: y - 3.5, width: 7, height: 7});
      if (i % 4 === 2) return svg("path", {...common, d: `M${x} ${y - 5}l5 9h-10z`});
      return svg("path", {...common, d: `M${x} ${y - 5}l5 5l-5 5l-5 -5z`});
    };
    const draw = () => {
      const row = data[target][String(ratios[at])] || {};
      marks.replaceChildren(...Object.entries(row).flatMap(([kind, pairs]) =>
        pairs.map(([over, loss]) => shape(kind, chart.x(over), chart.y(Math.max(loss, low))))));
      const bad = Object.values(row).flat().filter(([, loss]) => loss >= 0.5).map(([over]) => over);
      said.textContent = `n/d = ${ratios[at]}: ${bad.length ? `the flattest network that loses at least half the variance costs ${Math.min(...bad).toFixed(2)} times the flattest found`
        : "no network drawn here loses half the variance"}`;
      control.input.setAttribute("aria-valuetext", said.textContent);
    };
    const control = slider(`samples per dimension n/d: ${ratios.join(", ")}`, 0, ratios.length - 1, 1, at, (value) => { at = value; draw(); });
    const entry = (mark, text) => {
      const sample = svg("svg", {viewBox: "0 0 14 14", width: 14, height: 14, "aria-hidden": "true", class: "movable-sample"});
      sample.append(mark);
      return html("li", {}, sample, ` ${text}`);
    };
    const legend = html("ul", {className: "movable-legend"}, ...kinds.map((kind) => entry(shape(kind, 7, 7), kind)),
      entry(svg("path", {d: "M0 7H14", class: "reference"}), "half the variance of the target"));
    const called = {relu: "one ReLU", three_relu: "three ReLU", abs: "one |z|", tanh_sum: "a sum of tanh", sine_sum: "a sum of sines"};
    draw();
    return [beside(chart.root, choice("target", names.map((n) => [n, called[n] ?? n]), target, (value) => { target = value; draw(); }), control.row, legend, said)];
  }

  // ---- one hundred networks, and the one under the pointer
  function ranks(values) {
    const order = values.map((_, i) => i).sort((i, j) => values[i] - values[j]), rank = [];
    for (let i = 0; i < order.length;) {
      let j = i;
      while (j < order.length && values[order[j]] === values[order[i]]) j++;
      for (let k = i; k < j; k++) rank[order[k]] = (i + j - 1) / 2;
      i = j;
    }
    return rank;
  }
  function correlation(p, q) {
    const mean = (v) => v.reduce((s, value) => s + value, 0) / v.length, a = mean(p), b = mean(q);
    const product = (v, m, w, n) => v.reduce((s, value, i) => s + (value - m) * (w[i] - n), 0);
    return product(p, a, q, b) / Math.sqrt(product(p, a, p, a) * product(q, b, q, b));
  }
  function scatter(data) {
    const names = Object.entries(data.columns).map(([key, {label}]) => [key, label]), place = html("div"), said = report();
    let across = names[0][0], up = names.at(-1)[0], at = -1, points = [];
    const say = () => {
      points.forEach((point, i) => point.setAttribute("class", i === at ? "point present" : "point"));
      if (at >= 0) points[at].parentNode.append(points[at]);
      const rho = correlation(ranks(data.columns[across].values), ranks(data.columns[up].values));
      said.textContent = `rank correlation ${rho.toFixed(2)}` + (at < 0 ? "; point at a network, or press the arrow keys in the figure" :
        `; network ${data.seed[at]}: ` + names.map(([key, label]) => `${label} ${short(data.columns[key].values[at])}`).join(", "));
    };
    const draw = () => {
      const p = data.columns[across], q = data.columns[up];
      const chart = panel(`Each network: ${q.label} against ${p.label}`, p.label, q.label, spread(p.values), spread(q.values));
      chart.root.classList.add("wide");
      chart.root.setAttribute("tabindex", "0");
      points = p.values.map((value, i) => svg("circle", {cx: chart.x(value), cy: chart.y(q.values[i]), r: 4, class: "point"}));
      chart.layer.append(...points);
      chart.root.addEventListener("pointermove", (event) => {
        const box = chart.root.getBoundingClientRect(), x = (event.clientX - box.left) * W / box.width, y = (event.clientY - box.top) * H / box.height;
        const far = p.values.map((value, i) => Math.hypot(chart.x(value) - x, chart.y(q.values[i]) - y)), nearest = far.indexOf(Math.min(...far));
        if (far[nearest] < 14 && nearest !== at) { at = nearest; say(); }
      });
      chart.root.addEventListener("keydown", (event) => {
        const step = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1}[event.key];
        if (!step) return;
        event.preventDefault();
        const order = p.values.map((_, i) => i).sort((i, j) => p.values[i] - p.values[j] || i - j);
        at = order[(order.indexOf(at) + step + order.length) % order.length];
        say();
      });
      place.replaceChildren(chart.root);
      say();
    };
    draw();
    return [beside(place, choice("across", names, across, (value) => { across = value; draw(); }), choice("up", names, up, (value) => { up = value; draw(); }), said)];
  }

  const FIGURES = {reparametrise, interpolators, scatter};
  window.movable = {FIGURES, W, H, LEFT, RIGHT, TOP, BOTTOM, html, svg, panel, path, spread, slider, choice, beside, report, short};
  const start = () => document.querySelectorAll("div.movable").forEach((element) => {
    element.append(...FIGURES[element.dataset.figure](JSON.parse(element.querySelector("script").textContent)));
    element.closest(".cell_output")?.classList.add("has-movable"); // the picture, for readers without scripts, is put away
  });
  // after the scripts that add figures
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start); else setTimeout(start, 0);
})();
