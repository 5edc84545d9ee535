"use strict";
const SHOWN = 24;
const facts = JSON.parse(document.getElementById("facts").textContent);
const form = document.querySelector("form");
const [grid, count, page, back, next] = ["grid", "count", "page", "back", "next"].map((id) => document.getElementById(id));
let turn = 0;

function fits(row, wanted) {
  return (
    (!wanted.split || row.split === wanted.split) &&
    (!wanted.concept || row.concepts.includes(wanted.concept)) &&
    (!wanted.instances || row.instances >= wanted.instances) &&
    (!wanted.area || (row.largest ?? 0) >= wanted.area)
  );
}

// The samples of one page of the grid, and whether there are more. Rows come a thousand at a time; those of datasets
// and pages that cannot matter are never loaded, and none are kept.
async function find(wanted) {
  let left = Number(wanted.page ?? 0) * SHOWN;
  const plain = !["split", "concept", "instances", "area"].some((name) => wanted[name]);
  const found = [];
  for (const dataset of facts.datasets) {
    if (wanted.dataset && dataset.slug !== wanted.dataset) continue;
    if (wanted.concept && !dataset.concepts.includes(wanted.concept)) continue;
    for (let part = 0; part < dataset.pages; part++) {
      const rows = Math.min(1000, dataset.samples - 1000 * part);
      if (plain && left >= rows) {
        left -= rows;
        continue;
      }
      const address = `rows/${dataset.slug}/${part}`;
      const loaded = await medshards.load(address);
      medshards.forget(address);
      for (const row of loaded) {
        if (!fits(row, wanted) || left-- > 0) continue;
        left = 0;
        if (found.length === SHOWN) return { found, more: true };
        found.push({ slug: dataset.slug, ...row });
      }
    }
  }
  return { found, more: false };
}

function tile(row) {
  const name = `${row.slug}/${row.key}`;
  const frame = medshards.element("span", { className: "frame" });
  const concepts = row.concepts.map((id) => facts.concepts[id] ?? id).join(", ") || "no instance";
  frame.append(medshards.element("img", { src: `small/${name}.jpg`, alt: concepts, loading: "lazy", width: 320, height: 240 }));
  const label = medshards.element("span", { className: "name", textContent: row.key });
  const what = medshards.element("span", { className: "name", textContent: `${row.split} · ${row.instances} × ${concepts}` });
  const link = medshards.element("a", { href: `sample.html#dataset=${row.slug}&key=${row.key}` }, frame, label, what);
  medshards.load(`samples/${name}`).then((sample) => {
    medshards.forget(`samples/${name}`);
    frame.append(drawOutlines(sample));
  }, () => frame.append("cannot be read"));
  return medshards.element("li", {}, link);
}

async function apply() {
  const mine = ++turn;
  const wanted = medshards.state();
  for (const field of form.elements) field.value = wanted[field.name] ?? "";
  count.textContent = "Looking …";
  const { found, more } = await find(wanted);
  if (mine !== turn) return;
  const number = Number(wanted.page ?? 0);
  const chosen = facts.datasets.filter((own) => !wanted.dataset || own.slug === wanted.dataset);
  const [shown, all] = ["samples", "of"].map((name) => chosen.reduce((sum, own) => sum + own[name], 0));
  grid.replaceChildren(...found.map(tile));
  count.textContent =
    (found.length ? `${number * SHOWN + 1}–${number * SHOWN + found.length}` : "No sample fits") +
    ` (of ${shown.toLocaleString("en")} samples${shown < all ? `, a selection of ${all.toLocaleString("en")}` : ""})`;
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
