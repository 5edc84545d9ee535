"use strict";
// The grid: samples, or what the build refused, by what the address asks for.
const SHOWN = 24;
const form = document.querySelector("form");
const [grid, count, page, back, next] = ["grid", "count", "page", "back", "next"].map((id) => document.getElementById(id));
let turn = 0;

const SAMPLES = {
  parts: "rows",
  many: "samples",
  filters: {
    split: (row, split) => row.split === split,
    concept: (row, concept) => row.concepts.includes(concept),
    instances: (row, least) => row.instances >= least,
    most: (row, most) => row.instances <= most,
    area: (row, least) => row.largest !== null && row.largest >= least,
    below: (row, most) => row.smallest !== null && row.smallest <= most,
  },
  tile: sampleTile,
};
const REJECTS = {
  parts: "rejects",
  many: "rejects",
  filters: { reason: (row, reason) => row.code === reason },
  tile: rejectTile,
};

// The rows of one page of the grid, and whether there are more. Rows come a thousand at a time; those of datasets
// and pages that cannot matter are never loaded.
async function find(kind, wanted) {
  let left = Number(wanted.page ?? 0) * SHOWN;
  const asked = Object.keys(kind.filters).filter((name) => wanted[name]);
  const found = [];
  for (const dataset of facts.datasets) {
    if (wanted.dataset && dataset.slug !== wanted.dataset) continue;
    if (asked.includes("concept") && !dataset.concepts.includes(wanted.concept)) continue;
    for (let first = 0; first < dataset[kind.many]; first += ROWS) {
      const rows = Math.min(ROWS, dataset[kind.many] - first);
      if (!asked.length && left >= rows) {
        left -= rows;
        continue;
      }
      const loaded = await medshards.load(`${kind.parts}/${dataset.slug}/${first / ROWS}`);
      for (const [place, row] of loaded.entries()) {
        if (!asked.every((name) => kind.filters[name](row, wanted[name])) || left-- > 0) continue;
        left = 0;
        if (found.length === SHOWN) return { found, more: true };
        found.push({ slug: dataset.slug, number: first + place, ...row });
      }
    }
  }
  return { found, more: false };
}

function sampleTile(row) {
  const frame = medshards.element("span", { className: "frame" });
  const concepts = row.concepts.map((id) => facts.concepts[id] ?? id).join(", ");
  const shown = row.instances ? `${row.instances} × ${concepts}` : "no instance";
  const label = medshards.element("span", { className: "name", textContent: row.key });
  const what = medshards.element("span", { className: "name", textContent: `${row.split} · ${shown}` });
  const link = medshards.element("a", { href: addressOf(row.slug, row.key) }, frame, label, what);
  sampleAt(row.slug, row.number).then(
    (sample) => frame.append(medshards.element("img", { src: sample.small, alt: concepts }), drawOutlines(sample)),
    () => frame.append("cannot be read"),
  );
  return medshards.element("li", {}, link);
}

function rejectTile(row) {
  const dataset = medshards.element("a", { href: `datasets/${row.slug}.html`, textContent: row.slug });
  return medshards.element(
    "li",
    { className: "reject" },
    medshards.element("b", { textContent: row.file }),
    medshards.element("p", {}, medshards.element("code", { textContent: row.code }), ` · ${row.case} · `, dataset),
    medshards.element("p", { textContent: row.message }),
  );
}

async function apply() {
  const mine = ++turn;
  const wanted = medshards.state();
  const kind = wanted.show === "refused" ? REJECTS : SAMPLES;
  for (const field of form.elements) field.value = wanted[field.name] ?? "";
  document.body.classList.toggle("refused", kind === REJECTS);
  count.textContent = "Looking …";
  const { found, more } = await find(kind, wanted);
  if (mine !== turn) return;
  const number = Number(wanted.page ?? 0);
  const chosen = facts.datasets.filter((own) => !wanted.dataset || own.slug === wanted.dataset);
  const all = chosen.reduce((sum, own) => sum + own[kind.many], 0).toLocaleString("en");
  grid.replaceChildren(...found.map(kind.tile));
  count.textContent =
    (found.length ? `${number * SHOWN + 1}–${number * SHOWN + found.length}` : "None fits") +
    (kind === REJECTS ? ` (of ${all} that the build refused)` : ` (of ${all} samples)`);
  page.textContent = `page ${number + 1}`;
  back.disabled = number === 0;
  next.disabled = !more;
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", () => medshards.change(Object.fromEntries(new FormData(form))));
for (const [button, by] of [[back, -1], [next, 1]])
  button.addEventListener("click", () => {
    const wanted = medshards.state();
    medshards.change({ ...wanted, page: Number(wanted.page ?? 0) + by || "" });
    scrollTo(0, 0);
  });
addEventListener("hashchange", apply);
bindSwitches();
apply();
