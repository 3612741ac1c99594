"use strict";
(() => {
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];

  // Words by alphabet, numbers within them by size: "lr 0.002" before "lr 0.01".
  const pieces = (text) => text.trim().split(/(\d+(?:\.\d+)?(?:e[+-]?\d+)?)/i);
  const natural = (a, b) => {
    const [x, y] = [pieces(a), pieces(b)];
    for (let i = 0; i < Math.min(x.length, y.length); i += 1) {
      const order = i % 2 ? Number(x[i]) - Number(y[i]) : x[i].localeCompare(y[i], "en");
      if (order) return order;
    }
    return x.length - y.length;
  };

  // Values that are missing come last, whichever way a column is sorted.
  const compare = (column, numeric, sign) => (a, b) => {
    if (!numeric) {
      return sign * natural(a.cells[column].textContent, b.cells[column].textContent);
    }
    const [x, y] = [a, b].map((row) => row.cells[column].dataset.value);
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    return sign * (Number(x) - Number(y));
  };
  heads.forEach((head, column) => {
    if (!head.dataset.sort) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      rows.sort(compare(column, head.dataset.sort === "number", ascending ? 1 : -1));
      body.append(...rows);
    });
  });

  const form = document.getElementById("filters");
  const find = document.getElementById("find");
  const count = document.getElementById("count");
  const filter = () => {
    // Phrases between commas must all be there; "batch 8" does not find "batch 80".
    const phrases = find.value.toLowerCase().split(",").map((phrase) => phrase.trim()).filter(Boolean);
    const patterns = phrases.map((phrase) => {
      const escaped = phrase.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/\s+/g, "\\s+");
      return new RegExp(escaped + (/(^|[^\d.])\d+$/.test(phrase) ? "(?![\\d.])" : ""));
    });
    const allowed = new Set([...form.querySelectorAll("input[name=status]:checked")].map((box) => box.value));
    let shown = 0;
    rows.forEach((row) => {
      const text = row.cells[1].textContent.toLowerCase();
      row.hidden = !(allowed.has(row.dataset.status) && patterns.every((pattern) => pattern.test(text)));
      shown += row.hidden ? 0 : 1;
    });
    count.textContent = `${shown} of ${rows.length} shown`;
  };
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
