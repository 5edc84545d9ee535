"use strict";
// Outlines of instances over a picture, and the switches that say how they are drawn.
const COLOURS = 7;

function drawOutlines(sample) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const [height, width] = sample.record.size;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("class", "outlines");
  svg.setAttribute("aria-hidden", "true");
  sample.outlines.forEach((outline, number) => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", outline.path);
    path.setAttribute("class", `k${number % COLOURS}`);
    const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    title.textContent = `${outline.text} ${outline.id}, ${outline.area.toLocaleString("en")} px`;
    path.append(title);
    svg.append(path);
  });
  return svg;
}

function bindSwitches() {
  const [shown, fill, opacity] = ["shown", "fill", "opacity"].map((id) => document.getElementById(id));
  const apply = () => {
    document.body.classList.toggle("bare", !shown.checked);
    document.body.classList.toggle("filled", fill.checked);
    document.body.style.setProperty("--opacity", opacity.value / 100);
  };
  for (const part of [shown, fill, opacity]) part.addEventListener("input", apply);
  apply();
}
