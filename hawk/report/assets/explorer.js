"use strict";
// The head explorer: grids of heads, a list, one head in detail, two panels side by side.
// Names come from files, so text is only ever set as text.
(() => {
  const data = JSON.parse(document.getElementById("head-data").textContent);
  const root = document.getElementById("explorer");
  if (!root || !data.panels || !data.panels.length) return;
  const POOLED = -1; // the mean over benchmarks
  const CELLS = 300; // of the list that are drawn at first: every sort draws them anew, and must feel immediate
  const pick = (name) => root.querySelector(`[data-part="${name}"]`);
  const state = { panel: 0, measure: "drop", view: "grid", benchmark: POOLED, layer: data.panels[0].heads[0][0],
                  order: "pooled", down: true, noise: true, top: 0, least: 0, head: null, other: 0, more: 0 };

  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "text") node.textContent = value;
      else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key === "style") Object.assign(node.style, value);
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  };
  const svg = (tag, attributes = {}, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  // As Python prints it, so that the page and its figures agree: half-way between two goes to the even one.
  // Half-way is only an odd multiple of 2 ** -(digits + 1); toFixed rounds everything else as Python does.
  const fixed = (value, digits) => {
    if (value === null || value === undefined) return "—";
    const lower = Math.floor(value * 10 ** digits);
    const half = Math.abs(value * 2 ** (digits + 1)) % 2 === 1;
    const rounded = half ? (lower + Math.abs(lower % 2)) / 10 ** digits : Number(value.toFixed(digits));
    return (rounded + 0).toFixed(digits); // + 0: no "-0.0"
  };
  const signed = (value, digits) => (value > 0 ? "+" : "") + fixed(value, digits);
  const digits = () => (state.measure === "drop" ? 1 : 3);
  const unit = () => (state.measure === "drop" ? "points" : "nats");
  const nameOf = ([layer, head]) => `L${layer}H${head}`;
  const panelOf = (index = state.panel) => data.panels[index];

  // --- numbers of a panel -------------------------------------------------------------------------
  const mean = (values) => {
    const real = values.filter((value) => value !== null);
    return real.length ? real.reduce((sum, value) => sum + value, 0) / real.length : null;
  };
  const cached = new Map();
  const measured = (panel, measure) => {
    const key = `${data.panels.indexOf(panel)} ${measure}`;
    if (!cached.has(key)) {
      const lines = panel[measure];
      cached.set(key, { lines, pooled: panel.heads.map((_, h) => mean(lines.map((line) => line[h]))) });
    }
    return cached.get(key);
  };
  const value = (panel, benchmark, head, measure = state.measure) => {
    const found = measured(panel, measure);
    return benchmark === POOLED ? found.pooled[head] : found.lines[benchmark][head];
  };
  // All benchmarks together are noise where each one is: nothing tests their mean.
  const isNoise = (panel, benchmark, head) => (benchmark === POOLED ? panel.is_noise.every((line) => line[head]) : Boolean(panel.is_noise[benchmark][head]));
  // One scale for all benchmarks and both panels of a comparison, so that colours can be compared.
  const limits = new Map();
  const limit = () => {
    if (!limits.has(state.measure)) limits.set(state.measure, Math.max(1e-9, ...data.panels.flatMap((panel) => panel[state.measure].map((line) => Math.max(...line.map((v) => Math.abs(v ?? 0)))))));
    return limits.get(state.measure);
  };
  const title = (panel, benchmark) => (benchmark === POOLED ? `mean of ${panel.benchmarks.length} benchmarks` : panel.benchmarks[benchmark]);

  const shown = (panel) => {
    const keep = panel.heads.map((_, h) => {
      const v = value(panel, state.benchmark, h);
      return (state.noise || !isNoise(panel, state.benchmark, h)) && Math.abs(v ?? 0) >= state.least;
    });
    if (state.top > 0) {
      const order = panel.heads.map((_, h) => h).filter((h) => keep[h]).sort((a, b) => (value(panel, state.benchmark, b) ?? -Infinity) - (value(panel, state.benchmark, a) ?? -Infinity));
      const best = new Set(order.slice(0, state.top));
      return keep.map((kept, h) => kept && best.has(h));
    }
    return keep;
  };

  // White at 0, red for a drop, blue for a gain: the ends of ColorBrewer's RdBu. Colour grows with the root
  // of the value, or one large head would leave all others white; the scale is drawn by the same rule.
  const strength = (v, most) => Math.sign(v ?? 0) * Math.sqrt(Math.min(1, Math.abs(v ?? 0) / most));
  const channels = (v, most) => {
    const share = strength(v, most);
    return (share > 0 ? [178, 24, 43] : [33, 102, 172]).map((c) => Math.round(255 + (c - 255) * Math.abs(share)));
  };
  const colour = (v, most) => (v === null ? "transparent" : `rgb(${channels(v, most).join(",")})`);
  // Black or white, whichever has more contrast (WCAG's relative luminance).
  const inkOn = (v, most) => {
    if (v === null) return "inherit";
    const [r, g, b] = channels(v, most).map((c) => (c > 10 ? ((c / 255 + 0.055) / 1.055) ** 2.4 : c / 3294.6));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "black" : "white";
  };
  const gradient = () => `linear-gradient(to right, ${Array.from({ length: 33 }, (_, i) => colour(i / 16 - 1, 1)).join(",")})`;

  function describe(panel, benchmark, h) {
    const lines = [`${nameOf(panel.heads[h])}, ${title(panel, benchmark)} (${panel.title})`];
    if (benchmark === POOLED) {
      lines.push(`mean drop ${signed(value(panel, POOLED, h, "drop"), 1)} points`, `mean change of the answer's log-probability ${signed(-value(panel, POOLED, h, "logprob_drop"), 3)} nats`);
      if (isNoise(panel, POOLED, h)) lines.push("within noise on every benchmark");
    } else {
      lines.push(
        `drop ${signed(panel.drop[benchmark][h], 1)} points`,
        `${panel.confidence} % interval ${signed(panel.ci_low[benchmark][h], 1)} to ${signed(panel.ci_high[benchmark][h], 1)}`,
        `noise floor ${fixed(panel.noise_floor[benchmark], 1)} points${isNoise(panel, benchmark, h) ? ": within noise" : ""}`,
        `change of the answer's log-probability ${signed(-panel.logprob_drop[benchmark][h], 3)} nats`,
        `${panel.samples[benchmark]} samples, ${panel.groups[benchmark]} images, ${panel.unparsed[benchmark][h]} answers unparsed`,
      );
    }
    if (panel.weight[h] !== null) lines.push(`weight ${fixed(panel.weight[h], 3)}${panel.weight_noise && panel.weight_noise[h] ? " (noise alone would give it)" : ""}`);
    return lines.join("\n");
  }

  // --- views ------------------------------------------------------------------------------------------
  function cell(panel, benchmark, h, most, keep) {
    const v = value(panel, benchmark, h);
    const node = make("button", {
      type: "button", class: "head" + (isNoise(panel, benchmark, h) ? " noise" : "") + (keep[h] ? "" : " dim"), tabindex: -1,
      "data-head": h, "data-benchmark": benchmark, "aria-pressed": String(state.head === h),
      "aria-label": `${nameOf(panel.heads[h])} on ${title(panel, benchmark)}: ${signed(v, digits())} ${unit()}${isNoise(panel, benchmark, h) ? ", within noise" : ""}`,
      style: { backgroundColor: colour(v, most), color: inkOn(v, most) },
    });
    node.textContent = fixed(v, digits());
    return node;
  }

  function matrix(panel, rows, columns, corner) {
    const most = limit(), keep = shown(panel);
    const table = make("table", { class: "grid" + (columns.length > 12 ? " dense" : "") });
    table.append(make("thead", {}, make("tr", {}, make("td", { text: corner }), ...columns.map((column) => make("th", { scope: "col", text: column })))));
    const body = make("tbody");
    for (const row of rows) {
      const line = make("tr", {}, make("th", { scope: "row", text: row.name }));
      for (const spot of row.spots) line.append(spot === null ? make("td") : make("td", {}, cell(panel, spot[0], spot[1], most, keep)));
      body.append(line);
    }
    table.append(body);
    return table;
  }

  function grid(panel) { // layers x heads
    const layers = [...new Set(panel.heads.map(([layer]) => layer))];
    const heads = [...new Set(panel.heads.map(([, head]) => head))].sort((a, b) => a - b);
    const place = new Map(panel.heads.map(([layer, head], h) => [`${layer} ${head}`, h]));
    const rows = layers.map((layer) => ({ name: `L${layer}`, spots: heads.map((head) => (place.has(`${layer} ${head}`) ? [state.benchmark, place.get(`${layer} ${head}`)] : null)) }));
    return matrix(panel, rows, heads.map((head) => `H${head}`), "layer");
  }

  function oneLayer(panel) { // benchmarks x heads
    const heads = panel.heads.map((_, h) => h).filter((h) => panel.heads[h][0] === state.layer);
    const rows = [POOLED, ...panel.benchmarks.keys()].map((benchmark) => ({ name: title(panel, benchmark), spots: heads.map((h) => [benchmark, h]) }));
    return matrix(panel, rows, heads.map((h) => nameOf(panel.heads[h])), "benchmark");
  }

  function list(panel) {
    const most = limit(), keep = shown(panel);
    const columns = [["head", "head"], ["pooled", "mean"], ...panel.benchmarks.map((name, b) => [`b${b}`, name]), ["weight", "weight"]];
    const by = (h) => {
      if (state.order === "head") return -h;
      if (state.order === "weight") return panel.weight[h] ?? -Infinity;
      return value(panel, state.order === "pooled" ? POOLED : Number(state.order.slice(1)), h) ?? -Infinity;
    };
    const keys = panel.heads.map((_, h) => by(h));
    const order = panel.heads.map((_, h) => h).filter((h) => keep[h]).sort((a, b) => (state.down ? keys[b] - keys[a] : keys[a] - keys[b]) || a - b);
    const head = make("tr", {}, ...columns.map(([key, text]) => make("th", { scope: "col", "aria-sort": state.order !== key ? "none" : state.down ? "descending" : "ascending" },
      make("button", { type: "button", class: "sort", "data-key": key, text, onclick: () => { state.down = state.order === key ? !state.down : true; state.order = key; draw(); pick("view").querySelector(`[data-key="${key}"]`).focus(); } }))));
    const body = make("tbody");
    const step = Math.min(20, Math.max(8, Math.floor(CELLS / (panel.benchmarks.length + 1)))), rows = step * (state.more + 1);
    for (const h of order.slice(0, rows)) {
      const line = make("tr", {}, make("th", { scope: "row", text: nameOf(panel.heads[h]) }));
      for (const b of [POOLED, ...panel.benchmarks.keys()]) line.append(make("td", {}, cell(panel, b, h, most, keep)));
      line.append(weightCell(panel, h));
      body.append(line);
    }
    const table = make("table", { class: "grid list" }, make("thead", {}, head), body);
    if (order.length <= rows) return table;
    const more = make("button", { type: "button", "data-part": "more", text: `show ${Math.min(step, order.length - rows)} more of ${order.length} heads`,
      onclick: () => { state.more += 1; draw(); } });
    return make("div", {}, table, more);
  }

  function weightCell(panel, h) {
    const w = panel.weight[h];
    const node = make("td", { class: "weight" });
    if (w === null) return node;
    const noise = panel.weight_noise && panel.weight_noise[h];
    const ends = [panel.weight, panel.weight_low ?? [], panel.weight_high ?? []].flat().map((v) => v ?? 0);
    const lowest = Math.min(0, ...ends), span = Math.max(1e-9, ...ends) - lowest; // signed weights go to both sides of 0
    const width = 110, x = (v) => (width * (v - lowest)) / span;
    const drawing = svg("svg", { width, height: 14, "aria-hidden": "true" });
    if (panel.weight_low && panel.weight_low[h] !== null) drawing.append(svg("rect", { x: x(panel.weight_low[h]), y: 0, width: Math.max(1, x(panel.weight_high[h]) - x(panel.weight_low[h])), height: 14, class: "null" }));
    drawing.append(svg("rect", { x: x(Math.min(w, 0)), y: 4, width: x(Math.max(w, 0)) - x(Math.min(w, 0)), height: 6, class: noise ? "bar noise" : "bar" }));
    node.append(drawing, make("span", { text: fixed(w, 3) + (noise ? " noise" : "") }));
    return node;
  }

  function ranks(values) {
    const order = values.map((v, i) => [v, i]).sort((a, b) => a[0] - b[0]);
    const out = new Array(values.length);
    for (let i = 0; i < order.length; ) {
      let j = i;
      while (j + 1 < order.length && order[j + 1][0] === order[i][0]) j += 1;
      for (let k = i; k <= j; k += 1) out[order[k][1]] = (i + j) / 2; // equal values share their mean rank
      i = j + 1;
    }
    return out;
  }

  function spearman(x, y) {
    const [a, b] = [ranks(x), ranks(y)], m = (x.length - 1) / 2;
    let top = 0, left = 0, right = 0;
    for (let i = 0; i < a.length; i += 1) { top += (a[i] - m) * (b[i] - m); left += (a[i] - m) ** 2; right += (b[i] - m) ** 2; }
    return left && right ? top / Math.sqrt(left * right) : null;
  }

  function compare(panel) { // two ablations, runs or models
    const other = panelOf(state.other);
    const where = new Map(other.heads.map((head, h) => [nameOf(head), h]));
    const points = panel.heads.map((head, h) => [h, where.get(nameOf(head)), value(panel, POOLED, h)]).filter(([, g, v]) => g !== undefined && v !== null)
      .map(([h, g, v]) => ({ h, g, x: v, y: value(other, POOLED, g) })).filter(({ y }) => y !== null);
    const box = make("div", { class: "compare" });
    if (points.length < 3) { box.append(make("p", { text: "These two share fewer than three heads." })); return box; }
    const rho = spearman(points.map((p) => p.x), points.map((p) => p.y));
    box.append(make("p", { text: `Each dot is one of the ${points.length} heads that both have: its mean over the benchmarks. Rank correlation (Spearman): ${rho === null ? "undefined" : signed(rho, 2)}.` }));
    const size = 420, pad = 56;
    const scale = (values) => { let [low, high] = [Math.min(0, ...values), Math.max(0, ...values)]; if (high === low) high = low + 1; const slack = (high - low) * 0.05; return [low - slack, high + slack]; };
    const [x0, x1] = scale(points.map((p) => p.x)), [y0, y1] = scale(points.map((p) => p.y));
    const X = (v) => pad + ((v - x0) / (x1 - x0)) * (size - pad - 44), Y = (v) => size - pad - ((v - y0) / (y1 - y0)) * (size - pad - 10);
    const drawing = svg("svg", { viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": `${panel.title} against ${other.title}`, class: "scatter" });
    drawing.append(svg("line", { x1: X(0), x2: X(0), y1: 10, y2: size - pad, class: "axis" }), svg("line", { x1: pad, x2: size - 10, y1: Y(0), y2: Y(0), class: "axis" }));
    const text = (x, y, words, anchor, turn) => { const node = svg("text", { x, y, "text-anchor": anchor, ...(turn ? { transform: `rotate(-90 ${x} ${y})` } : {}) }); node.textContent = words; drawing.append(node); };
    const ticks = (low, high) => [0, ...[low, high].filter((v) => Math.abs(v) > 0.12 * (high - low))];
    for (const v of ticks(x0, x1)) text(X(v), size - pad + 16, fixed(v, digits()), "middle");
    for (const v of ticks(y0, y1)) text(pad - 6, Y(v) + 4, fixed(v, digits()), "end");
    text((size + pad) / 2, size - 12, `${panel.title}, ${unit()}`, "middle");
    text(14, (size - pad) / 2, `${other.title}, ${unit()}`, "middle", true);
    for (const p of points) {
      const dot = svg("circle", { cx: X(p.x), cy: Y(p.y), r: 4.5, "data-head": p.h, "data-benchmark": POOLED, class: "dot" + (state.head === p.h ? " chosen" : "") });
      dot.append(svg("title")); dot.firstChild.textContent = `${nameOf(panel.heads[p.h])}: ${fixed(p.x, digits())} and ${fixed(p.y, digits())}`;
      drawing.append(dot);
    }
    const far = [...points].sort((a, b) => Math.abs(b.x) + Math.abs(b.y) - Math.abs(a.x) - Math.abs(a.y)).slice(0, 6);
    for (const p of far) text(X(p.x) + 7, Y(p.y) - 5, nameOf(panel.heads[p.h]), "start");
    box.append(make("div", { class: "sides" }, drawing, comparedTable(points, panel, other)));
    return box;
  }

  // The dots as numbers, with each head's place in either order; the heads that move the most come first.
  function comparedTable(points, panel, other) {
    const placed = (key) => new Map([...points].sort((a, b) => b[key] - a[key] || a.h - b.h).map((p, i) => [p.h, i + 1]));
    const [left, right] = [placed("x"), placed("y")];
    const moved = (p) => Math.abs(left.get(p.h) - right.get(p.h));
    const rows = [...points].sort((a, b) => moved(b) - moved(a) || left.get(a.h) - left.get(b.h)).map((p) => make("tr", {},
      make("th", { scope: "row" }, make("button", { type: "button", class: "sort", "data-head": p.h, "data-benchmark": POOLED, "aria-pressed": String(state.head === p.h), text: nameOf(panel.heads[p.h]) })),
      ...[fixed(p.x, digits()), left.get(p.h), fixed(p.y, digits()), right.get(p.h)].map((one) => make("td", { text: String(one) }))));
    const head = ["head", panel.title, "place", other.title, "place"].map((words) => make("th", { scope: "col", text: words }));
    return make("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "the heads of the picture as a table" },
      make("table", {}, make("caption", { text: "Heads that change places the most come first." }), make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)));
  }

  // --- one head ---------------------------------------------------------------------------------------
  function detail() {
    const box = pick("detail");
    if (state.head === null) { box.replaceChildren(); box.hidden = true; return; }
    const panel = panelOf(), h = state.head;
    const rows = panel.benchmarks.map((name, b) => make("tr", { class: isNoise(panel, b, h) ? "soft" : null },
      make("th", { scope: "row", text: name }), make("td", { text: signed(panel.drop[b][h], 1) }),
      make("td", { text: `${signed(panel.ci_low[b][h], 1)} to ${signed(panel.ci_high[b][h], 1)}` }), make("td", { text: fixed(panel.noise_floor[b], 1) }),
      make("td", { text: isNoise(panel, b, h) ? "within noise" : "beyond noise" }),
      make("td", { text: fixed(panel.won[b][h], 0) }), make("td", { text: fixed(panel.lost[b][h], 0) }),
      make("td", { text: signed(-panel.logprob_drop[b][h], 3) })));
    const heads = ["benchmark", "drop, points", `${panel.confidence} % interval`, "noise floor", "finding", "won", "lost", "log-prob., nats"];
    box.hidden = false;
    box.replaceChildren(
      make("div", { class: "title" }, make("h3", { text: `${nameOf(panel.heads[h])} under ${panel.title}`, tabindex: -1 }),
        make("button", { type: "button", "data-part": "close", text: "close", onclick: () => { state.head = null; draw(); } })),
      make("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "table" }, make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col", text })))), make("tbody", {}, ...rows))),
      weightSentence(panel, h), questions(panel, h), looks(panel.heads[h]));
  }

  function questions(panel, h) { // won and lost, by benchmark
    const [helped, hurt] = panel.alone ? ["it alone chooses the tokens", "all heads choose them together"] : ["the head is there", "it is not"];
    const box = make("div", { class: "questions" }, make("h4", { text: "Questions won and lost" }),
      make("p", { class: "soft", text: `Won: the answer scores higher where ${helped} than where ${hurt}. Lost: the other way round.` }));
    const unknown = panel.benchmarks.filter((_, b) => panel.won[b][h] === null);
    if (unknown.length) box.append(make("p", { text: `Not known for ${unknown.join(", ")}: the score files are no longer in the run's folder.` }));
    const [first, second] = panel.alone ? ["it alone", "all heads"] : ["with it", "without it"];
    panel.benchmarks.forEach((name, b) => {
      const [won, lost] = [panel.won[b][h], panel.lost[b][h]];
      if (!won && !lost) return;
      const summary = make("summary", { text: `${name}: ${won} won, ${lost} lost of ${panel.samples[b]}` });
      if (!panel.shown[b][h]) { box.append(make("p", { text: summary.textContent })); return; }
      const rows = panel.shown[b][h].flatMap((list, kind) => Array.from({ length: list.length / 2 }, (_, i) => {
        const [question, right, reference] = panel.asked[b][list[2 * i]], said = panel.said[b][list[2 * i + 1]];
        const cells = [question, right, ...(panel.alone ? [said, reference] : [reference, said])];
        return make("tr", {}, make("th", { scope: "row", text: kind ? "lost" : "won" }), ...cells.map((text) => make("td", { class: "left", text: text || "(nothing)" })));
      }));
      const head = make("tr", {}, ...["", "question", "right answer", first, second].map((text) => (text ? make("th", { scope: "col", class: "left", text }) : make("td"))));
      box.append(make("details", {}, summary, make("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": `questions of ${name}` }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)))));
    });
    if (unknown.length < panel.benchmarks.length) {
      const amount = panel.most ? `Shown are at most ${panel.most} questions of each kind, the first ones${panel.of_all ? "" : ", and none of heads within noise, which keeps this page small"}.` : "The questions would make this page too large.";
      box.append(make("p", { class: "soft", text: `${amount} All answers are in the run's folder, in scores/BENCHMARK/${panel.ablation}/${nameOf(panel.heads[h])}.parquet and reference.parquet.` }));
    }
    return box;
  }

  function weightSentence(panel, h) {
    if (panel.weight[h] === null) return make("p", { class: "soft", text: "This head is not in the scoring layer: it has no weight." });
    const band = panel.weight_low && panel.weight_low[h] !== null ? ` If no head mattered, 95 % of its weights would lie between ${fixed(panel.weight_low[h], 3)} and ${fixed(panel.weight_high[h], 3)}.` : "";
    return make("p", { text: `Weight ${fixed(panel.weight[h], 3)} (uniform: ${fixed(1 / panel.weight.filter((w) => w !== null).length, 3)}).${band}` });
  }

  function looks([layer, head]) {
    const box = make("div", { class: "looks" });
    const able = data.examples.filter((example) => example.layer === layer && head < example.scores.length);
    if (!able.length) return box;
    box.append(make("h4", { text: "Where it looks" }), make("p", { class: "soft", text: "Its token score before weighting, from the lowest (dark) to the highest (clear) of the image; framed: kept by the chosen variant." }));
    const names = [...new Set(able.flatMap((example) => Object.keys(example.kept)))];
    const select = make("select", { "aria-label": "kept tokens of", onchange: () => { state.variant = select.value; paint(); } }, ...names.map((name) => make("option", { value: name, text: name })));
    if (names.includes(state.variant)) select.value = state.variant; else state.variant = names[0];
    const pictures = make("div", { class: "examples" });
    const paint = () => pictures.replaceChildren(...able.map((example) => onePicture(example, head)));
    box.append(make("label", { text: "kept by " }, select), pictures);
    paint();
    return box;
  }

  function onePicture(example, head) {
    const bytes = Uint8Array.from(atob(example.scores[head]), (c) => c.charCodeAt(0));
    const kept = new Set(example.kept[state.variant] ?? []);
    const width = 240, height = Math.round((width * example.height) / example.width);
    const image = make("img", { src: example.image, width, height, alt: `${example.benchmark}: ${example.question}` });
    const veil = svg("svg", { viewBox: `0 0 ${example.columns} ${example.rows}`, width, height, preserveAspectRatio: "none", "aria-hidden": "true" });
    for (let i = 0; i < bytes.length; i += 1) {
      const [row, column] = [Math.floor(i / example.columns), i % example.columns];
      veil.append(svg("rect", { x: column, y: row, width: 1, height: 1, fill: "black", "fill-opacity": (0.85 * (1 - bytes[i] / 255)).toFixed(3) }));
      if (kept.has(i)) veil.append(svg("rect", { x: column + 0.06, y: row + 0.06, width: 0.88, height: 0.88, class: "frame" }));
    }
    const answer = example.answers[state.variant];
    const caption = `${example.benchmark}: ${example.question} ` + (answer ? `${state.variant} at ${example.ratio} removed answers “${answer.text}” (${answer.right ? "right" : "wrong"}).` : "");
    return make("figure", {}, make("div", { class: "stack", style: { width: `${width}px`, height: `${height}px` } }, image, veil), make("figcaption", { text: caption }));
  }

  // --- controls -----------------------------------------------------------------------------------------
  const VIEWS = { grid: "layers × heads", layer: "benchmarks × heads", list: "sorted list", compare: "compare two" };

  function draw() {
    const panel = panelOf();
    if (!VIEWS[state.view] || (state.view === "compare" && data.panels.length < 2)) state.view = "grid";
    const wide = { grid, layer: oneLayer, list, compare }[state.view](panel);
    pick("view").replaceChildren(wide);
    for (const button of root.querySelectorAll("[data-view]")) button.setAttribute("aria-pressed", String(button.dataset.view === state.view));
    for (const [part, views] of Object.entries({ benchmark: ["grid", "list"], layer: ["layer"], other: ["compare"], filters: ["grid", "layer", "list"], scale: ["grid", "layer", "list"] })) pick(part).hidden = !views.includes(state.view);
    const most = limit();
    pick("scale").replaceChildren(make("span", { text: signed(-most, digits()) }), make("i", { style: { background: gradient() } }), make("span", { text: `${signed(most, digits())} ${unit()}` }),
      make("span", { class: "key noise", text: "within noise" }));
    const first = pick("view").querySelector("button.head");
    if (first) (pick("view").querySelector(`button.head[data-head="${state.head}"]`) ?? first).tabIndex = 0;
    detail();
  }

  const option = (value, text) => make("option", { value, text });
  function fill() {
    const panel = panelOf();
    pick("panel-select").replaceChildren(...data.panels.map((one, i) => option(i, one.title)));
    pick("panel-select").value = state.panel;
    pick("other-select").replaceChildren(...data.panels.map((one, i) => option(i, one.title)));
    if (state.other === state.panel) state.other = (state.panel + 1) % data.panels.length;
    pick("other-select").value = state.other;
    if (state.benchmark >= panel.benchmarks.length) state.benchmark = POOLED;
    pick("benchmark-select").replaceChildren(option(POOLED, "mean of all"), ...panel.benchmarks.map((name, b) => option(b, name)));
    pick("benchmark-select").value = state.benchmark;
    const layers = [...new Set(panel.heads.map(([layer]) => layer))];
    if (!layers.includes(state.layer)) state.layer = layers[0];
    pick("layer-select").replaceChildren(...layers.map((layer) => option(layer, `layer ${layer}`)));
    pick("layer-select").value = state.layer;
  }

  const on = (part, event, act) => pick(part).addEventListener(event, (e) => { act(e.target); draw(); });
  on("panel-select", "change", (t) => { state.panel = Number(t.value); state.head = null; fill(); });
  on("other-select", "change", (t) => { state.other = Number(t.value); });
  on("benchmark-select", "change", (t) => { state.benchmark = Number(t.value); });
  on("layer-select", "change", (t) => { state.layer = Number(t.value); });
  on("measure-select", "change", (t) => { state.measure = t.value; });
  on("hide-noise", "change", (t) => { state.noise = !t.checked; });
  on("top", "change", (t) => { state.top = Math.max(0, Number(t.value) || 0); });
  on("least", "change", (t) => { state.least = Math.max(0, Number(t.value) || 0); });
  for (const button of root.querySelectorAll("[data-view]")) {
    if (button.dataset.view === "compare" && data.panels.length < 2) button.hidden = true;
    button.addEventListener("click", () => { state.view = button.dataset.view; draw(); });
  }

  // Choosing a head: click, Enter; arrows move between cells; the tooltip follows pointer and focus.
  const view = pick("view"), tip = document.getElementById("tip");
  const choose = (node) => {
    const { head, benchmark } = node.dataset, focused = node === document.activeElement;
    state.head = Number(head) === state.head ? null : Number(head);
    draw(); // makes new cells: the one that had the focus gets it back
    if (focused) view.querySelector(`button[data-head="${head}"][data-benchmark="${benchmark}"]`)?.focus({ preventScroll: true });
  };
  view.addEventListener("click", (event) => {
    const node = event.target.closest("[data-head]");
    if (!node) return;
    choose(node);
    if (state.head !== null && event.detail) pick("detail").scrollIntoView({ block: "nearest" });
  });
  view.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const node = event.target.closest("td");
    if (!step || !node) return;
    event.preventDefault();
    const row = node.parentElement.parentElement.rows[node.parentElement.sectionRowIndex + step[0]];
    const next = row && row.cells[node.cellIndex + step[1]];
    const button = next && next.querySelector("button.head");
    if (!button) return;
    event.target.tabIndex = -1;
    button.tabIndex = 0;
    button.focus();
  });
  const show = (node, x, y) => {
    tip.textContent = describe(panelOf(), Number(node.dataset.benchmark), Number(node.dataset.head));
    tip.style.display = "block";
    tip.style.left = Math.max(4, Math.min(x + 14, window.innerWidth - tip.offsetWidth - 8)) + "px";
    tip.style.top = Math.max(4, y + 14 + tip.offsetHeight > window.innerHeight ? y - tip.offsetHeight - 10 : y + 14) + "px";
  };
  const hide = () => { tip.style.display = "none"; };
  view.addEventListener("mousemove", (event) => { const node = event.target.closest("[data-head]"); if (node) show(node, event.clientX, event.clientY); else hide(); });
  view.addEventListener("mouseleave", hide);
  view.addEventListener("focusin", (event) => { const node = event.target.closest("button.head"); if (node && node.matches(":focus-visible")) { const at = node.getBoundingClientRect(); show(node, at.right, at.bottom); } });
  view.addEventListener("focusout", hide);

  // --- export -------------------------------------------------------------------------------------------
  function csv(panel) {
    const quote = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const lines = [["panel", "layer", "head", "benchmark", "drop", "ci_low", "ci_high", "logprob_drop", "is_noise", "won", "lost", "weight"].join(",")];
    panel.heads.forEach(([layer, head], h) => panel.benchmarks.forEach((name, b) => lines.push(
      [quote(panel.title), layer, head, quote(name), panel.drop[b][h], panel.ci_low[b][h], panel.ci_high[b][h], panel.logprob_drop[b][h], panel.is_noise[b][h], panel.won[b][h] ?? "", panel.lost[b][h] ?? "", panel.weight[h] ?? ""].join(","))));
    return lines.join("\n") + "\n";
  }
  pick("csv").addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([csv(panelOf())], { type: "text/csv" }));
    const link = make("a", { href: address, download: `heads-${panelOf().title.replace(/[^\w.-]+/g, "-")}.csv` });
    link.click();
    URL.revokeObjectURL(address);
  });

  fill();
  if (new Set(panelOf().heads.map(([layer]) => layer)).size === 1) state.view = "layer"; // one layer: a grid of one line says little
  draw();
})();
