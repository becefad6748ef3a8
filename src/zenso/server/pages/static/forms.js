// One more row of a filter, without asking the server; and addresses without empty fields.
const rows = document.getElementById("rows");
const more = document.getElementById("more-rows");
if (rows) {
  more.hidden = false;
  more.addEventListener("click", () => {
    const row = rows.lastElementChild.cloneNode(true);
    for (const input of row.querySelectorAll("input")) input.value = "";
    rows.append(row);
    row.querySelector("input").focus();
  });
  rows.closest("form").addEventListener("submit", () => {
    for (const row of rows.children) {
      if (!row.querySelector("[name=field]").value.trim()) for (const part of row.children) part.disabled = true;
    }
  });
  // The fields are usable again when the page comes back from the history.
  addEventListener("pageshow", () => { for (const part of rows.querySelectorAll("[disabled]")) part.disabled = false; });
}
