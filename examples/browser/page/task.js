/** Long work behind a progress bar with a cancel button. */

import { explain, show, stamp } from "./view.js";

/**
 * Adds a button that runs `work({ begin, onProgress, signal })`, which answers with the text to show. `begin(stage)` names what is done now; until `onProgress` is
 * called, the bar says that nobody knows how long it takes.
 */
export function addTask(place, label, ending, work) {
  const task = stamp("task-template");
  const [start, cancel, stage, bar, answer] = [".start", ".cancel", ".stage", "progress", ".answer"].map((name) => task.querySelector(name));
  start.textContent = label;
  start.addEventListener("click", async () => {
    const cancelling = new AbortController();
    const abort = () => cancelling.abort();
    const began = performance.now();
    start.disabled = true;
    cancel.disabled = false;
    cancel.focus();
    cancel.addEventListener("click", abort);
    show(answer, "");
    try {
      const done = await work({
        begin(name) {
          stage.textContent = name;
          bar.removeAttribute("value");
        },
        onProgress(done, total) {
          bar.value = total === 0 ? 100 : (100 * done) / total;
        },
        signal: AbortSignal.any([cancelling.signal, ending]),
      });
      stage.textContent = `Done in ${Math.round(performance.now() - began)} ms`;
      show(answer, done);
    } catch (error) {
      stage.textContent = error.name === "AbortError" ? "Cancelled" : "Failed";
      bar.value = 0;
      show(answer, error.name === "AbortError" ? "Nothing was kept." : explain(error), true);
    }
    cancel.removeEventListener("click", abort);
    start.disabled = false;
    if (document.activeElement === cancel) start.focus();
    cancel.disabled = true;
  });
  place.append(task);
}
