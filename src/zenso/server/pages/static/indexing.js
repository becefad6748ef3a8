// Follows the server's events: documents of each memory, how fast they come, and the jobs of this page.
const $ = (id) => document.getElementById(id);
const live = $("live"), jobs = $("jobs"), form = $("add-form");
const SECONDS = 60;
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const count = (number) => number.toLocaleString("en-US");
const meters = new Map([...document.querySelectorAll("[data-memory]")].map((box) => [box.dataset.memory, { box, seen: [] }]));

function documentsAt(seen, time) {
  let known = seen[0].documents;
  for (const one of seen) if (one.time <= time) known = one.documents;
  return known;
}

function draw({ box, seen }) {
  if (!seen.length) return;
  const canvas = box.querySelector("canvas"), paint = canvas.getContext("2d"), now = performance.now() / 1000;
  const rates = Array.from({ length: SECONDS }, (_, second) => {
    const end = now - SECONDS + second + 1;
    return Math.max(0, documentsAt(seen, end) - documentsAt(seen, end - 1));
  });
  const most = Math.max(...rates, 1), width = canvas.width / SECONDS;
  paint.clearRect(0, 0, canvas.width, canvas.height);
  rates.forEach((rate, second) => {
    paint.fillStyle = rate ? style("--accent") : style("--line");
    const height = rate ? Math.max(3, (rate / most) * (canvas.height - 2)) : 2;
    paint.fillRect(second * width, canvas.height - height, width - 2, height);
  });
  box.querySelector("[data-rate]").textContent = count(Math.round(rates.slice(-3).reduce((sum, rate) => sum + rate) / 3));
}

function showJob(job) {
  let item = jobs.querySelector(`[data-job="${job.number}"]`);
  if (!item) {
    jobs.querySelector(".empty")?.remove();
    item = document.createElement("li");
    item.dataset.job = job.number;
    const what = document.createElement("span"), progress = document.createElement("progress"), how = document.createElement("span");
    what.className = "what";
    how.className = "how";
    what.textContent = `${job.what} → ${job.memory}`;
    progress.setAttribute("aria-label", `Progress of ${job.what}`);
    item.append(what, " ", progress, " ", how);
    jobs.prepend(item);
  }
  item.dataset.state = job.state;
  const progress = item.querySelector("progress");
  progress.max = job.total;
  progress.value = job.size;
  const share = job.state === "running" ? ` ${Math.floor((100 * job.size) / job.total)} %` : "";
  item.querySelector(".how").textContent = `${job.state}${share}, ${count(job.chunks)} documents${job.seconds ? `, ${job.seconds} s` : ""}`;
  for (const note of job.notes.slice(item.querySelectorAll(".problem").length)) {
    const line = document.createElement("p");
    line.className = "problem";
    line.textContent = note;
    item.append(line);
  }
}

function show(state) {
  for (const [name, info] of Object.entries(state.memories)) {
    const meter = meters.get(name);
    if (!meter) continue;
    const time = performance.now() / 1000;
    meter.seen.push({ time, documents: info.documents });
    // Of what is older than the plot only the last number counts.
    while (meter.seen.length > 1 && meter.seen[1].time < time - SECONDS - 1) meter.seen.shift();
    meter.box.querySelector("[data-documents]").textContent = count(info.documents);
    meter.box.querySelector("[data-generation]").textContent = count(info.generation);
    draw(meter);
  }
  for (const job of [...state.jobs].reverse()) showJob(job);
}

if (live) {
  const events = new EventSource("/indexing/events");
  events.onopen = () => { live.hidden = false; live.className = "live"; live.textContent = "live"; };
  events.onerror = () => { live.className = "live lost"; live.textContent = "connecting again"; };
  events.onmessage = (event) => show(JSON.parse(event.data));
  setInterval(() => meters.forEach(draw), 1000);
  addEventListener("themechange", () => meters.forEach(draw));
  addEventListener("pagehide", () => events.close());
}

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button"), note = $("add-note");
  button.disabled = true;
  note.className = "hint";
  note.textContent = "Adding. Keep this page open until all is stored.";
  try {
    const answer = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { Accept: "application/json" } });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error.message);
    note.textContent = `Stored: ${told.what}, ${count(told.chunks)} documents in ${told.seconds} s.`;
    const memory = form.elements.memory.value;
    form.reset();
    form.elements.memory.value = memory;
  } catch (error) {
    note.className = "problem";
    note.textContent = error.message;
  }
  button.disabled = false;
});

const drop = form?.querySelector(".drop");
for (const [kind, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  drop?.addEventListener(kind, () => drop.classList.toggle("over", over));
}
