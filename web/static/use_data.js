// Buttons that copy the text of another element: data-copy is its id.
import { say } from "./page.js";

document.body.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  const lines = document.getElementById(button.dataset.copy);
  say((await copied(lines)) ? "Copied." : "Selected: copy it with Ctrl+C.");
});

/** Whether it is in the clipboard; if not, it is selected. */
async function copied(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch { // over plain HTTP browsers have no clipboard, except of this machine
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}
