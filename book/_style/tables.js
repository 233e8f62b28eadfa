// Every table of results can be taken away as CSV: made in the page, nothing is fetched.
// A typeset cell says itself what it is in a file (data-csv), an estimate as three numbers.
"use strict";
addEventListener("DOMContentLoaded", () => {
  const quoted = (text) => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const chapter = location.pathname.split("/").pop().replace(/\.html$/, "") || "table";
  const pieces = (cell, parts) => {
    const text = cell.innerText.trim().replace(/\s+/g, " ");
    if (cell.tagName === "TH" && cell.dataset.parts) return [text, `${text}, low`, `${text}, high`];
    if (cell.dataset.csv !== undefined) {
      const found = cell.dataset.csv.split("|");
      return [...found, ...Array(Math.max(0, parts - found.length)).fill("")];
    }
    return [text, ...Array(Math.max(0, cell.colSpan - 1)).fill("")];
  };
  document.querySelectorAll("article .cell_output table").forEach((table, number) => {
    const parts = [...(table.rows[0]?.cells ?? [])].map((cell) => Number(cell.dataset.parts ?? 1));
    const rows = [...table.rows].map((row) => [...row.cells].flatMap((cell, k) => pieces(cell, parts[k] ?? 1)).map(quoted).join(","));
    const link = Object.assign(document.createElement("a"), {
      className: "take-away", textContent: "CSV", download: `${chapter}_${number + 1}.csv`, title: "this table as comma-separated values",
      href: URL.createObjectURL(new Blob([rows.join("\n") + "\n"], {type: "text/csv"})),
    });
    table.after(link);
  });
  // A table of the text whose rows are longer than a phone's line is there one card a row, as the typeset ones are.
  document.querySelectorAll("article table.table:not(.indextable)").forEach((table) => {
    if (!table.tHead || table.tHead.rows.length !== 1 || table.querySelector("[colspan], [rowspan]")) return;
    const heads = [...table.tHead.rows[0].cells].map((cell) => cell.innerText.trim());
    const rows = [...table.tBodies[0].rows];
    const longest = (k) => Math.max(heads[k].length, ...rows.map((row) => row.cells[k]?.textContent.trim().length ?? 0));
    if (heads.reduce((sum, _, k) => sum + longest(k) + 2, 0) <= 42) return;
    table.classList.add("cards");
    table.setAttribute("role", "table");
    [table.tHead, table.tBodies[0]].forEach((part) => part.setAttribute("role", "rowgroup"));
    [...table.rows].forEach((row) => row.setAttribute("role", "row"));
    [...table.tHead.rows[0].cells].forEach((cell) => cell.setAttribute("role", "columnheader"));
    rows.forEach((row) => [...row.cells].forEach((cell, k) => {
      cell.setAttribute("role", "cell");
      cell.dataset.label = heads[k] ?? "";
    }));
  });
  // A table wider than its column is set tighter before it scrolls.
  const fit = () => document.querySelectorAll("article table.typeset").forEach((table) => {
    table.classList.remove("tight");
    table.classList.toggle("tight", table.scrollWidth > table.parentElement.clientWidth);
  });
  fit();
  addEventListener("load", fit);
  addEventListener("resize", fit);
});
