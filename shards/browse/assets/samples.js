"use strict";
// Where the samples of the corpus are: rows a thousand at a time in the order of their keys, samples so many to a file.
const facts = JSON.parse(document.getElementById("facts").textContent);
const ROWS = 1000;

const addressOf = (slug, key) => `sample.html#${new URLSearchParams({ dataset: slug, key })}`;

// Row of a key in its dataset, or -1.
async function rowOf(slug, key) {
  const firsts = facts.datasets.find((own) => own.slug === slug)?.firsts ?? [];
  const part = firsts.findLastIndex((first) => first <= key);
  if (part < 0) return -1;
  const rows = await medshards.load(`rows/${slug}/${part}`);
  const place = rows.findIndex((row) => row.key === key);
  return place < 0 ? -1 : ROWS * part + place;
}

// A sample by its row, with the keys of its group and of the slices of its volume.
async function sampleAt(slug, row) {
  const number = Math.floor(row / facts.pack);
  const { samples, groups, volumes } = await medshards.load(`samples/${slug}/${number}`);
  const sample = samples[row - number * facts.pack];
  return { ...sample, group: groups[sample.record.group], slices: volumes[sample.record.volume] ?? [] };
}
