// What every page has: the theme button, and the keys.
const root = document.documentElement;
const theme = document.getElementById("theme");
const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const showTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
theme.hidden = false;
showTheme();
theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* for this page only, then */ }
  showTheme();
  dispatchEvent(new Event("themechange"));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { showTheme(); dispatchEvent(new Event("themechange")); });

const help = document.getElementById("help");
const helpButton = document.getElementById("help-open");
helpButton.hidden = false;
helpButton.addEventListener("click", () => help.showModal());

const pages = { s: "/", d: "/documents", i: "/indexing", m: "/map", v: "/verify", t: "/status" };
const items = [...document.querySelectorAll("[data-item]")];
let current = -1;
let going = false;

function step(by) {
  if (!items.length) return;
  items[current]?.classList.remove("current");
  current = Math.min(Math.max(current + by, 0), items.length - 1);
  items[current].classList.add("current");
  items[current].querySelector("a").focus({ preventScroll: true });
  items[current].scrollIntoView({ block: "nearest" });
}

addEventListener("keydown", (event) => {
  const target = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || target.matches("input, textarea, select") || help.open) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (going && pages[event.key]) location.href = pages[event.key];
  going = event.key === "g";
  if (event.key === "/") {
    const first = document.querySelector("[data-focus], summary");
    if (!first) return;
    event.preventDefault();
    first.focus();
    first.select?.();
  } else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "?") help.showModal();
});
