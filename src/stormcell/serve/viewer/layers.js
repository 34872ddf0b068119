// The layers that a publication has, as a list to choose from.

const GROUPS = [
  ["Forecast", (product) => product.kind === "rate" && product.quantile === null && product.realization === null],
  ["Chance of rain", (product) => product.kind === "probability"],
  ["Range", (product) => product.quantile !== null],
  ["Members", (product) => product.realization !== null],
];

const OBSERVED = { name: "observed", title: "Observed rain", kind: "rate" };

/** List the products that have frames ahead of now; only the observed ones if there are no others. */
export function layersOf(manifest) {
  const products = manifest.products
    .filter(({ name }) => name !== OBSERVED.name)
    .map((product) => ({ quantile: null, realization: null, threshold: null, ...product }));
  return products.length ? products : [OBSERVED];
}

/** Return the layer to show: the wanted one, or the first if the publication does not have it. */
export function layerOf(manifest, wanted) {
  const layers = layersOf(manifest);
  return layers.find(({ name }) => name === wanted) ?? layers[0];
}

export function fillLayers(select, manifest, wanted) {
  const layers = layersOf(manifest);
  const groups = GROUPS.map(([title, belongs]) => {
    const group = document.createElement("optgroup");
    group.label = title;
    group.append(...layers.filter(belongs).map((layer) => new Option(titleOf(layer), layer.name)));
    return group;
  }).filter((group) => group.children.length);
  if (layers[0] === OBSERVED) select.replaceChildren(new Option(OBSERVED.title, OBSERVED.name));
  else select.replaceChildren(...groups);
  select.value = layerOf(manifest, wanted).name;
}

function titleOf({ title, quantile, threshold, realization }) {
  if (threshold !== null) return `Chance of ${threshold} mm/h or more`;
  if (realization !== null) return `Member ${realization}`;
  if (quantile === null) return title;
  const word = quantile === 0.5 ? "Middle" : quantile < 0.5 ? "Low" : "High";
  return `${word}: ${Math.round(100 - 100 * quantile)} % chance of more rain`;
}

/** Describe what the colours of a frame mean. */
export function colourTitle(frame, layer) {
  if (frame.observed) return "Observed rain, mm/h";
  if (layer.kind === "probability") return `Chance of ${layer.threshold} mm/h or more`;
  return layer.name === "rate" ? "Forecast rain, mm/h" : `${layer.title}, mm/h`;
}
