// Clicking a heading sorts by its column, and the other way round the second time.
const body = document.querySelector("tbody");
for (const head of document.querySelectorAll("th")) {
  head.firstChild.onclick = () => {
    const figures = head.className === "figure";
    const before = head.ariaSort;
    const down = before ? before === "ascending" : figures;
    for (const other of document.querySelectorAll("th")) other.ariaSort = null;
    head.ariaSort = down ? "descending" : "ascending";
    const key = (row) => {
      const cell = row.cells[head.cellIndex];
      return figures ? Number(cell.dataset.figure) : cell.textContent;
    };
    const order = (a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0);
    const rows = [...body.rows].sort(order);
    body.append(...(down ? rows.reverse() : rows));
  };
}
// A link from the table opens what it leads to.
const open = () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target) target.open = true;
};
addEventListener("hashchange", open);
open();
