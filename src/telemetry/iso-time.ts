/**
 * The time of day as records carry it: ISO 8601 in UTC with milliseconds, the same text as `Date.toISOString`, at an
 * eighth of its price, because all but the milliseconds is made once a second.
 */
export function isoTime(sinceEpochMs: number): string {
  const second = Math.floor(sinceEpochMs / 1000);
  if (second !== madeFor) {
    made = new Date(second * 1000).toISOString().slice(0, -"000Z".length);
    madeFor = second;
  }
  const millisecond = Math.floor(sinceEpochMs - second * 1000);
  return `${made}${millisecond < 10 ? "00" : millisecond < 100 ? "0" : ""}${millisecond}Z`;
}

let madeFor = Number.NaN;
let made = "";
