"use strict";
(() => {
  const models = JSON.parse(document.getElementById("model-data").textContent);
  const all = (query, under = document) => [...under.querySelectorAll(query)];
  const table = document.getElementById("table"), body = table.tBodies[0], rows = [...body.rows];
  const marks = all(".mark"), tip = document.getElementById("tip");
  const byModel = new Map(models.map((_, n) => [n, []]));
  for (const mark of marks) if (mark.dataset.n) byModel.get(+mark.dataset.n).push(mark);

  // Sorting: numbers the largest first, words from A; what has no value stays last.
  const value = (row, column) => row.cells[column].dataset.s;
  all("thead button", table).forEach((button, column) => button.addEventListener("click", () => {
    const head = button.parentElement, number = head.classList.contains("n");
    const down = head.getAttribute("aria-sort") === "none" ? number : head.getAttribute("aria-sort") === "ascending";
    all("thead th", table).forEach(other => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const compare = (a, b) => number ? a - b : a.localeCompare(b, "en", {numeric: true});
    const known = rows.filter(row => value(row, column) !== undefined);
    known.sort((a, b) => (down ? -1 : 1) * compare(value(a, column), value(b, column)));
    body.append(...known, ...rows.filter(row => value(row, column) === undefined));
  }));

  // Filtering: rows go, their marks fade.
  const words = document.getElementById("words"), verdict = document.getElementById("verdict");
  const undominated = document.getElementById("undominated"), count = document.getElementById("count");
  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits = wanted.every(word => row.dataset.w.includes(word)) &&
        (!verdict.value || row.dataset.v === verdict.value) && !(undominated.checked && "d" in row.dataset);
      row.hidden = !fits;
      shown += fits;
      for (const mark of byModel.get(+row.dataset.n)) mark.classList.toggle("dim", !fits);
    }
    count.textContent = `${shown} of ${rows.length} models`;
  };
  for (const control of [words, verdict, undominated]) control.addEventListener("input", filter);
  document.querySelector(".filter").addEventListener("submit", event => event.preventDefault());

  // The panels of one metric at a time.
  all("input[name=metric]").forEach(choice => choice.addEventListener("change", () => {
    all(".panels[data-metric]").forEach(own => { own.hidden = own.dataset.metric !== choice.value; });
  }));

  // Hover and focus: numbers and the command of a mark; its row is lit.
  const light = (n, on) => {
    if (n === undefined) return;
    document.getElementById("m" + n).classList.toggle("lit", on);
    for (const mark of byModel.get(+n)) mark.classList.toggle("lit", on);
  };
  const show = (mark, said) => {
    tip.replaceChildren(Object.assign(document.createElement("strong"), {textContent: mark.getAttribute("aria-label")}));
    const model = models[mark.dataset.n];
    if (model) tip.append(Object.assign(document.createElement("code"), {textContent: model.command}));
    if (said) tip.append(Object.assign(document.createElement("em"), {textContent: said}));
    tip.hidden = false;
    const at = mark.querySelector("use").getBoundingClientRect(), own = tip.getBoundingClientRect();
    const left = Math.max(8, Math.min(at.x + at.width / 2 - own.width / 2, document.documentElement.clientWidth - own.width - 8));
    const above = at.y - own.height - 10;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(above < 4 ? at.bottom + 10 : above) + scrollY}px`;
  };
  const hide = () => { tip.hidden = true; };
  const copy = async mark => {
    const model = models[mark.dataset.n];
    if (!model) return;
    const area = Object.assign(document.createElement("textarea"), {value: model.command});
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy"); // works in files, where the clipboard interface may not
    area.remove();
    mark.focus({preventScroll: true});
    show(mark, done ? "command copied" : "");
  };
  for (const mark of marks) {
    for (const name of ["mouseenter", "focus"]) mark.addEventListener(name, () => { show(mark); light(mark.dataset.n, true); });
    for (const name of ["mouseleave", "blur"]) mark.addEventListener(name, () => { hide(); light(mark.dataset.n, false); });
    mark.addEventListener("click", () => copy(mark));
    mark.addEventListener("keydown", event => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); copy(mark); return; }
      if (event.key === "Escape") { hide(); return; }
      const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
      if (!step) return;
      event.preventDefault();
      const own = all(".mark", mark.ownerSVGElement).sort((a, b) =>
        a.querySelector("use").getAttribute("x") - b.querySelector("use").getAttribute("x"));
      const next = own[(own.indexOf(mark) + step + own.length) % own.length];
      mark.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  }
  addEventListener("beforeprint", () => all("details").forEach(own => { own.open = true; }));
  document.documentElement.dataset.ready = "";
})();
