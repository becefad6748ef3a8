// Draws the documents as points; moves by dragging, wheel, pinch and keys.
const $ = (id) => document.getElementById(id);
const frame = $("map"), canvas = $("canvas");
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const COLOURS = ["--group-1", "--group-2", "--group-3", "--group-4", "--group-5", "--group-6"];
const MARGIN = 0.06, REACH = 14, LEAST = 0.25, MOST = 400;

let points = [], groups = [], query = null, found = new Set();
let zoom = 1, centre = [0, 0], chosen = -1, pending = false;

const half = () => Math.min(canvas.clientWidth, canvas.clientHeight) * (0.5 - MARGIN);
const toScreen = ([x, y]) => [canvas.clientWidth / 2 + (x - centre[0]) * half() * zoom, canvas.clientHeight / 2 - (y - centre[1]) * half() * zoom];
const toPlane = (x, y) => [(x - canvas.clientWidth / 2) / half() / zoom + centre[0], (canvas.clientHeight / 2 - y) / half() / zoom + centre[1]];

function draw() {
  pending = false;
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const paint = canvas.getContext("2d");
  paint.setTransform(ratio, 0, 0, ratio, 0, 0);
  paint.clearRect(0, 0, width, height);
  const size = Math.min(9, Math.max(2.5, 60 / Math.sqrt(points.length + 1)) * Math.sqrt(Math.max(1, zoom / 2)));
  const plain = style("--accent"), other = style("--line-strong"), ink = style("--ink"), colours = COLOURS.map(style);
  points.forEach((point, number) => {
    const [x, y] = toScreen(point);
    if (x < -size || y < -size || x > width + size || y > height + size) return;
    paint.globalAlpha = 0.8;
    paint.fillStyle = groups.length ? colours[point[2]] ?? other : plain;
    paint.fillRect(x - size, y - size, 2 * size, 2 * size);
    if (found.has(number) || number === chosen) {
      paint.globalAlpha = 1;
      paint.strokeStyle = ink;
      paint.lineWidth = number === chosen ? 3 : 1.5;
      paint.strokeRect(x - size - 3, y - size - 3, 2 * size + 6, 2 * size + 6);
    }
  });
  paint.globalAlpha = 1;
  if (query) {
    const [x, y] = toScreen(query);
    paint.strokeStyle = paint.fillStyle = style("--bad");
    paint.lineWidth = 2.5;
    paint.beginPath();
    paint.arc(x, y, 9, 0, 7);
    paint.moveTo(x - 15, y); paint.lineTo(x + 15, y);
    paint.moveTo(x, y - 15); paint.lineTo(x, y + 15);
    paint.stroke();
  }
}
const redraw = () => { if (!pending) { pending = true; requestAnimationFrame(draw); } };

function choose(number) {
  if (number === chosen) return;
  chosen = number;
  canvas.classList.toggle("on", number >= 0);
  $("map-title").textContent = number >= 0 ? points[number][3] : "";
  redraw();
}

function nearest(x, y) {
  let best = -1, least = REACH * REACH;
  points.forEach((point, number) => {
    const [px, py] = toScreen(point), distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance <= least) { best = number; least = distance; }
  });
  return best;
}

function zoomAt(x, y, factor) {
  const before = toPlane(x, y);
  zoom = Math.min(MOST, Math.max(LEAST, zoom * factor));
  const after = toPlane(x, y);
  centre = [centre[0] + before[0] - after[0], centre[1] + before[1] - after[1]];
  redraw();
}
const zoomMiddle = (factor) => zoomAt(canvas.clientWidth / 2, canvas.clientHeight / 2, factor);

function fit() {
  const bounds = [0, 1].map((axis) => {
    const places = [...points, ...(query ? [query] : [])].map((point) => point[axis]);
    return [Math.min(...places, 1), Math.max(...places, -1)];
  });
  centre = bounds.map(([low, high]) => (low + high) / 2);
  const [width, height] = bounds.map(([low, high]) => Math.max(high - low, 0.02) / (2 - 4 * MARGIN));
  zoom = Math.min(canvas.clientWidth / width, canvas.clientHeight / height) / 2 / half();
  redraw();
}

const open = (number) => { if (number >= 0) location.href = points[number][4]; };

const fingers = new Map();
let moved = 0;
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
  moved = fingers.size > 1 ? Infinity : 0;
});
canvas.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId), now = [event.offsetX, event.offsetY];
  if (!before) { choose(nearest(...now)); return; }
  const others = [...fingers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
  if (others.length) {
    const apart = (place) => Math.hypot(place[0] - others[0][0], place[1] - others[0][1]) || 1;
    zoomAt((now[0] + others[0][0]) / 2, (now[1] + others[0][1]) / 2, apart(now) / apart(before));
  } else {
    moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
    const scale = half() * zoom;
    centre = [centre[0] - (now[0] - before[0]) / scale, centre[1] + (now[1] - before[1]) / scale];
    redraw();
  }
  fingers.set(event.pointerId, now);
});
canvas.addEventListener("pointerup", (event) => {
  fingers.delete(event.pointerId);
  if (moved > 6) return;
  const hit = nearest(event.offsetX, event.offsetY);
  // A finger has no hover: its first touch names the point, the second opens it.
  if (event.pointerType === "touch" && hit !== chosen) choose(hit);
  else open(hit);
});
canvas.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomAt(event.offsetX, event.offsetY, Math.exp(-event.deltaY / 400));
}, { passive: false });

const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const move = moves[event.key];
  if (move) { centre = [centre[0] + 0.15 * move[0] / zoom, centre[1] + 0.15 * move[1] / zoom]; redraw(); }
  else if (event.key === "+" || event.key === "=") zoomMiddle(1.4);
  else if (event.key === "-") zoomMiddle(1 / 1.4);
  else if (event.key === "0") fit();
  else if ((event.key === "n" || event.key === "p") && points.length) {
    choose((chosen + (event.key === "n" ? 1 : -1) + points.length) % points.length);
    centre = points[chosen].slice(0, 2);
  } else if (event.key === "Enter") open(chosen);
  else return;
  event.preventDefault();
});

function showLegend() {
  if (!groups.length) return;
  const hasOthers = points.some((point) => point[2] < 0);
  $("legend").replaceChildren(...[...groups, ...(hasOthers ? ["others"] : [])].map((name, number) => {
    const item = document.createElement("li"), svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const square = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 1 1");
    svg.setAttribute("aria-hidden", "true");
    square.setAttribute("d", "M0 0h1v1h-1z");
    square.style.fill = `var(${number < groups.length ? COLOURS[number] : "--line-strong"})`;
    svg.append(square);
    item.append(svg, name);
    return item;
  }));
}

if (frame) {
  $("zoom-in").addEventListener("click", () => zoomMiddle(1.6));
  $("zoom-out").addEventListener("click", () => zoomMiddle(1 / 1.6));
  $("fit").addEventListener("click", fit);
  new ResizeObserver(redraw).observe(canvas);
  addEventListener("themechange", redraw);
  try {
    const answer = await fetch(frame.dataset.points);
    if (!answer.ok) throw new Error((await answer.json()).error.message);
    const data = await answer.json();
    ({ points, groups, query } = data);
    found = new Set(data.found);
    showLegend();
    fit();
    frame.dataset.ready = "yes";
  } catch (error) {
    $("map-title").textContent = `The points could not be fetched: ${error.message}`;
  }
  redraw();
}
