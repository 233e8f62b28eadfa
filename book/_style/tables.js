// Every table of results can be taken away as CSV: made in the page, nothing is fetched.
"use strict";
addEventListener("DOMContentLoaded", () => {
  const quoted = (text) => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const chapter = location.pathname.split("/").pop().replace(/\.html$/, "") || "table";
  document.querySelectorAll("article .cell_output table").forEach((table, number) => {
    const rows = [...table.rows].map((row) => [...row.cells].flatMap((cell) =>
      [quoted(cell.innerText.trim()), ...Array(Math.max(0, cell.colSpan - 1)).fill("")]).join(","));
    const link = Object.assign(document.createElement("a"), {
      className: "take-away", textContent: "CSV", download: `${chapter}_${number + 1}.csv`, title: "this table as comma-separated values",
      href: URL.createObjectURL(new Blob([rows.join("\n") + "\n"], {type: "text/csv"})),
    });
    table.after(link);
  });
});
