/**
 * Connection ids of the UDP tracker protocol (BEP 15): the proof that the caller receives what is
 * sent to the address that it claims. The id is a keyed hash of address and time, so a flood of
 * forged connects costs no memory. An id is good for at least two minutes and less than three.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

export interface ConnectionIds {
  /** Eight bytes for this IP address. */
  issue(ip: string): Buffer;
  accepts(id: Uint8Array, ip: string): boolean;
}

const MINUTE_MS = 60_000;
const MINUTES_GOOD = 3;

export function createConnectionIds(now: () => number): ConnectionIds {
  const secret = randomBytes(32);
  const minute = (): number => Math.floor(now() / MINUTE_MS);
  const at = (ip: string, time: number): Buffer =>
    createHmac('sha256', secret).update(`${time} ${ip}`).digest().subarray(0, 8);
  return {
    issue: (ip) => at(ip, minute()),
    accepts(id, ip) {
      if (id.length !== 8) return false;
      for (let age = 0; age < MINUTES_GOOD; age += 1) {
        if (timingSafeEqual(id, at(ip, minute() - age))) return true;
      }
      return false;
    },
  };
}
