/**
 * How many requests the mirror answers at once. Who comes on top of them is refused at once with 503, so that
 * containerd goes on to its next host: never with 429, which it repeats on the same host without delay.
 */
import type { ServerResponse } from 'node:http';
import { OciError } from '#oci';

/** Seconds after which a client that has no other host may come again. */
const RETRY_AFTER_S = '1';

/** `hold` counts an answer until it is over, however it ends. @throws OciError UNAVAILABLE when there are `most` */
export function createCrowd(most: number): { hold(answer: ServerResponse): void } {
  let held = 0;
  return {
    hold(answer) {
      if (held >= most) throw busy(`${most} requests are being answered (max.requests)`);
      held += 1;
      answer.once('close', () => {
        held -= 1;
      });
    },
  };
}

/** The refusal of what would be too much; `why` names the limit. */
export function busy(why: string): OciError {
  return new OciError('UNAVAILABLE', `the agent is busy: ${why}`, undefined, {
    headers: { 'retry-after': RETRY_AFTER_S },
  });
}
