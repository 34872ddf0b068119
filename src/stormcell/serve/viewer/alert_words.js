// What an alert says, in plain sentences.

import { clock } from "./times.js";
import { percentText, rateText } from "./values.js";

const at = (text) => clock(new Date(text));

/** Say the state of an alert: why it is raised, or why that is not known. */
export function alertSentence({ state, is_open: isOpen, value, limit, units, expected, peak, reason }) {
  if (state === "unknown") return `${isOpen ? "Raised, and now unknown" : "Unknown"}: ${reason}.`;
  const least = units === "1" ? percentText(limit) : `${limit} ${units}`;
  if (state === "idle") return `Idle: below ${least}.`;
  const word = state === "pending" ? "Pending" : "Raised";
  const when = expected ? ` from ${at(expected)}` : "";
  const most = value > limit && peak ? `, up to ${amountText(value, units)} at ${at(peak)}` : "";
  return `${word}: ${least} or more${when}${most}.`;
}

const amountText = (value, units) => (units === "1" ? percentText(value) : `${rateText(value)} ${units}`);

/** Say which alerts are raised, in one sentence; nothing if none is. */
export function raisedSentence(alerts) {
  const raised = alerts.filter(({ is_open: isOpen }) => isOpen);
  if (!raised.length) return "";
  const names = raised.slice(0, MOST).map(titleOf);
  const more = raised.length > MOST ? ` and ${raised.length - MOST} more` : "";
  return `${raised.length === 1 ? "Alert" : "Alerts"}: ${names.join(", ")}${more}.`;
}

const MOST = 3; // alerts that are named

export const titleOf = ({ title, rule }) => title || rule;
