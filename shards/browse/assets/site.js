"use strict";
// What all pages share: data that come as scripts (so that pages work from a disk), the state of a page in its
// address, and elements made of text, never of HTML.
const medshards = {
  waiting: new Map(),
  kept: 64,
  root: document.body.dataset.root,

  receive(address, content) {
    this.waiting.get(address)?.resolve(content);
  },

  // What an address holds. The last `kept` answers stay, so that memory is flat however many samples are seen.
  load(address) {
    if (!this.waiting.has(address)) {
      const entry = {};
      if (this.waiting.size >= this.kept) this.waiting.delete(this.waiting.keys().next().value);
      entry.promise = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
      this.waiting.set(address, entry);
      const script = document.createElement("script");
      script.src = `${this.root}${address}.js`;
      script.onerror = () => {
        this.waiting.delete(address);
        entry.reject(new Error(`${address} cannot be loaded`));
      };
      script.onload = () => script.remove();
      document.head.append(script);
    }
    return this.waiting.get(address).promise;
  },

  element(name, facts = {}, ...children) {
    const made = document.createElement(name);
    Object.assign(made, facts);
    made.append(...children);
    return made;
  },

  // The state of a page: named values behind the # of its address, so that links are deep and "back" goes back.
  state() {
    return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  },

  change(values, again = false) {
    const kept = Object.entries(values).filter(([, value]) => value !== "" && value != null);
    const hash = `#${new URLSearchParams(kept)}`;
    if (hash === (location.hash || "#")) return;
    if (again) location.replace(hash);
    else location.hash = hash;
  },
};
window.medshards = medshards;
