// Times in addresses and for people. Times of day are local, or UTC if the reader wants.

import { settings } from "./settings.js";

/** Read an address's time, 20261128T0325Z; null if it is not one. */
export function fromName(name) {
  const parts = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)Z$/.exec(name ?? "");
  return parts && new Date(Date.UTC(parts[1], parts[2] - 1, parts[3], parts[4], parts[5]));
}

export function nameOf(time) {
  return `${time.toISOString().slice(0, 16).replace(/[-:]/g, "")}Z`;
}

const zone = () => (settings.clock === "utc" ? { timeZone: "UTC" } : {});

export function clock(time) {
  return time.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", ...zone() });
}

export function day(time) {
  return time.toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short", ...zone() });
}

export function zoneName(time) {
  const parts = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short", ...zone() }).formatToParts(time);
  return parts.find((part) => part.type === "timeZoneName").value;
}

/** Minutes after midnight in the zone of the clock, to find whole hours. */
export function minuteOfDay(time) {
  const [hours, minutes] = clock(time).split(":").map(Number);
  return 60 * hours + minutes;
}

/** Write a span: "40 seconds", "25 minutes", "3 hours", "2 days". */
export function span(seconds) {
  const [size, unit] = [
    [86400, "day"],
    [3600, "hour"],
    [60, "minute"],
    [1, "second"],
  ].find(([size]) => seconds >= 2 * size || size === 1) ?? [1, "second"];
  const count = Math.round(seconds / size);
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

/** Write how far a time is from the newest observation: "now", "25 min ago", "in 25 min". */
export function fromNow(time, now) {
  const minutes = Math.round((time - now) / 60000);
  if (minutes === 0) return "now";
  const text = Math.abs(minutes) < 120 ? `${Math.abs(minutes)} min` : `${Math.round(Math.abs(minutes) / 6) / 10} h`;
  return minutes < 0 ? `${text} ago` : `in ${text}`;
}
