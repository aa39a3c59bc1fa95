"use strict";
const byId = (id) => document.getElementById(id);
const spans = [...byId("text").children];
const palettes = {
  red: { positive: [220, 50, 47], negative: [38, 100, 220] },
  orange: { positive: [230, 145, 0], negative: [0, 114, 178] },
};
const chosen = { layer: DATA.layer, quantity: DATA.quantity, unit: DATA.unit, palette: "red" };

const layer = () => DATA.layers[chosen.layer];
const channel = () => layer().channels[chosen.quantity];

function decoded(base64) {
  return new Int8Array(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);
}

// Values of a channel, [T, H], decoded when they are first looked at.
function values(of) {
  of.decoded ??= decoded(of.values);
  return of.decoded;
}

function share(t, unit = chosen.unit) {
  return values(channel())[t * layer().hidden + unit] / 127;
}

const rgb = (x) => palettes[chosen.palette][x >= 0 ? "positive" : "negative"];

function colour(x) {
  const [r, g, b] = rgb(x);
  return `rgba(${r},${g},${b},${Math.abs(x).toFixed(2)})`;
}

// Whether white letters stand out more than black ones (WCAG 2).
function wantsWhite(paper, x) {
  const [r, g, b] = rgb(x).map((over, i) => {
    const s = (paper[i] + Math.abs(x) * (over - paper[i])) / 255;
    return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05;
}

// Where letters must not be black on light paper or white on dark.
function letters(x) {
  if (wantsWhite([255, 255, 255], x)) return "white";
  return wantsWhite([20, 23, 26], x) ? "" : "black";
}

const scaleName = (scale) => scale.toFixed(scale < 10 ? 1 : 0);

function paint() {
  // A byte has few values.
  const classes = {};
  spans.forEach((span, t) => {
    const x = share(t);
    span.style.background = colour(x);
    span.className = classes[x] ??= letters(x);
  });
  byId("positive").textContent = chosen.palette;
  byId("layer").value = chosen.layer;
  byId("quantity").value = chosen.quantity;
  byId("unit").value = chosen.unit;
  byId("unit").max = layer().hidden - 1;
  const scale = channel().scales[chosen.unit];
  byId("low").textContent = "−" + scaleName(scale);
  byId("high").textContent = "+" + scaleName(scale);
  byId("ramp").style.background = `linear-gradient(90deg,${colour(-1)},transparent,${colour(1)})`;
  mark();
  if (shown >= 0) show(shown);
}

// Of so many pixels at most: a canvas of more than 65,535 stays blank.
const WIDEST = 4096;

// A pixel a character or, of a long text, the mean of some.
function strip(shareAt) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.min(spans.length, WIDEST);
  canvas.height = 1;
  const context = canvas.getContext("2d");
  const start = (pixel) => Math.floor(pixel * spans.length / canvas.width);
  for (let pixel = 0; pixel < canvas.width; pixel++) {
    const [from, to] = [start(pixel), start(pixel + 1)];
    let sum = 0;
    for (let t = from; t < to; t++) sum += shareAt(t);
    context.fillStyle = colour(sum / (to - from));
    context.fillRect(pixel, 0, 1, 1);
  }
  return canvas;
}

// Beside a feature: h of its unit, and where it holds.
function pictures() {
  const features = Object.fromEntries(DATA.features);
  document.querySelectorAll("#found .strips").forEach((cell) => {
    const { hidden, channels } = DATA.layers[cell.dataset.layer];
    const h = values(channels[0]);
    const feature = decoded(features[cell.dataset.feature]);
    const unit = strip((t) => h[t * hidden + +cell.dataset.unit] / 127);
    cell.replaceChildren(unit, strip((t) => feature[t] / 127));
  });
}

// The small multiples: a strip for each unit.
function strips() {
  const box = byId("units");
  const held = box.contains(document.activeElement);
  box.replaceChildren();
  for (let unit = 0; unit < layer().hidden; unit++) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(strip((t) => share(t, unit)), "unit " + unit);
    button.addEventListener("click", () => choose({ unit }));
    box.append(button);
  }
  mark();
  if (held) box.children[chosen.unit].focus();
}

// The chosen strip is the one that Tab stops at, and has the focus if another had it.
function mark() {
  const box = byId("units");
  const held = box.contains(document.activeElement);
  [...box.children].forEach((button, unit) => {
    button.setAttribute("aria-pressed", unit === chosen.unit);
    button.tabIndex = unit === chosen.unit ? 0 : -1;
  });
  if (held) box.children[chosen.unit].focus();
}

function choose(change) {
  const before = { ...chosen };
  Object.assign(chosen, change);
  chosen.unit = Math.min(Math.max(chosen.unit | 0, 0), layer().hidden - 1);
  if (["layer", "quantity", "palette"].some((key) => before[key] !== chosen[key])) strips();
  if (before.palette !== chosen.palette) pictures();
  paint();
}

// The character whose value is shown.
let shown = -1;

function show(t) {
  spans[shown]?.removeAttribute("aria-current");
  spans[t].setAttribute("aria-current", "true");
  shown = t;
  const { name, scales } = channel();
  const value = (share(t) * scales[chosen.unit]).toFixed(2);
  const symbol = JSON.stringify(spans[t].textContent.replace("⏎", ""));
  const next = DATA.next[t].map(([s, p]) => `${JSON.stringify(s)} ${p} %`).join("  ");
  byId("status").textContent = `${symbol}  ${name}[${chosen.unit}] = ${value}   next: ${next}`;
}

function look(by) {
  show(Math.min(Math.max(shown + by, 0), spans.length - 1));
  spans[shown].scrollIntoView({ block: "nearest" });
}

const step = (by) => choose({ unit: (chosen.unit + by + layer().hidden) % layer().hidden });
const keys = {
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  j: () => look(1),
  k: () => look(-1),
  l: () => choose({ layer: (chosen.layer + 1) % DATA.layers.length }),
  q: () => choose({ quantity: (chosen.quantity + 1) % layer().channels.length }),
};

// Keys that mean something where the focus is: in a field, and in what an arrow scrolls.
function taken(event) {
  if (event.target.matches("select, input:not([type=checkbox])")) return true;
  const box = event.target.closest(".scroll");
  return box && box.scrollWidth > box.clientWidth && event.key.startsWith("Arrow");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key] || taken(event)) return;
  event.preventDefault();
  keys[event.key]();
});
byId("layer").addEventListener("change", (e) => choose({ layer: +e.target.value }));
byId("quantity").addEventListener("change", (e) => choose({ quantity: +e.target.value }));
byId("unit").addEventListener("change", (e) => choose({ unit: +e.target.value }));
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("palette").addEventListener("change", (e) => choose({ palette: e.target.checked ? "orange" : "red" }));
byId("text").addEventListener("mouseover", (event) => {
  const t = spans.indexOf(event.target);
  if (t >= 0) show(t);
});
document.querySelectorAll("#found button").forEach((button) => {
  button.addEventListener("click", () => {
    choose({ layer: +button.dataset.layer, unit: +button.dataset.unit, quantity: 0 });
    byId("text").scrollIntoView({ block: "nearest" });
  });
});
document.documentElement.classList.add("scripts");
document.querySelectorAll("[disabled]").forEach((control) => { control.disabled = false; });
strips();
pictures();
paint();
