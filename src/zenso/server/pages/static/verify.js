// Sets the browser's result beside the server's.
const $ = (id) => document.getElementById(id);
const page = $("verify"), verdict = $("verdict"), flip = $("flip"), button = $("run");
const worker = new Worker(page.dataset.worker, { type: "module" });
let server = null, running = false, again = false;

const bits = (hash) => [...hash].map((digit) => parseInt(digit, 16).toString(2).padStart(4, "0")).join("");
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

function drawGlyph(place, hash, other, label) {
  const mine = bits(hash), theirs = bits(other);
  let same = "", wrong = "";
  for (let bit = 0; bit < 256; bit++) {
    const square = `M${bit % 16} ${bit >> 4}h1v1h-1z`;
    if (mine[bit] !== theirs[bit]) wrong += square;
    else if (mine[bit] === "1") same += square;
  }
  const svg = place.querySelector("svg");
  svg.replaceChildren();
  for (const [path, kind] of [[same, ""], [wrong, "wrong"]]) {
    const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
    shape.setAttribute("d", path);
    if (kind) shape.setAttribute("class", kind);
    svg.append(shape);
  }
  svg.removeAttribute("aria-hidden");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
}

function showHash(place, hash, other) {
  place.replaceChildren(...[...hash].map((digit, at) => {
    if (digit === other[at]) return digit;
    const wrong = document.createElement("span");
    wrong.className = "wrong";
    wrong.textContent = digit;
    return wrong;
  }));
  place.normalize();
}

function drawStrip(vectors) {
  const canvas = $("strip"), paint = canvas.getContext("2d"), [above, below] = vectors;
  paint.clearRect(0, 0, canvas.width, canvas.height);
  const most = Math.max(...above.map(Math.abs), 1), width = canvas.width / above.length, half = canvas.height / 2;
  above.forEach((value, at) => {
    for (const [number, top] of [[value, 0], [below[at], half]]) {
      const height = (Math.min(Math.abs(number), most) / most) * (half / 2 - 2);
      paint.fillStyle = above[at] === below[at] ? style("--accent") : style("--bad");
      paint.fillRect(at * width, number > 0 ? top + half / 2 - height : top + half / 2, width - 0.5, Math.max(height, 1));
    }
  });
}

function showDigest(place, digest, expected) {
  place.textContent = `${digest} ${digest === expected ? "✓ the same" : "✗ different"}`;
  place.className = digest === expected ? "right" : "wrong";
}

let last = null;
function show({ vector, hash, digests, milliseconds }) {
  const same = hash === server.hash;
  const numbers = (bytes) => [...new Int16Array(bytes.buffer.slice(0))];
  const vectors = [numbers(fromBase64(server.vector)), numbers(vector)];
  const differing = vectors[0].filter((value, at) => value !== vectors[1][at]).length;
  const wrongBits = [...bits(hash)].filter((bit, at) => bit !== bits(server.hash)[at]).length;
  $("server-hash").textContent = server.hash;
  drawGlyph($("server-glyph"), server.hash, server.hash, "The 256 bits of the server’s hash");
  drawGlyph($("browser-glyph"), hash, server.hash, `The 256 bits of the browser’s hash; ${wrongBits} differ`);
  showHash($("browser-hash"), hash, server.hash);
  drawStrip(vectors);
  last = vectors;
  showDigest($("kernel-digest"), digests.kernel, page.dataset.kernel);
  showDigest($("model-digest"), digests.model, page.dataset.model);
  verdict.className = `verdict ${same ? "match" : "mismatch"}`;
  verdict.textContent = same
    ? "Match: all 384 numbers and all 256 bits of the hash are the same."
    : `Mismatch: ${differing} of 384 numbers differ, and ${wrongBits} of 256 bits of the hash.`;
  $("browser-note").textContent = `WebAssembly · ${server.ids.length} tokens in ${milliseconds.toFixed(0)} ms`;
  $("numbers-note").textContent = `The server’s vector above, the browser’s below; ${differing} numbers differ.`;
}

worker.onmessage = ({ data }) => {
  if (data.step) {
    $("step").textContent = data.step;
    if (data.share === null) $("progress").removeAttribute("value");
    else $("progress").value = data.share;
    return;
  }
  finish(data.error);
  if (data.result) show(data.result);
};
worker.onerror = (event) => finish(event.message || "the script did not start");

function finish(problem) {
  running = false;
  $("steps").hidden = true;
  button.disabled = false;
  if (problem) {
    verdict.className = "verdict mismatch";
    verdict.textContent = `The browser could not run it: ${problem}`;
  }
  if (again) run();
}

async function run() {
  if (running) { again = true; return; }
  running = true;
  again = false;
  button.disabled = true;
  $("steps").hidden = false;
  verdict.className = "verdict";
  verdict.textContent = "Running in this browser …";
  const text = $("verify-form").elements.text.value;
  try {
    const answer = await fetch(`/verify/embedding?${new URLSearchParams({ text })}`);
    if (!answer.ok) throw new Error((await answer.json()).error.message);
    server = await answer.json();
  } catch (error) {
    finish(error.message);
    return;
  }
  $("tokens").replaceChildren(...server.tokens.map((token, at) => {
    const item = document.createElement("li"), name = document.createElement("span"), id = document.createElement("small");
    name.textContent = token;
    id.textContent = server.ids[at];
    item.append(name, id);
    return item;
  }));
  worker.postMessage({ kernel: page.dataset.kernel, model: page.dataset.model, bytes: Number(page.dataset.bytes), ids: server.ids, flip: flip.checked });
}

$("verify-form").addEventListener("submit", (event) => {
  event.preventDefault();
  history.replaceState(null, "", `/verify?${new URLSearchParams({ text: event.target.elements.text.value })}`);
  run();
});
flip.addEventListener("change", run);
addEventListener("themechange", () => last && drawStrip(last));
$("flip-label").hidden = false;
run();
