// What the reader chose. It is kept in the browser, and an address can override it: ?theme=dark&palette=…

const KEY = "stormcell";
const DEFAULTS = { theme: "auto", palette: "auto", clock: "local", opacity: 85, speed: 6 };

function stored() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {}; // storage is forbidden, or has something else
  }
}

const query = new URLSearchParams(location.search);
const wanted = Object.fromEntries([...query].filter(([name]) => name in DEFAULTS));

export const settings = { ...DEFAULTS, ...stored(), ...wanted };
export const embedded = query.get("embed") === "1";

export function keep(name, value) {
  settings[name] = value;
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...stored(), [name]: value }));
  } catch {
    // Without storage, the choice lasts until the page is closed.
  }
}

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
export const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;

export function isDark() {
  return settings.theme === "dark" || (settings.theme === "auto" && systemIsDark.matches);
}

export function onSystemTheme(changed) {
  systemIsDark.addEventListener("change", changed);
}
