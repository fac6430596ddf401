// Filters the tables of results. Without it every row is shown.
(() => {
  "use strict";
  const root = document.documentElement;
  window.addEventListener("error", (event) => { root.dataset.error = String(event.message); });
  const form = document.getElementById("filter");
  if (!form) { root.dataset.filter = "none"; return; }
  const rows = [...document.querySelectorAll("tr[data-view]")];
  const selects = [...form.querySelectorAll("select")];
  const count = form.querySelector("output");
  const apply = () => {
    let shown = 0;
    for (const row of rows) {
      const keep = selects.every((s) => s.value === "" || row.dataset[s.name] === s.value);
      row.hidden = !keep;
      shown += keep ? 1 : 0;
    }
    count.textContent = `${shown} of ${rows.length} rows shown`;
    root.dataset.filter = `${shown}/${rows.length}`;
  };
  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.querySelector("button").addEventListener("click", () => {
    for (const select of selects) select.value = "";
    apply();
  });
  form.hidden = false;
  apply();
})();
