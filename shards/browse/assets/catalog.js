"use strict";
const form = document.querySelector("form");
const list = document.querySelector(".cards");
const cards = [...list.children];

function apply() {
  const wanted = medshards.state();
  for (const field of form.elements) field.value = wanted[field.name] ?? "";
  const words = (wanted.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const card of cards) {
    const facts = card.dataset;
    const fits =
      words.every((word) => facts.words.includes(word)) &&
      ["modality", "role", "licence", "access", "commercial"].every((name) => !wanted[name] || facts[name] === wanted[name]) &&
      (!wanted.concept || facts.concept.split(" ").includes(wanted.concept));
    card.hidden = !fits;
    count += fits;
  }
  const order = {
    title: (a, b) => a.dataset.title.localeCompare(b.dataset.title),
    images: (a, b) => b.dataset.images - a.dataset.images,
  }[wanted.sort];
  list.append(...(order ? [...cards].sort(order) : cards));
  document.getElementById("count").textContent = `${count} of ${cards.length} datasets`;
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", (event) => {
  medshards.change(Object.fromEntries(new FormData(form)), event.target.name === "q");
});
addEventListener("hashchange", apply);
apply();
