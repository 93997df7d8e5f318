/**
 * Preloaded into a program (`NODE_OPTIONS=--import`): at SIGUSR2 its wall clock jumps by as many
 * milliseconds as stand in the file SHOAL_TEST_CLOCK. The monotonic clock goes on, as it does when a
 * machine's time is set.
 */
import { readFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

const RealDate = Date;
let shiftMs = 0;

class ShiftedDate extends RealDate {
  constructor(...args: readonly unknown[]) {
    if (args.length === 0) super(RealDate.now() + shiftMs);
    else super(...(args as [number]));
  }
  static override now(): number {
    return RealDate.now() + shiftMs;
  }
}

globalThis.Date = ShiftedDate as DateConstructor;
if (isMainThread) {
  process.on('SIGUSR2', () => {
    shiftMs = Number(readFileSync(process.env['SHOAL_TEST_CLOCK'] ?? '', 'utf8'));
    process.stderr.write(`clock moved by ${shiftMs} ms\n`);
  });
}
