"use strict";
// The stored numbers of a slice, shown through a window.
const WINDOWS = {
  HU: { "soft tissue": [-160, 240], lung: [-1350, 150], bone: [-450, 1050], brain: [0, 80] },
  "SUVbw g/ml": { "0 to 5": [0, 5], "0 to 10": [0, 10], "0 to 20": [0, 20] },
};

class Numbers {
  constructor(facts) {
    const bytes = Uint8Array.from(atob(facts.data), (c) => c.charCodeAt(0));
    this.facts = facts;
    this.stored = new Uint16Array(bytes.buffer);
  }

  at(number) {
    return this.stored[number] * this.facts.slope + this.facts.intercept;
  }

  windows() {
    let [low, high] = [Infinity, -Infinity];
    for (const stored of this.stored) {
      low = Math.min(low, stored);
      high = Math.max(high, stored);
    }
    const ends = [low, high].map((stored) => stored * this.facts.slope + this.facts.intercept);
    return { "as recorded": this.facts.window, auto: ends, ...WINDOWS[this.facts.unit] };
  }

  draw(canvas, [low, high]) {
    const { width, height } = this.facts;
    Object.assign(canvas, { width, height });
    const picture = new ImageData(width, height);
    const scale = 255 / Math.max(high - low, 1e-6);
    for (let k = 0; k < this.stored.length; k++) {
      picture.data.fill((this.at(k) - low) * scale, 4 * k, 4 * k + 3);
      picture.data[4 * k + 3] = 255;
    }
    canvas.getContext("2d").putImageData(picture, 0, 0);
  }

  // The number below the pointer, in its unit.
  under(canvas, event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const { width, height, step, unit } = this.facts;
    const [column, row] = [Math.floor(x * width), Math.floor(y * height)];
    if (column < 0 || row < 0 || column >= width || row >= height) return "";
    const value = this.at(row * width + column);
    return `${value.toLocaleString("en", { maximumFractionDigits: 3 })} ${unit} at ${row * step}, ${column * step}`;
  }
}
