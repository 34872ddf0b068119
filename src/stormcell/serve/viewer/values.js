// From levels to values, and from values to text.

export const NOT_OBSERVED = 255;

/** Return the value of a level by its encoding, as the manifest has it; null where not observed. */
export function valueOf(level, encoding) {
  if (level === encoding.missing) return null;
  if (level === 0) return encoding.below;
  const share = (level - 1) / (encoding.levels - 1);
  const { minimum, maximum } = encoding;
  return encoding.scale === "log"
    ? minimum * (maximum / minimum) ** share
    : minimum + (maximum - minimum) * share;
}

/** Return where a value stands on its scale, from 0 to 1. */
export function shareOf(value, encoding) {
  const { minimum, maximum } = encoding;
  const share =
    encoding.scale === "log"
      ? Math.log(value / minimum) / Math.log(maximum / minimum)
      : (value - minimum) / (maximum - minimum);
  return Math.min(1, Math.max(0, share));
}

/** Write a rain rate without its unit: two digits are all that a level is good for. */
export function rateText(rate) {
  if (rate < 0.095) return "0";
  if (rate < 0.995) return rate.toFixed(2);
  return rate < 9.95 ? rate.toFixed(1) : rate.toFixed(0);
}

export function percentText(share) {
  const percent = Math.round(100 * share);
  if (percent < 1) return "under 1 %";
  return percent > 99 ? "over 99 %" : `${percent} %`;
}

/** Describe a level of a picture. */
export function levelText(level, kind, encoding) {
  const value = valueOf(level, encoding);
  if (value === null) return "not observed";
  if (kind === "probability") return percentText(value);
  return value === 0 ? "dry" : `${rateText(value)} mm/h`;
}
