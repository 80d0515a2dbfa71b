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
})();
