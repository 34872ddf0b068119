// Alerts: their places on the map, and the list of all rules with their states.

import { alertSentence, titleOf } from "./alert_words.js";
import { L } from "./leaflet.js";

export class Alerts {
  #map;
  #list;
  #open;
  #group;
  #text = "";

  /**
   * @param list the element with the list of all rules
   * @param open the button that shows it; hidden if there are no rules
   */
  constructor(map, list, open) {
    this.#map = map;
    this.#list = list;
    this.#open = open;
    this.#group = L.layerGroup().addTo(map);
  }

  /** Show what alerts.json has; null if there are no rules. */
  show(found) {
    const alerts = found?.alerts ?? [];
    const text = JSON.stringify(alerts);
    if (text === this.#text) return;
    this.#text = text;
    this.#open.hidden = !alerts.length;
    this.#group.clearLayers();
    for (const alert of alerts) if (stateOf(alert) !== "idle") this.#draw(alert);
    this.#list.replaceChildren(...alerts.map((alert) => this.#entry(alert)));
  }

  #draw(alert) {
    const options = { pane: "alerts", className: `alert ${stateOf(alert)}`, interactive: false };
    const shape = L.geoJSON(alert.geometry, {
      style: () => options,
      pointToLayer: (_, place) => L.circleMarker(place, { ...options, radius: 9 }),
    });
    const name = document.createElement("span");
    name.textContent = titleOf(alert);
    const icon = L.divIcon({ className: `alert-name ${stateOf(alert)}`, html: name, iconSize: null });
    const top = L.latLng(shape.getBounds().getNorth(), shape.getBounds().getCenter().lng);
    const label = L.marker(top, { icon, pane: "labels", interactive: false, keyboard: false });
    this.#group.addLayer(shape).addLayer(label);
  }

  #entry(alert) {
    const entry = document.createElement("li");
    const button = document.createElement("button");
    const state = document.createElement("span");
    entry.className = stateOf(alert);
    button.type = "button";
    button.textContent = titleOf(alert);
    button.addEventListener("click", () => {
      const bounds = L.geoJSON(alert.geometry).getBounds();
      this.#list.closest("[popover]").hidePopover();
      this.#map.fitBounds(bounds.pad(1), { maxZoom: 10 });
    });
    state.textContent = alertSentence(alert);
    entry.append(button, state);
    return entry;
  }
}

/** An alert that is open stays marked as such while its state is unknown. */
const stateOf = ({ state, is_open: isOpen }) => (state === "unknown" && isOpen ? "unknown open" : state);
