/**
 * Rates by the clock on the wall of one time zone. Each moment is looked up by what that clock shows then, never by adding hours:
 * so a window keeps its hours where the clock is put forward or back. What lies in the hour that is skipped does not happen that
 * day; in the hour that comes twice, it happens twice.
 */

export type Day = 'mon' | 'tue' | 'wed' | 'thu' | 'fri' | 'sat' | 'sun';
export const DAYS: readonly Day[] = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];

/** Bytes per second, or none at all. */
export type Rate = number | 'unlimited';

/** Part of the day, and what it sets. What it does not set stays as it is outside. */
export interface Window {
  /** Minutes since midnight; `to` is not part of it. Equal: the whole day. `from` after `to`: over midnight. */
  readonly from: number;
  readonly to: number;
  /** Days on which it begins. */
  readonly days: readonly Day[];
  readonly upload?: Rate;
  readonly download?: Rate;
}

export interface WallClock {
  readonly day: Day;
  /** Minutes since midnight. */
  readonly minute: number;
}

/** What the clock of a zone shows at a moment, in milliseconds since the epoch. @throws RangeError for a zone that does not exist */
export function wallClock(timeZone: string): (at: number) => WallClock {
  const format = new Intl.DateTimeFormat('en-US', {
    ...{ timeZone, weekday: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' },
  });
  return (at) => {
    const parts = new Map(format.formatToParts(at).map(({ type, value }) => [type, value]));
    const name = parts.get('weekday')?.toLowerCase();
    const day = DAYS.find((one) => one === name) ?? 'mon';
    return { day, minute: Number(parts.get('hour')) * 60 + Number(parts.get('minute')) };
  };
}

/** The rates at that time: for each direction the first window that has the time and sets it. */
export function ratesAt(windows: readonly Window[], clock: WallClock): Pick<Window, 'upload' | 'download'> {
  const now = windows.filter((window) => covers(window, clock));
  const upload = now.find((window) => window.upload !== undefined)?.upload;
  const download = now.find((window) => window.download !== undefined)?.download;
  return { ...(upload !== undefined && { upload }), ...(download !== undefined && { download }) };
}

function covers({ from, to, days }: Window, { day, minute }: WallClock): boolean {
  const dayBefore = DAYS[(DAYS.indexOf(day) + 6) % 7];
  const beganToday = days.includes(day);
  if (from < to) return beganToday && minute >= from && minute < to;
  // Over midnight, or the whole day: its second part belongs to the day on which it began.
  if (minute >= from) return beganToday;
  return minute < to && dayBefore !== undefined && days.includes(dayBefore);
}
