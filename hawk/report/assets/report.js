"use strict";
(() => {
  const data = JSON.parse(document.getElementById("head-data").textContent);
  const table = document.getElementById("heatmap");
  const tip = document.getElementById("tip");
  const buttons = document.getElementById("ablations");
  const order = document.getElementById("order");
  const names = Object.keys(data);
  let current = names[0];

  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text; // never innerHTML: names come from files
    if (className) made.className = className;
    return made;
  };
  const fixed = (value, digits) => (value === null ? "—" : (Math.round(value * 10 ** digits) / 10 ** digits + 0).toFixed(digits));
  const signed = (value) => (value > 0 ? "+" : "") + fixed(value, 1);

  // White at 0, red for a drop, blue for a gain: the ends of ColorBrewer's RdBu.
  const colour = (value, limit) => {
    const share = Math.max(-1, Math.min(1, value / limit));
    const end = share > 0 ? [178, 24, 43] : [33, 102, 172];
    const mix = end.map((c) => Math.round(255 + (c - 255) * Math.abs(share)));
    return { background: `rgb(${mix.join(",")})`, text: Math.abs(share) > 0.55 ? "white" : "" };
  };

  function sortedRows(found) {
    const rows = found.heads.map((head, index) => ({ head, index, weight: found.weights[index], noise: found.weight_noise[index], cells: found.cells[index] }));
    const mean = (row) => row.cells.reduce((sum, cell) => sum + cell.drop, 0) / row.cells.length;
    const key = order.value;
    const value = (row) => {
      if (key === "weight") return row.weight === null ? -Infinity : row.weight;
      if (key === "mean") return mean(row);
      const column = found.benchmarks.indexOf(key.slice("benchmark:".length));
      return row.cells[column].drop;
    };
    if (key !== "head") rows.sort((a, b) => value(b) - value(a) || a.index - b.index);
    return rows;
  }

  function heading(text, key) {
    const cell = element("th", text);
    cell.dataset.key = key;
    cell.title = "sort by " + text;
    cell.setAttribute("aria-sort", order.value === key ? (key === "head" ? "ascending" : "descending") : "none");
    cell.addEventListener("click", () => { order.value = key; draw(); });
    return cell;
  }

  function draw() {
    const found = data[current];
    const limit = Math.max(1e-9, ...found.cells.flat().map((cell) => Math.abs(cell.drop)));
    const largest = Math.max(1e-9, ...found.weights.map((w) => w ?? 0));
    const body = element("tbody");
    const first = element("tr");
    first.append(heading("head", "head"), ...found.benchmarks.map((name) => heading(name, "benchmark:" + name)), heading("weight", "weight"));
    const top = element("thead");
    top.append(first);
    for (const row of sortedRows(found)) {
      const line = element("tr");
      line.append(element("th", row.head));
      row.cells.forEach((cell, column) => {
        const made = element("td", fixed(cell.drop, 1), "cell" + (cell.noise ? " noise" : ""));
        const paint = colour(cell.drop, limit);
        made.style.backgroundColor = paint.background;
        if (!cell.noise) made.style.color = paint.text;
        made.dataset.tip = [
          `${row.head} on ${found.benchmarks[column]}`,
          `drop ${signed(cell.drop)} points`,
          `${found.confidence} % interval ${signed(cell.low)} to ${signed(cell.high)}`,
          `noise floor ${fixed(cell.floor, 1)}` + (cell.noise ? ": noise" : ""),
          `log-probability of the answer ${fixed(-cell.logprob, 3)}`,
          `${cell.samples} samples, ${cell.groups} images, ${cell.unparsed} unparsed`,
        ].join("\n");
        line.append(made);
      });
      const weight = element("td", undefined, "weight");
      if (row.weight !== null) {
        const bar = element("i");
        bar.style.width = Math.round((90 * row.weight) / largest) + "px";
        weight.append(bar, element("span", fixed(row.weight, 3)));
        if (row.noise) {
          weight.classList.add("noise");
          weight.title = "Noise alone would give such a weight: it lies in the middle 95 % of the weights if no head mattered.";
        }
      }
      line.append(weight);
      body.append(line);
    }
    table.replaceChildren(top, body);
    for (const button of buttons.children) button.setAttribute("aria-pressed", String(button.textContent === current));
  }

  function fillOrder() {
    const before = order.value;
    const options = [["weight", "weight"], ["head", "head"], ["mean", "mean drop"], ...data[current].benchmarks.map((name) => ["benchmark:" + name, "drop on " + name])];
    order.replaceChildren(...options.map(([value, text]) => { const made = element("option", text); made.value = value; return made; }));
    if (options.some(([value]) => value === before)) order.value = before;
  }

  if (table && names.length) {
    for (const name of names) {
      const button = element("button", name);
      button.type = "button";
      button.addEventListener("click", () => { current = name; fillOrder(); draw(); });
      buttons.append(button);
    }
    order.addEventListener("change", draw);
    fillOrder();
    order.value = "head";
    draw();
    table.addEventListener("mousemove", (event) => {
      const cell = event.target.closest("td.cell");
      tip.style.display = cell ? "block" : "none";
      if (!cell) return;
      tip.textContent = cell.dataset.tip;
      const x = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
      const y = event.clientY + 14 + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 10 : event.clientY + 14;
      tip.style.left = Math.max(4, x) + "px";
      tip.style.top = Math.max(4, y) + "px";
    });
    table.addEventListener("mouseleave", () => { tip.style.display = "none"; });
  }

  // Tables: a click on a heading sorts by it; numbers by data-v, empty cells last.
  for (const sortable of document.querySelectorAll("table.sortable")) {
    sortable.querySelectorAll("thead th").forEach((head, column) => {
      head.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending";
        sortable.querySelectorAll("thead th").forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...sortable.tBodies[0].rows];
        const value = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
        rows.sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          if (x === "" || y === "") return (x === "") - (y === "");
          const [m, n] = [Number(x), Number(y)];
          const step = Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y) : m - n;
          return up ? step : -step;
        });
        sortable.tBodies[0].append(...rows);
      });
    });
  }
})();
