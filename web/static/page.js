// What every page needs: times in the reader's own zone, and what to say when a request fails.

const zoned = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** Show <time datetime> in the reader's zone, as its title; with data-full, as its text too. */
export function localise(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    element.title = zoned.format(at);
    if ("full" in element.dataset) element.textContent = element.title;
  }
}

/** Say something to the reader, also to one who does not see it. */
export function say(text) {
  const place = document.getElementById("says");
  place.textContent = text;
  place.classList.add("shown");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => place.classList.remove("shown"), 6000);
}

/** An address of ours, below the base path. */
export function address(path) {
  return document.body.dataset.base + path;
}

// Once a page: other modules may load this one a second time, below an address without a version.
if (!document.body.dataset.dressed) {
  document.body.dataset.dressed = "yes";
  localise(document);
  document.body.addEventListener("htmx:afterSwap", (event) => localise(event.target));
  document.body.addEventListener("htmx:responseError", (event) => {
    const answer = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
    say(answer.body.textContent.trim() || "That did not work.");
  });
  document.body.addEventListener("htmx:sendError", () => say("The server cannot be reached."));
  // A button that asks first: data-confirm on a form.
  document.body.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });
}
