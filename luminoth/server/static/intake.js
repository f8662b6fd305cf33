// The ways in: choose, drop, paste, the example, the camera.

import { byId } from "./dom.js";
import { addCamera, addFiles } from "./items.js";

const CAMERA = { video: { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: "environment" }, audio: false };

/** @param complain shows a sentence */
export function createIntake(store, complain) {
  const chooser = byId("files");
  for (const button of document.querySelectorAll("[data-choose]")) {
    button.addEventListener("click", () => chooser.click());
  }
  chooser.addEventListener("change", () => {
    addFiles(store, chooser.files);
    chooser.value = ""; // so that the same file can be chosen again
  });

  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) addFiles(store, event.clipboardData.files);
  });

  let depth = 0; // dragenter and dragleave come for every element that is crossed
  const show = (change) => {
    depth = change === 0 ? 0 : Math.max(0, depth + change);
    document.body.classList.toggle("is-dragging", depth > 0);
  };
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragenter", (event) => hasFiles(event) && show(1));
  document.addEventListener("dragleave", (event) => hasFiles(event) && show(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    show(0);
    if (event.dataTransfer.files.length) addFiles(store, event.dataTransfer.files);
    else complain("Only files can be dropped here. Save the picture first, or copy and paste it.");
  });

  byId("example").addEventListener("click", async () => {
    try {
      const answer = await fetch(byId("example").querySelector("img").src);
      addFiles(store, [new File([await answer.blob()], "toytown.jpg", { type: "image/jpeg" })]);
    } catch {
      complain("The example could not be fetched: the server does not answer.");
    }
  });

  for (const button of document.querySelectorAll("[data-camera]")) {
    button.addEventListener("click", async () => {
      // Browsers hide the camera from pages that came over plain HTTP from another machine.
      if (!navigator.mediaDevices) {
        complain("The camera needs HTTPS, or a server on this machine.");
        return;
      }
      try {
        addCamera(store, await navigator.mediaDevices.getUserMedia(CAMERA));
      } catch (error) {
        const isRefused = error.name === "NotAllowedError";
        complain(isRefused ? "The browser was not allowed to use the camera." : "No camera was found.");
      }
    });
  }
}
