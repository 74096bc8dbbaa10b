// The list refreshes itself; what the reader is doing in it meanwhile is left alone.

const picks = () => [...document.querySelectorAll('#bulk input[name="id"]')];

/** Whether text in the list is selected, or the page is hidden. */
function busy() {
  const chosen = document.getSelection();
  const list = document.getElementById("list");
  return document.hidden || (chosen && !chosen.isCollapsed && list.contains(chosen.anchorNode));
}

document.body.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target.id === "list" && busy()) event.preventDefault();
});
document.body.addEventListener("change", (event) => {
  const all = document.getElementById("pick-all");
  if (event.target === all) {
    for (const each of picks()) each.checked = all.checked;
  } else if (event.target.name === "id") {
    all.checked = picks().every((each) => each.checked);
  }
});
// A click on Pause with nothing chosen would do nothing, without a message.
document.body.addEventListener("submit", (event) => {
  // Not by form.id: that would be its fields of this name.
  if (!event.target.matches("#bulk") || picks().some((each) => each.checked)) return;
  event.preventDefault();
  import("./page.js").then(({ say }) => say("Select some tracks first."));
});
