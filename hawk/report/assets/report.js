"use strict";
(() => {
  // Tables: a click on a heading sorts by it; numbers by data-v, empty cells last.
  for (const sortable of document.querySelectorAll("table.sortable")) {
    sortable.querySelectorAll("thead th").forEach((head, column) => {
      head.tabIndex = 0;
      head.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); head.click(); } });
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

  // The dot plot: arrows move between dots, of which one can be reached by Tab; the tooltip says all numbers.
  const tip = document.getElementById("tip");
  const hide = () => { tip.style.display = "none"; };
  const show = (node) => {
    const at = node.getBoundingClientRect();
    tip.textContent = node.dataset.tip;
    tip.style.display = "block";
    tip.style.left = Math.max(4, Math.min(at.right, window.innerWidth - tip.offsetWidth - 8)) + "px";
    tip.style.top = (at.bottom + tip.offsetHeight + 8 > window.innerHeight ? at.top - tip.offsetHeight - 6 : at.bottom + 4) + "px";
  };
  for (const plot of document.querySelectorAll(".dots")) {
    const rows = [...plot.querySelectorAll(".dots-row")].map((row) => [...row.querySelectorAll(".spot")]);
    const first = rows.flat()[0];
    if (first) first.tabIndex = 0;
    for (const event of ["mouseover", "focusin", "click"]) plot.addEventListener(event, (e) => { const spot = e.target.closest(".spot"); if (spot) show(spot); });
    plot.addEventListener("mouseout", hide);
    plot.addEventListener("focusout", hide);
    plot.addEventListener("keydown", (e) => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[e.key];
      const y = rows.findIndex((row) => row.includes(e.target));
      if (!step || y < 0) return;
      e.preventDefault();
      const next = rows[y + step[0]]?.[rows[y].indexOf(e.target) + step[1]];
      if (!next) return;
      e.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  }
  // Figures: a click, a tap or Enter shows one as large as the window, on a phone larger than it.
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-label", "enlarged figure");
  dialog.innerHTML = '<form method="dialog"><button>close</button></form><div class="scroll" tabindex="0" role="group" aria-label="figure"></div>';
  dialog.addEventListener("click", (e) => { if (e.target === dialog) dialog.close(); });
  document.body.append(dialog);
  for (const image of document.querySelectorAll("main img.drawing")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "enlarge";
    button.title = "enlarge";
    button.addEventListener("click", () => { dialog.lastChild.replaceChildren(image.cloneNode()); dialog.showModal(); });
    image.replaceWith(button);
    button.append(image);
  }

  document.addEventListener("keydown", (e) => { if (e.key === "Escape") hide(); });
  document.addEventListener("touchstart", (e) => { if (!e.target.closest(".spot, [data-head]")) hide(); }, { passive: true });
  document.addEventListener("scroll", hide, { passive: true, capture: true });
})();
