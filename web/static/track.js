// The page of a track: choices that keep each other, and languages by their names.

// Each choice changes its own part of the address (data-own) and leaves the others as they are now,
// whatever they were when the page was made.
document.body.addEventListener("htmx:configRequest", (event) => {
  const own = event.target.dataset?.own?.split(" ");
  if (!own) return;
  const asked = new URL(event.detail.path, location.href);
  const kept = new URLSearchParams(location.search);
  kept.delete("cursor");
  for (const name of own) {
    kept.delete(name);
    const value = event.detail.formData.get(name) ?? asked.searchParams.get(name);
    if (value) kept.set(name, value);
  }
  for (const name of [...event.detail.formData.keys()]) event.detail.formData.delete(name);
  event.detail.path = asked.pathname + (kept.size ? `?${kept}` : "");
});

let names = null;
try {
  names = new Intl.DisplayNames(undefined, { type: "language" });
} catch { /* the codes stay */ }

function name(root) {
  for (const element of root.querySelectorAll?.("[data-lang]") ?? []) {
    try {
      element.textContent = `${names.of(element.dataset.lang)} (${element.dataset.lang})`;
    } catch { /* not a country code */ }
  }
}

if (names) {
  name(document);
  document.body.addEventListener("htmx:afterSwap", (event) => name(event.target));
}
