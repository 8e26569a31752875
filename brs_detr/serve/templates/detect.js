"use strict";
const settings = JSON.parse(document.getElementById("settings").textContent);
const part = (id) => document.getElementById(id);
const pictures = [];             // {file, url, state: waiting | working | done, width, height, objects, badge, button}
const hiddenClasses = new Set();
let threshold = settings.threshold;  // of all classes, or a list with one of each
let shown = null;                // the picture on the stage
let isPumping = false;

/* Pictures come in and are sent one after the other. */

function addFiles(files) {
  for (const file of files) {
    if (!file.size) report(file.name, "The file is empty.", "Choose another one.");
    else if (file.size > settings.maxBytes)
      report(file.name, `The file has ${(file.size / 1e6).toFixed(1)} MB; this server takes ${settings.maxBytes / 1e6} MB.`,
             "Make it smaller, or start the server with a larger --max-upload-mb.");
    else addPicture(file);
  }
  pump();
}

function addPicture(file) {
  const picture = { file, url: URL.createObjectURL(file), state: "waiting", objects: [] };
  picture.button = make("button", { type: "button", title: file.name });
  picture.badge = make("span", { className: "badge", textContent: "…" });
  picture.button.append(make("canvas", { width: 192, height: 144 }), picture.badge);
  picture.button.addEventListener("click", () => show(picture));
  part("film").append(picture.button);
  pictures.push(picture);
  if (!shown) show(picture);
  layOut();
}

async function pump() {
  if (isPumping) return;
  isPumping = true;
  for (let picture; (picture = pictures.find((one) => one.state === "waiting"));) await detect(picture);
  isPumping = false;
}

async function detect(picture) {
  picture.state = "working";
  if (picture === shown) draw();
  say(`Detecting on ${picture.file.name}.`);
  try {
    const { image, error } = await send(picture.file);
    if (!pictures.includes(picture)) return;  // cleared meanwhile
    if (error) { report(picture.file.name, error.message, error.cure, error.isPassing && picture.file); drop(picture); return; }
    Object.assign(picture, { state: "done", width: image.width, height: image.height, objects: image.objects });
    drawThumbnail(picture);
    say(`${picture.file.name}: ${count(visible(picture).length, "object")}.`);
    if (picture === shown) show(picture); else updateBadges();
  } catch (fault) {
    report(picture.file.name, `This page failed: ${fault.message}.`, "Load it again.");
    drop(picture);
  }
}

async function send(file) {
  let body;
  try { body = await file.arrayBuffer(); } catch {
    return { error: { message: "The browser cannot read it.", cure: "Choose a file; a folder cannot be sent." } };
  }
  let response, answer;
  try {
    response = await fetch("api/detect?threshold=0", { method: "POST", body, headers: { "Content-Type": "application/octet-stream" } });
    answer = await response.json();
  } catch {
    return { error: { message: "The server does not answer.", cure: "Check in its terminal whether it still runs.", isPassing: true } };
  }
  if (answer.error) return { error: { ...answer.error, isPassing: [408, 503].includes(response.status) } };
  return { image: answer.images[0] };
}

function drop(picture) {
  const place = pictures.indexOf(picture);
  if (place < 0) return;
  pictures.splice(place, 1);
  forget(picture);
  if (picture === shown) show(pictures[Math.min(place, pictures.length - 1)] ?? null);
  layOut();
}

function clear() {
  const all = pictures.splice(0);
  show(null);
  all.forEach(forget);
  part("problems").replaceChildren();
  layOut();
  part("files").focus();
}

function forget(picture) {
  picture.button.remove();
  URL.revokeObjectURL(picture.url);
}

/* What is seen of a picture. */

const isHigh = ({ score, label }) => score >= (Array.isArray(threshold) ? threshold[label] : threshold);
const isVisible = (object) => isHigh(object) && !hiddenClasses.has(object.label);
const visible = (picture) => picture.objects.filter(isVisible);

function show(picture) {
  shown = picture;
  for (const one of pictures) one.button.setAttribute("aria-current", one === picture);
  picture?.button.scrollIntoView({ block: "nearest", inline: "nearest" });
  draw();
}

