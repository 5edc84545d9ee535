"use strict";
const part = (id) => document.getElementById(id);
const { element } = medshards;
let turn = 0;
let numbers = null;

function pairs(list, facts) {
  list.replaceChildren(
    ...facts.flatMap(([name, value]) => [
      element("dt", { textContent: name }),
      element("dd", { textContent: value }),
    ]),
  );
}

function link(id, slug, key) {
  if (key === null) part(id).removeAttribute("href");
  else part(id).href = addressOf(slug, key);
}

function showPrompts(sample) {
  const byText = new Map();
  sample.outlines.forEach((outline, number) => {
    if (!byText.has(outline.text)) byText.set(outline.text, []);
    byText.get(outline.text).push(number);
  });
  part("prompts").replaceChildren(
    ...[...byText].map(([text, own]) => {
      const swatches = own.slice(0, 12).map((k) => element("span", { className: `swatch k${k % COLOURS}` }));
      return element("li", {}, ...swatches, `${text}${own.length > 1 ? ` (${own.length})` : ""}`);
    }),
    ...sample.record.absent.map((concept) => element("li", { className: "small", textContent: `not there: ${facts.concepts[concept] ?? concept}` })),
  );
}

// The stored numbers of a slice, where the site has them; null of a picture.
async function numbersOf(slug, key, sample) {
  if (!sample.full || sample.record.intensity === null) return null;
  return new Numbers(await medshards.load(`numbers/${slug}/${key}`));
}

function showPicture(slug, key, sample) {
  const [height, width] = sample.record.size;
  const alt = `${key}: ${[...new Set(sample.outlines.map((outline) => outline.text))].join(", ") || "no instance"}`;
  part("value").textContent = "";
  part("window").hidden = numbers === null;
  part("only").hidden = sample.full;
  let picture;
  if (numbers === null) {
    picture = element("img", { src: sample.full ? `pictures/${slug}/${key}` : sample.small, alt, width, height });
  } else {
    picture = element("canvas", { role: "img", ariaLabel: alt });
    const windows = numbers.windows();
    const chosen = windows[part("preset").value] ? part("preset").value : "as recorded";
    part("preset").replaceChildren(...Object.keys(windows).map((name) => element("option", { textContent: name })));
    part("preset").value = chosen;
    numbers.draw(picture, windows[chosen]);
  }
  part("stage").replaceChildren(picture, drawOutlines(sample));
}

function showVolume(slug, key, slices) {
  part("volume").hidden = slices.length < 2;
  const slider = part("slice");
  Object.assign(slider, { max: slices.length - 1, value: slices.indexOf(key) });
  part("place").textContent = `${slices.indexOf(key) + 1} of ${slices.length}`;
  slider.oninput = () => medshards.change({ dataset: slug, key: slices[slider.value] }, true);
}

async function apply() {
  const mine = ++turn;
  const { dataset: slug, key } = medshards.state();
  if (!slug || !key) return;
  part("name").textContent = document.title = `${slug}/${key}`;
  let sample, own;
  try {
    sample = await sampleAt(slug, await rowOf(slug, key));
    own = await numbersOf(slug, key, sample);
  } catch (error) {
    if (mine === turn) part("stage").textContent = "This sample is not here.";
    return;
  }
  if (mine !== turn) return;
  numbers = own;
  link("before", slug, sample.before);
  link("after", slug, sample.after);
  showPrompts(sample);
  pairs(part("members"), sample.members.map(([name, size]) => [name, `${size.toLocaleString("en")} bytes`]));
  pairs(part("origin"), sample.record.origin.map((own) => [own.role, `${own.file} (SHA-256 ${own.sha256})`]));
  const { keys, of } = sample.group;
  part("group").replaceChildren(
    ...keys.map((other) => element("li", {}, other === key ? element("b", { textContent: other }) : element("a", { href: addressOf(slug, other), textContent: other }))),
    ...(of > keys.length ? [element("li", { textContent: `and ${of - keys.length} more` })] : []),
  );
  part("record").textContent = JSON.stringify(sample.record, null, 1);
  showVolume(slug, key, sample.slices);
  showPicture(slug, key, sample);
}

part("preset").addEventListener("change", () => numbers?.draw(part("stage").querySelector("canvas"), numbers.windows()[part("preset").value]));
part("stage").addEventListener("pointermove", (event) => {
  const canvas = part("stage").querySelector("canvas");
  if (numbers && canvas) part("value").textContent = numbers.under(canvas, event);
  part("hover").textContent = event.target.querySelector?.("title")?.textContent ?? "\u00a0";
});
addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, pre") || event.altKey || event.ctrlKey || event.metaKey) return;
  const id = { ArrowLeft: "before", ArrowRight: "after" }[event.key];
  if (id && part(id).href) location.href = part(id).href;
});
addEventListener("hashchange", apply);
bindSwitches();
apply();
