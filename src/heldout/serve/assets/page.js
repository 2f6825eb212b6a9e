// Everything works without this file; it only saves a visitor some clicks.

// "/" moves to the search box, as on most sites with papers.
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    document.getElementById("q")?.focus();
  }
});

// After the back button, filters say what the list shows, and not what was chosen last.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) for (const form of document.querySelectorAll("form.filters")) form.reset();
});

// Buttons that copy what they stand beside.
for (const button of document.querySelectorAll("button[data-copy]")) {
  if (!navigator.clipboard) break;  // only pages from this machine or over https have one
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy)?.textContent ?? "";
    await navigator.clipboard.writeText(text.trim());
    const before = [...button.childNodes];
    button.replaceChildren("Copied");
    setTimeout(() => { button.replaceChildren(...before); }, 1500);
  });
}
