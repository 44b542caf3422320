/** HTTP dates (RFC 9110 section 5.6.7): the preferred form and the two obsolete ones, which recipients must accept. */
import { recent } from './recent.js';

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];

/** `Sun, 06 Nov 1994 08:49:37 GMT` */
const IMF_FIXDATE = /^(?:mon|tue|wed|thu|fri|sat|sun), (\d\d) ([a-z]{3}) (\d{4}) (\d\d):(\d\d):(\d\d) gmt$/i;
/** `Sunday, 06-Nov-94 08:49:37 GMT` */
const RFC_850 =
  /^(?:mon|tues|wednes|thurs|fri|satur|sun)day, (\d\d)-([a-z]{3})-(\d\d) (\d\d):(\d\d):(\d\d) gmt$/i;
/** `Sun Nov  6 08:49:37 1994` */
const ASCTIME = /^(?:mon|tue|wed|thu|fri|sat|sun) ([a-z]{3}) ([ \d]\d) (\d\d):(\d\d):(\d\d) (\d{4})$/i;

function instant(year: number, monthName: string, day: string, time: readonly string[]): number | undefined {
  const month = MONTHS.indexOf(monthName.toLowerCase());
  const [hours = 0, minutes = 0, seconds = 0] = time.map(Number);
  // A leap second is a valid second that JavaScript does not have.
  if (month < 0 || hours > 23 || minutes > 59 || seconds > 60) return undefined;
  const midnight = Date.UTC(year, month, Number(day));
  if (new Date(midnight).getUTCDate() !== Number(day)) return undefined; // the 31st of February
  return midnight + ((hours * 60 + minutes) * 60 + Math.min(seconds, 59)) * 1000;
}

/** A year of two digits that seems more than 50 years ahead of `now` is the last past one that ends so. */
function fullYear(twoDigits: number, now: number): number {
  const current = new Date(now).getUTCFullYear();
  const year = Math.floor(current / 100) * 100 + twoDigits;
  return year > current + 50 ? year - 100 : year;
}

/** What many responses say within a second; `null`: it is not of this form. */
const fixdate = recent((text: string): number | undefined | null => {
  const fixed = IMF_FIXDATE.exec(text);
  if (fixed === null) return null;
  const [, day = '', month = '', year = '', ...time] = fixed;
  return instant(Number(year), month, day, time);
});

/**
 * Milliseconds of an HTTP date, `undefined` when it is none. Letter case does not matter (RFC 9111 section 4.2), and the
 * day of the week, which adds nothing, is not checked against the date. `now`, in milliseconds, dates years of two digits.
 */
export function parseHttpDate(text: string, now: number): number | undefined {
  const preferred = fixdate(text);
  if (preferred !== null) return preferred;
  const rfc850 = RFC_850.exec(text);
  if (rfc850 !== null) {
    const [, day = '', month = '', year = '', ...time] = rfc850;
    return instant(fullYear(Number(year), now), month, day, time);
  }
  const asctime = ASCTIME.exec(text);
  if (asctime === null) return undefined;
  const [, month = '', day = '', hours = '', minutes = '', seconds = '', year = ''] = asctime;
  return instant(Number(year), month, day, [hours, minutes, seconds]);
}
