// SVG elements and axes for the charts.

const NAMESPACE = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Return a function from [low, high] to [start, end]. */
export function scale(low, high, start, end) {
  return (value) => start + ((value - low) / (high - low || 1)) * (end - start);
}

/** Return the ends of lines of a grid: 0, and up to four round values up to the first one at or above a maximum. */
export function roundSteps(maximum) {
  const size = 10 ** Math.floor(Math.log10(maximum / 2));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * size).find((step) => maximum / step <= 3) ?? maximum;
  const count = Math.ceil(maximum / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, index) => Number((index * step).toPrecision(6)));
}

/** Write a line through points; a null breaks it. */
export function path(points) {
  let pen = "M";
  return points
    .map((point) => {
      if (!point) {
        pen = "M";
        return "";
      }
      const text = `${pen}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
      pen = "L";
      return text;
    })
    .join("");
}