function draw() {
  const stage = part("picture");
  stage.replaceChildren();
  if (!shown) return;
  const picture = shown;
  const image = make("img", { src: picture.url, alt: picture.file.name });
  image.addEventListener("load", () => {
    if (picture.state !== "done") fit(picture.width = image.naturalWidth, picture.height = image.naturalHeight);
  });
  image.addEventListener("error", () => {
    image.remove();
    picture.isUnseen = true;
    if (picture === shown) stage.prepend(make("p", { className: "quiet", textContent: "This browser cannot show this kind of image. The boxes and the table are correct nevertheless." }));
    update();
  });
  stage.append(image, makeSvg("svg", { id: "boxes", role: "img" }));
  if (picture.state !== "done") stage.append(make("p", { className: "busy", textContent: picture.state === "working" ? "detecting …" : "waiting …" }));
  if (picture.width) fit(picture.width, picture.height);
  part("name").textContent = picture.file.name;
  update();
}

function fit(width, height) {
  const style = part("picture").style;
  style.aspectRatio = `${width} / ${height}`;
  style.width = `min(100%, ${(72 * width / height).toFixed(3)}vh, ${6 * width}px)`;
  part("picture").classList.toggle("is-small", Math.max(width, height) < 200);
}

function update() {
  updateBadges();
  if (!shown) return;
  const found = visible(shown);
  const size = shown.width ? `${shown.width} × ${shown.height}` : "";
  part("facts").textContent = [size, shown.state === "done" ? count(found.length, "object") : ""].filter(Boolean).join(", ");
  part("nothing").hidden = shown.state !== "done" || found.length > 0;
  part("save-json").disabled = !pictures.some((picture) => picture.state === "done");
  part("save-picture").disabled = shown.state !== "done" || Boolean(shown.isUnseen);
  drawBoxes(found);
  drawLegend();
  drawScores();
  drawRows(found);
}

function updateBadges() {
  for (const picture of pictures) {
    const number = visible(picture).length;
    picture.badge.textContent = picture.state === "done" ? number : "…";
    picture.button.setAttribute("aria-label", `${picture.file.name}, ${picture.state === "done" ? count(number, "object") : "waiting"}`);
  }
}

function drawBoxes(found) {
  const svg = part("boxes");
  if (!svg) return;
  svg.replaceChildren();
  svg.classList.remove("has-lit");
  svg.setAttribute("aria-label", count(found.length, "object") + " on " + shown.file.name);
  if (!shown.width) return;
  svg.setAttribute("viewBox", `0 0 ${shown.width} ${shown.height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const scale = shown.width / (svg.clientWidth || shown.width);
  const area = ({ box_xyxy: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
  for (const object of [...found].sort((a, b) => area(b) - area(a))) {  // small ones on top, to be pointed at
    const [x, y, x2, y2] = object.box_xyxy;
    const place = { x, y, width: Math.max(0, x2 - x), height: Math.max(0, y2 - y) };
    const colour = settings.classes[object.label].colour;
    const group = makeSvg("g", { class: "object" });
    group.append(makeSvg("rect", { class: "edge", ...place }), makeSvg("rect", { class: "box", stroke: colour, fill: colour, "fill-opacity": 0, ...place }));
    group.dataset.place = shown.objects.indexOf(object);
    svg.append(group);
  }
  for (const object of [...found].reverse()) svg.append(drawTag(object, scale));  // the best one on top
}

function drawTag(object, scale) {
  const { text, x, y, width, height, size } = placeTag(object, scale, shown.width);
  const { colour, ink } = settings.classes[object.label];
  const tag = makeSvg("g", { class: "tag" });
  tag.dataset.place = shown.objects.indexOf(object);
  const words = makeSvg("text", { x: x + size * 0.35, y: y + height * 0.75, "font-size": size, fill: ink });
  words.textContent = text;
  tag.append(makeSvg("rect", { x, y, width, height, rx: size * 0.2, fill: colour }), words);
  return tag;
}

const ruler = document.createElement("canvas").getContext("2d");

function placeTag(object, scale, pictureWidth) {
  const size = 12.5 * scale, height = 1.35 * size, text = `${object.name} ${object.score.toFixed(2)}`;
  ruler.font = "600 100px system-ui, 'DejaVu Sans', sans-serif";
  const width = (ruler.measureText(text).width / 100 + 0.7) * size;
  const [x1, y1] = object.box_xyxy;
  const x = Math.max(0, Math.min(x1 - scale, pictureWidth - width));
  return { text, size, width, height, x, y: y1 >= height ? y1 - height : Math.max(0, y1) };
}

function drawLegend() {
  const counts = settings.classes.map(() => 0);
  for (const object of shown.objects) if (isHigh(object)) counts[object.label]++;
  const buttons = settings.classes.flatMap(({ name, colour }, label) => {
    if (settings.classes.length > 12 && !counts[label] && !hiddenClasses.has(label)) return [];
    const button = make("button", { type: "button" });
    button.setAttribute("aria-pressed", !hiddenClasses.has(label));
    button.dataset.label = label;
    if (Array.isArray(threshold)) button.title = `from ${threshold[label].toFixed(3)}`;
    button.append(dot(colour), name, make("span", { className: "count", textContent: counts[label] }));
    button.addEventListener("click", () => { toggle(hiddenClasses, label); update(); part("legend").querySelector(`[data-label="${label}"]`)?.focus(); });
    return [button];
  });
  part("legend").replaceChildren(...buttons);
}

function drawScores() {
  const marks = shown.objects.filter(({ label }) => !hiddenClasses.has(label)).reverse().map((object) => makeSvg("line", {
    x1: object.score, x2: object.score, y1: 0.1, y2: 1, stroke: settings.classes[object.label].colour, "stroke-width": 2,
    "vector-effect": "non-scaling-stroke", opacity: isHigh(object) ? 1 : 0.3 }));
  part("scores").replaceChildren(...marks);
}

function drawRows(found) {
  part("rows").replaceChildren(...found.map((object, number) => {
    const row = make("tr", { tabIndex: number ? -1 : 0 });
    row.dataset.place = shown.objects.indexOf(object);
    const name = make("td", {});
    name.append(dot(settings.classes[object.label].colour), object.name);
    const box = object.box_xyxy.map((side) => Math.round(side));
    row.append(name, make("td", { className: "number", textContent: object.score.toFixed(3) }),
               make("td", { className: "number", textContent: `${box[0]}, ${box[1]} – ${box[2]}, ${box[3]}` }));
    return row;
  }));
}

function light(place) {
  part("boxes")?.classList.toggle("has-lit", place !== undefined);
  for (const one of document.querySelectorAll("[data-place]")) one.classList.toggle("is-lit", one.dataset.place === place);
}

function drawThumbnail(picture) {
  createImageBitmap(picture.file, { resizeWidth: 192, resizeHeight: Math.max(1, Math.round(192 * picture.height / picture.width)) }).then((small) => {
    const canvas = picture.button.querySelector("canvas");
    Object.assign(canvas, { width: small.width, height: small.height });
    canvas.getContext("2d").drawImage(small, 0, 0);
  }).catch(() => {});  // the name and the count have to do
}

/* What is kept. */

function saveJson() {
  const images = pictures.filter(({ state }) => state === "done").map((picture) => (
    { file: picture.file.name, width: picture.width, height: picture.height, objects: visible(picture) }));
  const names = settings.classes.map(({ name }) => name);
  const lowest = Array.isArray(threshold) ? Object.fromEntries(names.map((name, label) => [name, threshold[label]])) : threshold;
  const record = { model: settings.model, class_names: names, score_threshold: lowest, calibrated: settings.calibrated, images };
  save(new Blob([JSON.stringify(record, null, 1) + "\n"], { type: "application/json" }), "predictions.json");
}

async function savePicture() {
  const picture = shown;
  const canvas = make("canvas", { width: picture.width, height: picture.height });
  const pen = canvas.getContext("2d"), scale = Math.max(picture.width, picture.height) / 1000 + 0.35;
  pen.drawImage(await createImageBitmap(picture.file), 0, 0, picture.width, picture.height);
  pen.lineWidth = Math.max(1, 2.5 * scale);
  for (const object of visible(picture).reverse()) {
    const { colour, ink } = settings.classes[object.label], [x1, y1, x2, y2] = object.box_xyxy;
    pen.strokeStyle = pen.fillStyle = colour;
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const tag = placeTag(object, scale, picture.width);
    pen.fillRect(tag.x, tag.y, tag.width, tag.height);
    pen.fillStyle = ink;
    pen.font = `600 ${tag.size}px system-ui, 'DejaVu Sans', sans-serif`;
    pen.fillText(tag.text, tag.x + tag.size * 0.35, tag.y + tag.height * 0.75);
  }
  const isPhoto = picture.file.type === "image/jpeg";
  const blob = await new Promise((done) => canvas.toBlob(done, isPhoto ? "image/jpeg" : "image/png", 0.93));
  if (blob) save(blob, picture.file.name.replace(/\.[^.]*$/, "") + (isPhoto ? "_detected.jpg" : "_detected.png"));
  else report(picture.file.name, "The image is too large for this browser to draw.", "Use `brs-detr predict`.");
}

function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/* Small things. */

function make(name, properties) { return Object.assign(document.createElement(name), properties); }

function makeSvg(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function dot(colour) {
  const mark = make("span", { className: "dot" });
  mark.style.background = mark.style.borderColor = colour;
  return mark;
}

function count(number, noun) { return `${number} ${noun}${number === 1 ? "" : "s"}`; }

function toggle(set, one) { if (!set.delete(one)) set.add(one); }

function say(text) { part("status").textContent = text; }

function report(name, message, cure, fileToSendAgain) {
  const line = make("li", {}), words = make("div", {}), head = make("p", {});
  head.append(make("b", { textContent: `${name}: ` }), message);
  words.append(head);
  if (cure) words.append(make("p", { className: "quiet", textContent: cure }));
  line.append(words);
  if (fileToSendAgain) {
    const again = make("button", { type: "button", textContent: "Try again" });
    again.addEventListener("click", () => { line.remove(); addFiles([fileToSendAgain]); });
    line.append(again);
  }
  const close = make("button", { type: "button", textContent: "Dismiss", ariaLabel: `Dismiss the message about ${name}` });
  close.addEventListener("click", () => line.remove());
  line.append(close);
  part("problems").append(line);
}

function layOut() {
  part("page").classList.toggle("is-empty", pictures.length === 0);
  part("work").hidden = part("clear").hidden = pictures.length === 0;
  part("film").hidden = pictures.length < 2;
}

function setThreshold(value) {
  const isByClass = Array.isArray(value);
  if (!isByClass && !(value >= 0 && value <= 1)) return;
  threshold = value;
  part("threshold").value = isByClass ? 0.5 : value;
  part("threshold").setAttribute("aria-valuetext", isByClass ? "by class" : value.toFixed(3));
  if (document.activeElement !== part("threshold-number")) writeThreshold();
  update();
}

function writeThreshold() {
  part("threshold-number").value = Array.isArray(threshold) ? "" : threshold.toFixed(3);
}

/* Events. */

part("files").addEventListener("change", (event) => { addFiles([...event.target.files]); event.target.value = ""; });
part("clear").addEventListener("click", clear);
part("threshold").addEventListener("input", (event) => setThreshold(event.target.valueAsNumber));
part("threshold-number").addEventListener("input", (event) => setThreshold(event.target.valueAsNumber));
part("threshold-number").addEventListener("blur", writeThreshold);
part("reset").addEventListener("click", () => setThreshold(settings.threshold));
part("save-json").addEventListener("click", saveJson);
part("save-picture").addEventListener("click", savePicture);
part("film").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const next = step && pictures[pictures.indexOf(shown) + step];
  if (next) { event.preventDefault(); show(next); next.button.focus(); }
});
part("rows").addEventListener("keydown", (event) => {
  const next = { ArrowUp: "previousElementSibling", ArrowDown: "nextElementSibling" }[event.key];
  const row = next && document.activeElement[next];
  if (row) { event.preventDefault(); document.activeElement.tabIndex = -1; row.tabIndex = 0; row.focus(); }
});
for (const holder of [part("rows"), part("picture")]) {
  holder.addEventListener("pointerover", (event) => light(event.target.closest("[data-place]")?.dataset.place));
  holder.addEventListener("pointerleave", () => light());
}
part("rows").addEventListener("focusin", (event) => light(event.target.dataset.place));
part("rows").addEventListener("focusout", () => light());
new ResizeObserver(() => { if (shown) drawBoxes(visible(shown)); }).observe(part("picture"));
addEventListener("dragover", (event) => { event.preventDefault(); part("page").classList.add("is-dragged"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) part("page").classList.remove("is-dragged"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  part("page").classList.remove("is-dragged");
  addFiles([...event.dataTransfer.files]);
});
addEventListener("paste", (event) => { if (event.clipboardData.files.length) addFiles([...event.clipboardData.files]); });
part("origin").textContent = new URL(".", location.href).href;
part("reset").textContent = `Back to ${Array.isArray(settings.threshold) ? "one by class" : settings.threshold.toFixed(3)}`;
setThreshold(threshold);
